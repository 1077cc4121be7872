"""Programs that print a number: a sensor for whatever this machine has and nobody else knows.

A program is started at each look, without a shell, in a session of its own, with an empty stdin and a small environment.
However it ends, its process group is killed and it is reaped; a program that makes itself a daemon (a second session) has left
that group, and is its own affair.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned import Machine, Sensor

DEADLINE_S = 1.5  # less than the governor's, so that what is killed is also told
MOST_BYTES, PIPE_BYTES = 512, 65_536
QUOTED, COMPLAINT = 40, 80
KEPT = ("PATH", "HOME", "TZ")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
ENDED = "ended"

Process = subprocess.Popen[bytes]


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Bring one sensor for each program of the configuration."""
    return [Command(name=name, program=program) for name, program in machine.commands.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The number that a program prints on its first line; the program is its path, then its arguments."""

    name: str
    program: tuple[str, ...]
    deadline_s: float = DEADLINE_S
    zone: str = "command"

    def read(self) -> Reading:
        """Run the program; whatever it does but print a number and exit 0 is a missing reading that says what."""
        try:
            value, why = _number(_run(self.program, self.deadline_s)), ""
        except (OSError, ValueError) as error:
            value, why = None, _why(error)
        return Reading(zone=self.zone, name=self.name, value=value, why=why)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be run: {error.strerror}"
    return str(error)


# ── what it said ────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Said:
    """What a program wrote: its stdout as far as anybody reads, the end of its stderr, and its exit status where it ended."""

    out: bytes = b""
    err: bytes = b""
    status: int | None = None

    def add(self, stream: str, data: bytes) -> None:
        """Keep what was read."""
        if stream == "out":
            self.out = (self.out + data)[: MOST_BYTES + 1]
        else:
            self.err = (self.err + data)[-MOST_BYTES:]

    @property
    def endless(self) -> bool:
        """Whether it wrote more than anybody reads."""
        return len(self.out) > MOST_BYTES


def _number(said: Said) -> float:
    """Return the number on the first line; ValueError says what there is instead."""
    if said.endless:
        raise ValueError(f"prints more than {MOST_BYTES} bytes: {_quoted(said.out)}")
    if said.status is None:
        raise ValueError("takes too long, and was killed")
    if said.status:
        raise ValueError(f"{_ended(said.status)}{_complaint(said.err)}")
    line = _first_line(said.out)
    if not NUMBER.fullmatch(line):
        raise ValueError(f"prints {_quoted(said.out)}, not a number" if line else "prints nothing")
    return float(line)


def _first_line(data: bytes) -> str:
    return data.partition(b"\n")[0].decode("utf-8", "replace").strip()


def _quoted(data: bytes) -> str:
    """Quote at most 40 characters of the first line, without what would trouble a terminal."""
    line = _first_line(data)
    return repr(line if len(line) <= QUOTED else f"{line[: QUOTED - 1]}…")


def _ended(status: int) -> str:
    if status > 0:
        return f"exits with {status}"
    return f"is killed by {signal.Signals(-status).name}"


def _complaint(err: bytes) -> str:
    lines = err.decode("utf-8", "replace").strip().splitlines()
    shown = "".join(letter for letter in lines[-1] if letter.isprintable()) if lines else ""
    return f": {shown[:COMPLAINT]}" if shown else ""


# ── the process ─────────────────────────────────────────────────────────────────────────────────
def _run(program: tuple[str, ...], deadline_s: float) -> Said:
    """Return what the program said until it ended, said too much or its time was up; nothing of it is left."""
    end = time.monotonic() + deadline_s
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    said = Said()
    with (
        subprocess.Popen(  # noqa: S603 - the program that the configuration names is what shall run
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment | {"LANG": "C.UTF-8"},
            bufsize=0,
            start_new_session=True,
        ) as process,
        _killed_at_the_end(process),
    ):
        if _listen(process, said, end):
            said.status = _status(process)
    return said


@contextmanager
def _killed_at_the_end(process: Process) -> Iterator[None]:
    """Kill its process group, also where it ended by itself: until it is reaped no other process can get its number."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError, PermissionError):  # all gone, or another user's by now
            os.killpg(process.pid, signal.SIGKILL)


def _listen(process: Process, said: Said, end: float) -> bool:
    """Read what it writes until it ends (True), says too much or its time is up.

    Its end is the process's and not that of its pipes, which descendants may hold open.
    """
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ, ENDED)
            for stream, pipe in (("out", process.stdout), ("err", process.stderr)):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, selectors.EVENT_READ, stream)
            return _heard(selector, said, end)
    finally:
        os.close(ended)


def _heard(selector: selectors.BaseSelector, said: Said, end: float) -> bool:
    while not said.endless and (left_s := end - time.monotonic()) > 0:
        ready = [key for key, _ in selector.select(left_s)]
        has_ended = any(key.data == ENDED for key in ready)
        # What it wrote before it ended is in the pipes then, and is read at once.
        for key in list(selector.get_map().values()) if has_ended else ready:
            if key.data != ENDED:
                _take(selector, key, said)
        if has_ended:
            return True
    return False


def _take(selector: selectors.BaseSelector, key: selectors.SelectorKey, said: Said) -> None:
    """Read what a pipe holds; one that was closed is not looked at again."""
    try:
        data = os.read(key.fd, PIPE_BYTES)
    except BlockingIOError:
        return
    if data:
        said.add(key.data, data)
    else:
        selector.unregister(key.fileobj)


def _status(process: Process) -> int:
    """Return the exit status, or the signal that killed it as a negative number, without reaping it."""
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if found is None:  # only where waitid is told not to wait
        raise ChildProcessError
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
