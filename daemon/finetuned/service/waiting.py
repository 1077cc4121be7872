"""Who waits, why, and who starts next: the ledger's queue as `policy.queue` and the governor see it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.policy.queue import Served, Waiting, choose, next_ready
from finetuned.service.ledger_queue import turns
from finetuned.service.ledger_tasks import PERSON, QUEUED, alive_tasks, explain, hold
from finetuned.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from finetuned.policy.budget import Start
    from finetuned.service.desk import Desk
    from finetuned.service.events import Outcome
    from finetuned.service.governor import Governor
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.showcase import Showcase

RETRY = "retry"
"""Why a task waits that has lost a worker."""
BACK_OFF = 5.0
"""Each wait for another worker is so many times the one before."""
KEPT_S = 60.0
"""How often the clock is kept while something waits."""
HELD_LOOK_S = 60.0
"""How often a task that the budget holds back is looked at, though nothing changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at the queue has found: what starts now, at which duty at most, and when to look again.

    `crowded`: somebody could start, but for a place; `pressed`: somebody urgent.
    """

    starts: tuple[tuple[TaskRow, float], ...] = ()
    next_s: float = math.inf
    crowded: bool = False
    pressed: bool = False


@dataclass(slots=True, kw_only=True)
class Queue:
    """The tasks that have no worker; `length` is how many there are, `urgent` are the models that go first.

    `stirred` is called when a look may find something new.
    """

    desk: Desk
    governor: Governor
    showcase: Showcase
    urgent: Collection[str] = ()
    stirred: Callable[[], None] = lambda: None
    length: int = 0
    _since: dict[str, float] = field(default_factory=dict)
    _ready_at: dict[str, float] = field(default_factory=dict)
    _kept_at: float = -math.inf

    def back_off(self, task: str, seconds: float) -> None:
        """Let a task wait before it gets another worker."""
        self._ready_at[task] = self.desk.monotonic() + seconds

    def forget(self, task: str) -> None:
        """A task has ended."""
        self._since.pop(task, None)
        self._ready_at.pop(task, None)

    async def look(self, under_way: Collection[TaskRow], places: int) -> Look:
        """Return what starts now, and say of the others why they don't."""
        busy = {row.id for row in under_way}
        rows = [row for row in await self.desk.ledger.run(alive_tasks) if row.id not in busy]
        free = [row for row in rows if row.state is TaskState.suspended and not row.held]
        starts = {row.id: self._may_start(row) for row in free}
        waiting = [self._waiting(row) for row in free if starts[row.id].allowed]
        served = await self._served()
        chosen = choose(waiting, [(row.model, row.user) for row in under_way], served, places)
        self.length = len(rows) - len(chosen)
        by_id = {row.id: row for row in free}
        for row in rows:
            if row.id not in chosen and row.state is TaskState.suspended:
                await self._explain(row, self._reasons(row, starts.get(row.id)))
        left = [each for each in waiting if each.ready and each.task not in chosen]
        held_back = any(not start.allowed for start in starts.values())
        return Look(
            starts=tuple((by_id[task], starts[task].duty) for task in chosen),
            next_s=min(next_ready(waiting), HELD_LOOK_S if held_back else math.inf),
            crowded=bool(left),
            pressed=any(each.urgent for each in left),
        )

    async def hold(self, row: TaskRow, *, held: bool, outcome: Outcome | None = None) -> TaskRow:
        """Take a person's word about a task that has no worker; that it goes on is told when it does."""
        told = await self.desk.ledger.run(hold, row.id, held=held, outcome=outcome)
        self.desk.outbox.outcomes_written()
        self.showcase.task(told)
        self.stirred()
        return told

    async def keep_time(self, look: float) -> float:
        """While something waits, keep how long: a wait survives the daemon, but for a minute."""
        now = self.desk.monotonic()
        if not math.isfinite(look):
            return look
        if now - self._kept_at >= KEPT_S:
            self._kept_at = now
            await self.desk.save_clock()
        return min(look, KEPT_S)

    def _may_start(self, row: TaskRow) -> Start:
        """Ask the budget, and remember since when it has not been in favour."""
        now = self.desk.monotonic()
        held_s = now - self._since.setdefault(row.id, now)
        start = self.governor.may_start(held_s, urgent=row.model in self.urgent)
        if not start.reasons:
            del self._since[row.id]
        return start

    def _waiting(self, row: TaskRow) -> Waiting:
        return Waiting(
            task=row.id,
            model=row.model,
            user=row.user,
            created_s=row.created_s,
            urgent=row.model in self.urgent,
            ready_in_s=self._ready_in(row.id),
        )

    def _ready_in(self, task: str) -> float:
        return max(0.0, self._ready_at.get(task, 0.0) - self.desk.monotonic())

    async def _served(self) -> Sequence[Served]:
        found = await self.desk.ledger.run(turns)
        return [Served(model=model, user=user, turn=turn) for (model, user), turn in found.items()]

    def _reasons(self, row: TaskRow, start: Start | None) -> tuple[str, ...]:
        """Return why a task does not start; None: since a person holds it."""
        if start is None:
            return (*QUEUED, PERSON)
        retry = (RETRY,) if self._ready_in(row.id) > 0 else ()
        return (*QUEUED, *retry, *(() if start.allowed else start.reasons))

    async def _explain(self, row: TaskRow, reasons: tuple[str, ...]) -> None:
        """Say why a task does not start, if that is something new."""
        if row.reasons != reasons:
            self.showcase.task(await self.desk.ledger.run(explain, row.id, reasons))
