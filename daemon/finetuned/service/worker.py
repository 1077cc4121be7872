"""The process that trains one task: `python -m finetuned.service.worker <fd>`.

Theory of operation.  The work (`work.py`) is one generator that yields at every mini-batch boundary and between batches
of frozen features.  Between two of its steps the loop looks at its messages: to pause is not to call `next`, to throttle
is to wait before calling it, to cancel is to close it, to release is to ask it for a checkpoint and then to close it.  So
a pause, a cancel or a release takes effect after the mini-batch in flight, and the work itself knows nothing of them.

Everything that is said carries task, attempt and a sequence number.  After a last word nothing is left of the task, and
the worker takes the next one.  It ends when the daemon closes the channel or dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.errors import FinetunedError, HostError
from finetuned.service.channel import SyncChannel
from finetuned.service.describe import describe
from finetuned.service.messages import (
    Adjust,
    Cancel,
    Cancelled,
    Command,
    Completed,
    Describe,
    Described,
    Failed,
    Heartbeat,
    Held,
    Pace,
    Pause,
    Release,
    Released,
    Report,
    Resume,
    Start,
)
from finetuned.service.work import Work
from finetuned.spec import codec

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_S = 5.0
OOM_SCORE = "900"
"""Of 1000: where memory runs out, the kernel takes the worker rather than the daemon or anything else of this machine."""


class _EndError(Exception):
    """The daemon wants no more of this attempt; `word` is the answer."""

    def __init__(self, word: Report) -> None:
        super().__init__()
        self.word = word


class Worker:
    """Obeys commands until the daemon is gone."""

    def __init__(self, channel: SyncChannel[Command]) -> None:
        self._channel = channel
        self._obeying: dict[type[Command], Callable[[Any], None]] = {
            Cancel: self._cancel,
            Release: self._release,
            Pause: self._pause,
            Resume: self._resume,
            Adjust: self._adjust,
            Pace: self._pace,
        }
        self._forget()

    def serve(self) -> None:
        """Answer every command; EOFError ends it."""
        while True:
            command = self._channel.receive()
            # Whatever else there is came too late for the attempt that it was meant for.
            if isinstance(command, Describe):
                self._guarded(partial(self._describe, command.path))
            elif isinstance(command, Start):
                self._task, self._attempt = command.spec.task, command.attempt
                self._guarded(partial(self._run, command))
            else:
                continue
            self._forget()
            free_memory()

    def _forget(self) -> None:
        """Be as new."""
        self._task, self._attempt = "", 0
        self._work: Work | None = None
        self._seq = self._step = 0
        self._duty, self._held = 1.0, False
        self._spoke = time.monotonic()

    def _describe(self, path: str) -> None:
        self._say(Described(info=describe(codec.decode(Path(path).read_bytes()))))

    def _run(self, start: Start) -> None:
        self._work = Work(start.spec, start.attempt, start.resume_from)
        self._drive(self._work)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it; whatever goes wrong is told in words, never as a traceback."""
        try:
            action()
        except _EndError as end:
            self._say(end.word)
        except FinetunedError as error:
            self._say(Failed(fault=error.fault, error=str(error)))
        except MemoryError:
            self._say(Failed(fault=HostError.fault, error="there is not enough memory for this task"))
        except (OSError, sqlite3.Error) as error:
            self._say(Failed(fault=HostError.fault, error=f"{error}"))

    def _drive(self, work: Work) -> None:
        """Between any two steps of the work: messages, then perhaps a rest."""
        with contextlib.closing(work.run()) as steps:
            self._listen()
            started = time.monotonic()
            for report in steps:
                self._tell(report)
                if isinstance(report, Completed):
                    return  # what comes now is for the next task
                self._rest(time.monotonic() - started)
                self._listen()
                started = time.monotonic()

    def _tell(self, report: Report | None) -> None:
        if report is not None:
            self._say(report)
        else:
            self._beat()

    def _beat(self) -> None:
        """Say that it is alive, unless it has just said something."""
        if time.monotonic() - self._spoke >= HEARTBEAT_S:
            self._say(Heartbeat())

    def _say(self, report: Report) -> None:
        self._seq += 1
        self._step = max(self._step, report.step)
        self._spoke = time.monotonic()
        self._channel.send(
            msgspec.structs.replace(
                report, task=self._task, attempt=self._attempt, seq=self._seq, step=self._step
            )
        )

    # ── being told ──────────────────────────────────────────────────────────────────────────────
    def _listen(self) -> None:
        """Obey what is there; stay for as long as the task is held."""
        while (command := self._channel.poll()) is not None:
            self._obey(command)
        if self._held:
            self._say(Held(held=True))
            self._stay()
            self._say(Held(held=False))

    def _stay(self) -> None:
        while self._held:
            command = self._channel.receive(HEARTBEAT_S)
            if command is not None:
                self._obey(command)
            self._beat()

    def _rest(self, worked_s: float) -> None:
        """Wait so long that the work was `duty` of the whole; a command that changes that is obeyed at once."""
        ends = time.monotonic() + worked_s * (1 / self._duty - 1)
        while not self._held and (left := ends - time.monotonic()) > 0:
            command = self._channel.receive(min(left, HEARTBEAT_S))
            if command is not None:
                self._obey(command)
                ends = min(ends, time.monotonic() + worked_s * (1 / self._duty - 1))
            self._beat()

    def _obey(self, command: Command) -> None:
        if obey := self._obeying.get(type(command)):
            obey(command)

    def _cancel(self, _: Cancel) -> None:
        raise _EndError(Cancelled())

    def _release(self, _: Release) -> None:
        if self._work is not None and (report := self._work.checkpoint()) is not None:
            self._say(report)
        raise _EndError(Released())

    def _pause(self, _: Pause) -> None:
        self._held = True

    def _resume(self, _: Resume) -> None:
        self._held = False

    def _adjust(self, command: Adjust) -> None:
        if self._work is not None and (report := self._work.adjust(command.parameters)) is not None:
            self._say(report)

    def _pace(self, command: Pace) -> None:
        self._duty = min(max(command.duty, 0.01), 1.0)


def free_memory() -> None:
    """Give back what the last task took: sessions hang together in circles, and malloc keeps what is freed."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another libc than glibc has none
        ctypes.CDLL(None).malloc_trim(0)


def volunteer() -> None:
    """Raise our own out-of-memory score; a kernel or a container that refuses is right."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, "ascii")


def main() -> None:
    """Serve the daemon at the other end of the inherited socket."""
    os.nice(int(os.environ.get("FINETUNED_NICE", "0")))
    volunteer()
    channel: SyncChannel[Command] = SyncChannel.inherited(Command)
    with contextlib.suppress(EOFError):
        Worker(channel).serve()


if __name__ == "__main__":
    main()
