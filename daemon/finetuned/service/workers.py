"""Worker processes of this machine: started, one of them kept warm for a while, none ever left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from finetuned.errors import HostError
from finetuned.service.channel import spawn
from finetuned.service.groups import JOINS, worker_group
from finetuned.service.messages import WorkerReport

if TYPE_CHECKING:
    from finetuned.service.channel import Child

    Worker = Child[WorkerReport]

MODULE = "finetuned.service.worker"


class Workers:
    """Gives out workers; every one of them comes back by `keep` or `end`.

    `nice` is their level, `warm_s` how long one that has nothing to do is kept: it has imported everything, which is most
    of what a start costs.
    """

    def __init__(self, *, nice: int, warm_s: float) -> None:
        self._environment = {"FINETUNED_NICE": str(nice)}
        self._prepared = False
        self._warm_s = warm_s
        self._alive: list[Worker] = []
        self._seasoned: list[Worker] = []
        self._warm: Worker | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._starts = asyncio.Lock()
        self._closed = False

    async def take(self, *, fresh: bool = False) -> Worker:
        """Return the warm worker, or else (or where it must be `fresh`) a new one; HostError where none can be started."""
        async with self._starts:
            if self._closed:
                raise HostError("no worker is started any more")
            if not fresh and (warm := self._rewarmed()) is not None:
                return warm
            await self._prepare()
            child: Worker = await spawn(MODULE, WorkerReport, env=self._environment)
            self._alive.append(child)
            return child

    async def _prepare(self) -> None:
        """Make a control group for the workers, once, where it can be."""
        if not self._prepared:
            group = await asyncio.to_thread(worker_group)
            self._environment |= {JOINS: str(group)} if group is not None else {}
            self._prepared = True

    def keep(self, child: Worker) -> bool:
        """Keep a worker that has done well for the next one who needs it; False where it is not needed."""
        if self._closed or self._warm is not None or self._warm_s <= 0:
            return False
        self._warm = child
        if not self.has_waited(child):
            self._seasoned.append(child)
        self._keeping = asyncio.create_task(self._watch(child), name="a warm worker")
        return True

    def has_waited(self, child: Worker) -> bool:
        """Say whether a worker was kept warm before; it may have died then, though nobody knows of it yet."""
        return child in self._seasoned

    async def end(self, child: Worker) -> None:
        """Kill a worker and wait until it has ended."""
        child.kill()
        await child.stop()
        self._alive = [other for other in self._alive if other is not child]
        self._seasoned = [other for other in self._seasoned if other is not child]

    async def cool(self) -> None:
        """End the warm one."""
        if (warm := self._taken()) is not None:
            await self.end(warm)

    async def close(self) -> None:
        """End all of them at once; there are no more."""
        self._closed = True
        self._kill_all()
        async with self._starts:  # whoever was about to start one has it by now
            self._kill_all()
        self._taken()
        for child in list(self._alive):
            await self.end(child)

    def _kill_all(self) -> None:
        for child in self._alive:
            child.kill()

    # ── the warm one ────────────────────────────────────────────────────────────────────────────
    def _taken(self) -> Worker | None:
        warm, self._warm = self._warm, None
        if self._keeping is not None and warm is not None:
            self._keeping.cancel()
        return warm

    def _rewarmed(self) -> Worker | None:
        """Return the warm worker; what it wrote to its standard error is past."""
        warm = self._taken()
        if warm is not None:
            warm.stderr.clear()
        return warm

    async def _watch(self, child: Worker) -> None:
        """End a warm worker that nobody has needed, or that has died."""
        try:
            async with asyncio.timeout(self._warm_s):
                await child.process.wait()
        except TimeoutError:
            pass
        if self._warm is child:
            self._warm = None
            await self.end(child)
