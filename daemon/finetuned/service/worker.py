"""The process that trains one task: `python -m finetuned.service.worker <fd>`.

Theory of operation.  The work (`work.py`) is one generator that yields at every mini-batch boundary and between batches
of frozen features.  Between two of its steps the loop looks at its messages: to pause is not to call `next`, to throttle
is to wait before calling it, to cancel is to close it.  So a pause or a cancel takes effect after the mini-batch in
flight, and the work itself knows nothing of either.

Everything that is said carries task, attempt and a sequence number.  The worker ends when the daemon closes the
channel or dies.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finetuned.errors import FinetunedError, HostError
from finetuned.service.channel import SyncChannel
from finetuned.service.describe import describe
from finetuned.service.messages import (
    Adjust,
    Cancel,
    Cancelled,
    Command,
    Describe,
    Described,
    Failed,
    Heartbeat,
    Held,
    Pace,
    Pause,
    Report,
    Resume,
    Start,
    TaskSpec,
)
from finetuned.service.work import Work
from finetuned.spec import codec

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_S = 5.0


class _CancelledError(Exception):
    """The daemon said cancel."""


class Worker:
    """Obeys commands until the daemon is gone."""

    def __init__(self, channel: SyncChannel[Command]) -> None:
        self._channel = channel
        self._spec: TaskSpec | None = None
        self._work: Work | None = None
        self._seq = 0
        self._step = 0
        self._duty = 1.0
        self._held = False
        self._spoke = 0.0

    def serve(self) -> None:
        """Answer every command; EOFError ends it."""
        while True:
            command = self._channel.receive()
            if isinstance(command, Describe):
                self._guarded(partial(self._describe, command.path))
            elif isinstance(command, Start):
                self._guarded(partial(self._drive, self._begin(command.spec)))

    def _describe(self, path: str) -> None:
        self._say(Described(info=describe(codec.decode(Path(path).read_bytes()))))

    def _begin(self, spec: TaskSpec) -> Work:
        self._spec, self._work = spec, Work(spec)
        self._seq = self._step = 0
        self._duty, self._held = 1.0, False
        return self._work

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it; whatever goes wrong is told in words, never as a traceback."""
        try:
            action()
        except _CancelledError:
            self._say(Cancelled())
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
                self._rest(time.monotonic() - started)
                self._listen()
                started = time.monotonic()

    def _tell(self, report: Report | None) -> None:
        if report is not None:
            self._step = max(self._step, report.step)
            self._say(report)
        elif time.monotonic() - self._spoke > HEARTBEAT_S:
            self._say(Heartbeat())

    def _say(self, report: Report) -> None:
        self._seq += 1
        self._spoke = time.monotonic()
        task, attempt = (self._spec.task, self._spec.attempt) if self._spec else ("", 0)
        self._channel.send(
            msgspec.structs.replace(report, task=task, attempt=attempt, seq=self._seq, step=self._step)
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
            if command is None:
                self._say(Heartbeat())
            else:
                self._obey(command)

    def _rest(self, worked_s: float) -> None:
        """Wait so long that the work was `duty` of the whole; a command that changes that is obeyed at once."""
        ends = time.monotonic() + worked_s * (1 / self._duty - 1)
        while not self._held and (left := ends - time.monotonic()) > 0:
            command = self._channel.receive(min(left, HEARTBEAT_S))
            if command is not None:
                self._obey(command)
                ends = min(ends, time.monotonic() + worked_s * (1 / self._duty - 1))

    def _obey(self, command: Command) -> None:
        if isinstance(command, Cancel):
            raise _CancelledError
        if isinstance(command, Pause):
            self._held = True
        elif isinstance(command, Resume):
            self._held = False
        elif isinstance(command, Adjust):
            if self._work is not None:
                self._work.adjust(command.parameters)
        elif isinstance(command, Pace):
            self._duty = min(max(command.duty, 0.01), 1.0)


def main() -> None:
    """Serve the daemon at the other end of the inherited socket."""
    os.nice(int(os.environ.get("FINETUNED_NICE", "0")))
    channel: SyncChannel[Command] = SyncChannel.inherited(Command)
    with contextlib.suppress(EOFError):
        Worker(channel).serve()


if __name__ == "__main__":
    main()
