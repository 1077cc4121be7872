"""The process that trains one task: `python -m finetuned.service.worker <fd>`.

Theory of operation.  The work (`work.py`) is one generator that yields at every mini-batch boundary and between batches
of frozen features.  Between two of its steps the loop looks at its messages: to pause is not to call `next`, to throttle
is to wait before calling it, to cancel is to close it, to release is to ask it for a checkpoint and then to close it.  So
a pause, a cancel or a release takes effect after the mini-batch in flight, and the work itself knows nothing of them.
A pace is three things: how much of the time is worked (`pacing.py`), on how many of the cores (`yielding.py`), and whether
on the accelerator, which alone the work is told.  The number of threads is none of them, so the result isn't either.

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
from finetuned.files import write_atomically
from finetuned.service.bounds import bounded
from finetuned.service.channel import SyncChannel
from finetuned.service.describe import describe
from finetuned.service.groups import JOINS, join
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
    MiniBatchEnd,
    Pace,
    Pause,
    Release,
    Released,
    Report,
    Resume,
    Start,
)
from finetuned.service.pacing import Duty
from finetuned.service.work import Work
from finetuned.service.yielding import Cores, step_back
from finetuned.spec import codec
from finetuned.spec.author import pixels

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_S = 5.0
GATHER_S = 0.005
"""Mini-batches that end within so long of the last word are told together: each word wakes the daemon."""


class _EndError(Exception):
    """The daemon wants no more of this attempt; `word` is the answer."""

    def __init__(self, word: Report) -> None:
        super().__init__()
        self.word = word


class Worker:
    """Obeys commands until the daemon is gone."""

    def __init__(self, channel: SyncChannel[Command]) -> None:
        self._channel = channel
        self._cores = Cores()
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
                self._guarded(partial(self._describe, command))
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
        self._held = self._gathers = False
        self._duty = Duty(time.monotonic, time.process_time)
        self._cores.use(1.0)
        self._spoke = time.monotonic()

    def _describe(self, asked: Describe) -> None:
        data = Path(asked.path).read_bytes()
        if asked.scaled is not None:
            data = pixels.scaled(data, asked.scaled.pixel_scale)
            write_atomically(Path(asked.scaled.out), data)
        model = codec.decode(data)
        self._say(Described(info=bounded(describe(model, beyond_coreml=asked.beyond_coreml))))

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
            self._say(Failed(fault=HostError.fault, error=_in_words(error)))

    def _drive(self, work: Work) -> None:
        """Between any two steps of the work: messages, then perhaps a rest."""
        with contextlib.closing(work.run()) as steps:
            self._listen()
            self._duty.begin()
            for report in steps:
                self._tell(report)
                if isinstance(report, Completed):
                    return  # what comes now is for the next task
                self._worked()
                self._rest()
                self._listen()

    def _tell(self, report: Report | None) -> None:
        if report is not None:
            self._say(report)
        else:
            self._beat()

    def _beat(self) -> None:
        """Say what has waited for long enough, or that it is alive, unless it has just said something."""
        silent_s = time.monotonic() - self._spoke
        if silent_s >= HEARTBEAT_S:
            self._say(Heartbeat())
        elif self._gathers and silent_s >= GATHER_S:
            self._flush()

    def _say(self, report: Report) -> None:
        self._seq += 1
        self._step = max(self._step, report.step)
        word = msgspec.structs.replace(
            report, task=self._task, attempt=self._attempt, seq=self._seq, step=self._step
        )
        now = time.monotonic()
        self._gathers = isinstance(report, MiniBatchEnd) and now - self._spoke < GATHER_S
        if self._gathers:
            self._channel.gather(word)
        else:
            self._spoke = now
            self._channel.send(word)

    def _flush(self) -> None:
        self._gathers = False
        self._spoke = time.monotonic()
        self._channel.flush()

    # ── being told ──────────────────────────────────────────────────────────────────────────────
    def _listen(self) -> None:
        """Obey what is there, of several paces the newest; stay for as long as the task is held."""
        pace: Pace | None = None
        while (command := self._channel.poll()) is not None:
            if isinstance(command, Pace):
                pace = command
            else:
                self._obey(command)
        if pace is not None:
            self._pace(pace)
        if self._held:
            self._say(Held(held=True))
            self._stay()
            self._say(Held(held=False))
            self._duty.begin()

    def _stay(self) -> None:
        while self._held:
            command = self._channel.receive(HEARTBEAT_S)
            if command is not None:
                self._obey(command)
            self._beat()

    def _rest(self) -> None:
        """Wait for as long as is owed; a command that changes that is obeyed at once."""
        while not self._held and (left_s := self._duty.rest_s) > 0:
            if self._gathers:
                self._flush()
            command = self._channel.receive(min(left_s, HEARTBEAT_S))
            self._duty.rested()
            if command is not None:
                self._obey(command)
                self._worked()
            self._beat()

    def _worked(self) -> None:
        self._duty.worked(on_cpu=self._work is None or self._work.on_cpu)

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
        self._duty.set(command.duty)
        self._cores.use(command.cores)
        moves = self._work.accelerate(accelerated=command.accelerated) if self._work is not None else []
        for moved in moves:
            self._say(moved)
        if moves:
            free_memory()


def free_memory() -> None:
    """Give back what the last task took: sessions hang together in circles, and malloc keeps what is freed."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another libc than glibc has none
        ctypes.CDLL(None).malloc_trim(0)


def _in_words(error: OSError | sqlite3.Error) -> str:
    """Say what went wrong, without the path that an OSError names."""
    return getattr(error, "strerror", None) or str(error)


def main() -> None:
    """Serve the daemon at the other end of the inherited socket."""
    if group := os.environ.get(JOINS):
        join(group)
    step_back(int(os.environ.get("FINETUNED_NICE", "0")))
    channel: SyncChannel[Command] = SyncChannel.inherited(Command)
    with contextlib.suppress(EOFError):
        Worker(channel).serve()


if __name__ == "__main__":
    main()
