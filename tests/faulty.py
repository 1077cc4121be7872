"""An executor with faults: everything that may go wrong between the daemon and a worker somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import HostError
from finetuned.service import messages as m

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from finetuned.service.executor import Capabilities, Executor

UNIMPORTANT = (m.MiniBatchEnd, m.Prepared, m.Heartbeat)
LATE = (*UNIMPORTANT, m.Checkpointed)
"""What may come late or not at all: nobody depends on progress, and an older checkpoint does as well."""


class Faulty:
    """Wraps an executor and, by chance, refuses submits, loses attempts, drops progress, and tells things twice or late.

    Late is as late as it can be: when attempts after it have long begun, and even ended.  A last word always comes in its
    time, once at least.  The same `seed` and the same reports make the same faults; each happens with the chance `rate`.
    """

    def __init__(self, executor: Executor, seed: int, *, rate: float = 0.05) -> None:
        self.faults: list[str] = []
        """What it did, in order."""
        self._executor = executor
        self._chance = np.random.default_rng(seed)
        self._rate = rate
        self._late: list[m.Report] = []

    @property
    def name(self) -> str:
        """As the executor's within."""
        return self._executor.name

    @property
    def capabilities(self) -> Capabilities:
        """As the executor's within."""
        return self._executor.capabilities

    async def submit(
        self, spec: m.TaskSpec, attempt: int, resume_from: Sequence[m.CheckpointRef] = ()
    ) -> None:
        """Start an attempt, or refuse."""
        if self._happens("refuses a submit", rate=0.3):
            raise HostError("no machine has room for it at the moment")
        await self._executor.submit(spec, attempt, resume_from)

    async def control(self, task: str, attempt: int, command: m.Control) -> None:
        """Pass it on: what is asked is not lost, or nobody could end anything."""
        await self._executor.control(task, attempt, command)

    async def events(self) -> AsyncIterator[m.Report]:
        """Yield what the executor within says, and not as it says it."""
        async for report in self._executor.events():
            for each in self._spoiled(report):
                yield each
            if self._happens("loses an attempt"):
                await self._executor.control(report.task, report.attempt, m.Kill())
        for each in self._late:
            yield each

    def _spoiled(self, report: m.Report) -> list[m.Report]:
        """Return what is told instead of a report."""
        told = [report]
        if isinstance(report, UNIMPORTANT) and self._happens("drops progress"):
            told = []
        elif isinstance(report, LATE) and self._happens("tells late"):
            told = []
            self._late.append(report)
        elif self._happens("tells twice"):
            told = [report, report]
        elif self._happens("tells once more, later"):
            self._late.append(report)
        if self._late and self._happens("remembers"):
            told.append(self._late.pop(int(self._chance.integers(len(self._late)))))
        return told

    def _happens(self, what: str, *, rate: float = 0.0) -> bool:
        happens = bool(self._chance.random() < (rate or self._rate))
        if happens:
            self.faults.append(what)
        return happens

    async def drain(self, grace_s: float) -> None:
        """Pass it on."""
        await self._executor.drain(grace_s)

    async def close(self) -> None:
        """Pass it on."""
        await self._executor.close()
