"""Where workers run: on this machine, each in a process of its own.

An executor takes a task's spec and gives a `Run`: commands in, reports out.  `failed` is the task's fault and comes as a
report; a worker that dies without a last word is *lost*, the executor's fault, and raises `LostError`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from finetuned.errors import HostError, ModelError
from finetuned.service.channel import GoneError, spawn
from finetuned.service.messages import (
    Cancel,
    Cancelled,
    Completed,
    Describe,
    Described,
    Failed,
    Report,
    Start,
    WorkerReport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from finetuned.service.channel import Child
    from finetuned.service.messages import Command, ModelInfo, TaskSpec

WORKER = "finetuned.service.worker"
LAST = (Completed, Cancelled, Failed)
SILENCE_S, CANCEL_S = 300.0, 30.0
"""How long a worker may say nothing (one step of a large model on a small machine takes its time), and after a cancel."""


class LostError(HostError):
    """The worker is gone without a last word."""


class Run(Protocol):
    """One attempt of a task, somewhere."""

    async def control(self, command: Command) -> None:
        """Tell the worker; nothing happens when it is gone, `reports` says so."""

    def reports(self) -> AsyncIterator[Report]:
        """Yield what the worker says, up to its last word; LostError where it dies before that."""


class Executor(Protocol):
    """The socket: where workers run."""

    def submit(self, spec: TaskSpec) -> AbstractAsyncContextManager[Run]:
        """Start an attempt; leaving the context ends whatever is left of it."""

    async def describe(self, path: Path) -> ModelInfo:
        """Have a worker read a model; ModelError where it cannot be read."""


class LocalRun:
    """A worker process of this machine."""

    def __init__(self, child: Child[WorkerReport]) -> None:
        self._child = child
        self._patience: asyncio.Timeout | None = None
        self._cancelled = False

    async def control(self, command: Command) -> None:
        """Tell the worker."""
        try:
            await self._child.channel.send(command)
        except GoneError:
            return  # `reports` is about to say so
        if isinstance(command, Cancel):
            self._cancelled = True
            if self._patience is not None and not self._patience.expired():
                self._patience.reschedule(asyncio.get_running_loop().time() + CANCEL_S)

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what the worker says."""
        while (report := await self._heard()) is not None:
            yield report
            if isinstance(report, LAST):
                return
        status = await self._child.wait()
        raise LostError(f"the worker died ({_ending(status)}){_because(self._child.last_words)}")

    async def _heard(self) -> Report | None:
        """Return the next report; a worker that says nothing for so long, though it should at least beat, hangs."""
        try:
            async with asyncio.timeout(CANCEL_S if self._cancelled else SILENCE_S) as self._patience:
                return await self._child.channel.receive()
        except TimeoutError:
            raise LostError("the worker hangs: it says nothing any more") from None
        finally:
            self._patience = None


class LocalExecutor:
    """Starts a process for each attempt, at a nice level."""

    def __init__(self, *, nice: int = 10) -> None:
        self._environment = {"FINETUNED_NICE": str(nice)}

    @asynccontextmanager
    async def submit(self, spec: TaskSpec) -> AsyncIterator[LocalRun]:
        """Start a worker on the spec."""
        async with self._worker() as child:
            run = LocalRun(child)
            await run.control(Start(spec=spec))
            yield run

    async def describe(self, path: Path) -> ModelInfo:
        """Read a model in a worker, since reading one means protobuf and NumPy."""
        async with self._worker() as child:
            await child.channel.send(Describe(path=str(path)))
            try:
                async with asyncio.timeout(SILENCE_S):
                    answer = await child.channel.receive()
            except TimeoutError:
                raise LostError(f"the worker hangs: it does not say what {path.name} is") from None
        if isinstance(answer, Described):
            return answer.info
        reason = (
            answer.error if isinstance(answer, Failed) else f"the worker died{_because(child.last_words)}"
        )
        raise ModelError(reason)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Child[WorkerReport]]:
        child: Child[WorkerReport] = await spawn(WORKER, WorkerReport, env=self._environment)
        try:
            yield child
        finally:
            # Its end is saved or it is not: a worker that is no longer wanted has nothing to clean up.
            child.kill()
            await child.stop()


def _ending(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _because(last_words: str) -> str:
    """The last line of a traceback is its sentence."""
    return f": {last_words.splitlines()[-1]}" if last_words else ""
