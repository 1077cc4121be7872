"""An executor without a process: the same work, driven by a task of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.errors import FinetunedError, HostError
from finetuned.service import messages as m
from finetuned.service.executor import Capabilities
from finetuned.service.work import Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class OverError(Exception):
    """The attempt ends here, with this word."""

    def __init__(self, word: m.Report) -> None:
        super().__init__()
        self.word = word


@dataclass(kw_only=True)
class Run:
    """An attempt; commands wait until its next boundary."""

    task: str
    attempt: int
    work: Work
    commands: asyncio.Queue[m.Control] = field(default_factory=asyncio.Queue)
    held: bool = False
    seq: int = 0
    step: int = 0
    driven: asyncio.Task[None] = field(init=False)


class InProcessExecutor:
    """Runs as many attempts at once as it has places, all in this process: the smallest executor that keeps its word."""

    name = "inprocess"

    def __init__(self, *, places: int = 1) -> None:
        self.capabilities = Capabilities(places=places)
        self._runs: dict[tuple[str, int], Run] = {}
        self._said: asyncio.Queue[m.Report | None] = asyncio.Queue()
        self._shut = self._closed = False

    async def submit(
        self, spec: m.TaskSpec, attempt: int, resume_from: Sequence[m.CheckpointRef] = ()
    ) -> None:
        """Start an attempt."""
        key = (spec.task, attempt)
        if self._shut or key in self._runs or len(self._runs) == self.capabilities.places:
            raise HostError(f"attempt {attempt} of {spec.task} cannot be taken")
        run = self._runs[key] = Run(task=spec.task, attempt=attempt, work=Work(spec, attempt, resume_from))
        run.driven = asyncio.create_task(self._attend(run))

    async def control(self, task: str, attempt: int, command: m.Control) -> None:
        """Tell an attempt, if there is one."""
        if run := self._runs.get((task, attempt)):
            run.commands.put_nowait(command)

    async def events(self) -> AsyncIterator[m.Report]:
        """Yield what all attempts say."""
        while (report := await self._said.get()) is not None:
            yield report

    async def drain(self, grace_s: float) -> None:
        """Let everything go."""
        await self._end_all(m.Release(), grace_s)
        await self._end_all(m.Kill(), None)

    async def close(self) -> None:
        """Kill everything."""
        await self._end_all(m.Kill(), None)
        if not self._closed:
            self._closed = True
            self._said.put_nowait(None)

    async def _end_all(self, command: m.Control, timeout_s: float | None) -> None:
        self._shut = True
        for run in self._runs.values():
            run.commands.put_nowait(command)
        if driven := [run.driven for run in self._runs.values()]:
            await asyncio.wait(driven, timeout=timeout_s)

    # ── one attempt ─────────────────────────────────────────────────────────────────────────────
    async def _attend(self, run: Run) -> None:
        last: m.Report | None = None
        try:
            await self._drive(run)
        except OverError as over:
            last = over.word
        except FinetunedError as error:
            last = m.Failed(fault=error.fault, error=str(error))
        except (OSError, sqlite3.Error) as error:
            last = m.Failed(fault="host", error=str(error))
        del self._runs[run.task, run.attempt]
        if last is not None:
            self._say(run, last)

    async def _drive(self, run: Run) -> None:
        with contextlib.closing(run.work.run()) as steps:
            await self._listen(run)
            for report in steps:
                if report is not None:
                    self._say(run, report)
                if not isinstance(report, m.Completed):
                    await self._listen(run)

    async def _listen(self, run: Run) -> None:
        await asyncio.sleep(0)
        while not run.commands.empty():
            self._obey(run, run.commands.get_nowait())
        if run.held:
            self._say(run, m.Held(held=True))
            await self._stay(run)
            self._say(run, m.Held(held=False))

    async def _stay(self, run: Run) -> None:
        while run.held:
            self._obey(run, await run.commands.get())

    def _obey(self, run: Run, command: m.Control) -> None:
        match command:
            case m.Kill():
                raise OverError(m.Lost(error="it was killed, as asked"))
            case m.Cancel():
                raise OverError(m.Cancelled())
            case m.Release():
                self._say(run, run.work.checkpoint())
                raise OverError(m.Released())
            case m.Adjust(parameters=parameters):
                self._say(run, run.work.adjust(parameters))
            case m.Pace(accelerated=accelerated):
                for moved in run.work.accelerate(accelerated=accelerated):
                    self._say(run, moved)
            case m.Pause():
                run.held = True
            case m.Resume():
                run.held = False

    def _say(self, run: Run, report: m.Report | None) -> None:
        if report is None:
            return
        run.seq, run.step = run.seq + 1, max(run.step, report.step)
        whole = msgspec.structs.replace(
            report, task=run.task, attempt=run.attempt, seq=run.seq, step=run.step
        )
        self._said.put_nowait(whole)
