"""The queue: the only place where tasks are made and started.

One task of each (model, user) lives at a time, one runs at a time.  What is due is asked of `policy.trigger`, whether it
may start of the governor, and how it goes on of `running.Attempt`.  The start of an attempt, its end and what people ask
take turns on a task: whoever asks finds either nobody at work, or somebody to tell.  Everything that must survive is in
the ledger; after a crash `recover` puts what ran back into the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from finetuned import files
from finetuned.errors import FinetunedError, HostError, RequestError
from finetuned.service import events
from finetuned.service.asked import asked_adjustment
from finetuned.service.cancellation import uninterrupted
from finetuned.service.executor import LostError
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_tasks import (
    PERSON,
    QUEUED,
    Change,
    TaskRow,
    alive_tasks,
    begin_attempt,
    change_reasons,
    get_task,
    interrupted,
    set_reasons,
    transition,
)
from finetuned.service.making import Maker
from finetuned.service.messages import Cancelled, Completed, Failed
from finetuned.service.running import Attempt
from finetuned.service.saving import save
from finetuned.service.showcase import Showcase
from finetuned.service.specs import Order, samples_of, write_spec
from finetuned.states import TaskState, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.service.desk import Desk
    from finetuned.service.executor import Executor
    from finetuned.service.governor import Governor
    from finetuned.service.making import Settings
    from finetuned.service.messages import Report
    from finetuned.service.specs import Inputs

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""A worker that is lost so often in one task takes the task with it."""
SHUTDOWN = "shutdown"
DISK_S = 10.0
"""How long a disk that refuses is left alone."""
HELD_LOOK_S = 60.0
"""How often a task that the budget holds back is looked at, though nothing changes."""


class Tasks:
    """Makes, starts, holds and ends tasks."""

    def __init__(
        self, desk: Desk, executor: Executor, governor: Governor, inputs: Inputs, settings: Settings
    ) -> None:
        self._desk = desk
        self._executor = executor
        self._governor = governor
        self._inputs = inputs
        self._settings = settings
        self._maker = Maker(desk, settings)
        self.showcase = Showcase(desk=desk, governor=governor)
        self._running: dict[str, Attempt] = {}
        self._under_way: set[str] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._queued = 0
        self._wake = asyncio.Event()
        self._held_since: dict[str, float] = {}
        self._losses: dict[str, int] = {}

    # ── what others may know ────────────────────────────────────────────────────────────────────
    @property
    def running(self) -> tuple[str, ...]:
        """The tasks that have a worker."""
        return tuple(self._running)

    @property
    def queued(self) -> int:
        """The tasks that wait for one."""
        return self._queued

    @property
    def device(self) -> str:
        """Where the running task computes."""
        return next(
            (attempt.course.device for attempt in self._running.values() if attempt.course.device), "cpu"
        )

    def wake(self) -> None:
        """Something has changed: look again."""
        self._wake.set()

    def _turn(self, task: str) -> asyncio.Lock:
        """Return the lock of a task, the same for as long as anybody has it."""
        return self._turns.setdefault(task, asyncio.Lock())

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    async def recover(self) -> None:
        """Put right what the last daemon left behind; before `run`."""
        rows = await self._desk.ledger.run(interrupted, at=self._desk.now(), node=self._desk.node)
        for row in rows:
            log.info("task %s was interrupted and is %s now", row.id, row.state)
        self._desk.outbox.outcomes_written()

    async def run(self) -> None:
        """Make what is due, start what may start, for as long as the daemon lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._obey_governor(), name="tasks obey the governor")
            while True:
                self._wake.clear()
                look = await self._look(group)
                with contextlib.suppress(TimeoutError):
                    # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the wake-up.
                    async with asyncio.timeout(None if math.isinf(look) else max(look, 0.05)):
                        await self._wake.wait()

    async def _look(self, group: asyncio.TaskGroup) -> float:
        """Make and start what may be; return the seconds to the next look."""
        try:
            return min(await self._make_due(), await self._start_next(group))
        except HostError as error:
            log.warning("no task can be made or started: %s", error)
            return DISK_S

    async def _obey_governor(self) -> None:
        async for verdict in self._governor.changes():
            for attempt in tuple(self._running.values()):
                try:
                    await attempt.follow(verdict)
                except HostError as error:
                    log.warning("a change of pace cannot be written: %s", error)
            self.wake()

    async def _make_due(self) -> float:
        made, look = await self._maker.due()
        for row in made:
            await self._welcome(row)
        return look

    async def _welcome(self, row: TaskRow) -> None:
        self._held_since[row.id] = self._desk.monotonic()
        self.showcase.task(row)
        await self.showcase.model(row.model)

    # ── starting ────────────────────────────────────────────────────────────────────────────────
    async def _start_next(self, group: asyncio.TaskGroup) -> float:
        """Start the oldest task that nothing holds, if no other runs; return the seconds to the next look."""
        waiting = [row for row in await self._desk.ledger.run(alive_tasks) if row.id not in self._under_way]
        self._queued = len(waiting)
        startable = [row for row in waiting if row.state is TaskState.suspended and PERSON not in row.reasons]
        if self._under_way or not startable:
            return math.inf
        row = startable[0]
        held_s = self._desk.monotonic() - self._held_since.setdefault(row.id, self._desk.monotonic())
        start = self._governor.may_start(held_s)
        if not start.allowed:
            await self._explain(row, (*QUEUED, *start.reasons))
            return HELD_LOOK_S
        self._under_way.add(row.id)
        self._queued -= 1
        self.showcase.on_change()
        group.create_task(self._attempt(row, start.duty), name=f"task {row.id}")
        return math.inf

    async def _explain(self, row: TaskRow, reasons: tuple[str, ...]) -> None:
        """Say why a task does not start."""
        if row.reasons != reasons:
            self.showcase.task(await self._desk.ledger.run(change_reasons, row.id, lambda _: reasons))

    async def _attempt(self, row: TaskRow, duty: float) -> None:
        """Run one attempt to its end, whatever that is."""
        try:
            await self._run(row, duty)
        except asyncio.CancelledError:
            await uninterrupted(self._shut_down(row))
            raise
        except FinetunedError as error:
            await self._insist(row, error)
        finally:
            self._under_way.discard(row.id)
            self.showcase.on_change()
            self.wake()

    async def _run(self, row: TaskRow, duty: float) -> None:
        known = await self._desk.ledger.run(get_model, row.model)
        want = self._inputs.want(row.model)
        samples = await samples_of(self._desk, self._inputs, row, want)
        async with AsyncExitStack() as worker:
            async with self._turn(row.id):
                started = await self._desk.ledger.run(begin_attempt, row.id, at=self._desk.now())
                if started is None:
                    return
                order = Order(row=started, known=known, samples=samples, want=want)
                spec = await write_spec(self._desk, self._settings, order)
                run = await worker.enter_async_context(self._executor.submit(spec))
                attempt = Attempt(desk=self._desk, row=started, spec=spec, run=run, most=duty)
                self._running[row.id] = attempt
            await attempt.follow(self._governor.verdict)
            report = await attempt.listen()
            if isinstance(report, Failed) and report.fault == HostError.fault:
                raise LostError(report.error)  # the machine's fault: worth another attempt
            await uninterrupted(self._end(attempt, report))

    # ── ending ──────────────────────────────────────────────────────────────────────────────────
    async def _end(self, attempt: Attempt, report: Report) -> None:
        """Write the one end of the task."""
        async with self._turn(attempt.row.id):
            self._leave(attempt.row.id)
            about = self._desk.about(attempt.row)
            if isinstance(report, Completed):
                await self._clear(await save(self._desk, attempt, report))
            elif isinstance(report, Cancelled):
                await self._close(attempt.row, events.TaskCancelled(**about))
            elif isinstance(report, Failed):
                ending = events.TaskFailed(**about, fault=report.fault, error=report.error)
                await self._close(attempt.row, ending)

    def _leave(self, task: str) -> None:
        """From now on nobody is at work on the task."""
        if attempt := self._running.pop(task, None):
            attempt.over = True

    async def _insist(self, row: TaskRow, error: FinetunedError) -> None:
        """Write what became of the task; while the disk refuses even that, wait for it."""
        again = isinstance(error, LostError) and self._may_lose_another(row.id)
        attempt = self._running.get(row.id)
        while True:
            try:
                await uninterrupted(self._fail(row, error, attempt, again=again))
            except HostError as refusal:
                log.warning("what became of task %s cannot be written: %s", row.id, refusal)
                await asyncio.sleep(DISK_S)
            else:
                return

    def _may_lose_another(self, task: str) -> bool:
        """Count a lost worker; a few are replaced."""
        self._losses[task] = self._losses.get(task, 0) + 1
        return self._losses[task] < ATTEMPTS

    async def _fail(
        self, row: TaskRow, error: FinetunedError, attempt: Attempt | None, *, again: bool
    ) -> None:
        """Put the task back into the queue, or end it."""
        async with self._turn(row.id):
            self._leave(row.id)
            now = await self._desk.ledger.run(get_task, row.id)
            about = self._desk.about(now)
            if not now.alive:
                log.info("task %s had ended, then: %s", row.id, error)
                await self._clear(now)
            elif now.state is TaskState.cancelling:
                await self._close(now, events.TaskCancelled(**about))
            elif again:
                log.warning("task %s, attempt %d: %s; it starts again", row.id, now.attempt, error)
                await self._put_back(now, attempt, QUEUED)
            else:
                await self._close(now, events.TaskFailed(**about, fault=error.fault, error=str(error)))

    async def _close(self, row: TaskRow, ending: events.Outcome) -> None:
        at = self._desk.now()
        ended = await self._desk.ledger.run(transition, row.id, Verb.fail, at=at, outcomes=[ending])
        self._desk.outbox.outcomes_written()
        await self._clear(ended)

    async def _clear(self, row: TaskRow) -> None:
        """Nothing of an ended task stays: no retained state, no folder."""
        self._held_since.pop(row.id, None)
        self._losses.pop(row.id, None)
        self.wake()
        self.showcase.task(row)
        await self.showcase.model(row.model)
        await asyncio.to_thread(files.remove, self._desk.store.task(row.id))

    async def _shut_down(self, row: TaskRow) -> None:
        """The daemon leaves; the task goes on when it is back."""
        async with self._turn(row.id):
            attempt = self._running.get(row.id)
            self._leave(row.id)
            now = await self._desk.ledger.run(get_task, row.id)
            held = attempt is not None and now.state is TaskState.suspended
            if held or now.state is TaskState.running:
                await self._put_back(now, attempt, (SHUTDOWN,))

    async def _put_back(self, row: TaskRow, attempt: Attempt | None, reasons: tuple[str, ...]) -> None:
        """Suspend a task that has no worker any more; where a person holds it, that stays."""
        held = attempt is not None and attempt.by_user
        reasons = (*reasons, PERSON) if held else reasons
        if row.state is TaskState.suspended:
            self.showcase.task(await self._desk.ledger.run(set_reasons, row.id, reasons))
            return
        paused = events.Paused(**self._desk.about(row), pace="paused", duty=0.0, reasons=reasons)
        told = [] if reasons == QUEUED else [paused]
        at = self._desk.now()
        back = await self._desk.ledger.run(
            transition, row.id, Verb.suspend, at=at, reasons=reasons, outcomes=told
        )
        self._desk.outbox.outcomes_written()
        self.showcase.task(back)

    # ── requests ────────────────────────────────────────────────────────────────────────────────
    async def train(self, model: str, user: str, parameters: Mapping[str, object]) -> TaskRow:
        """Make a task now, whether enough is new or not; RequestError where that cannot be."""
        made = await self._maker.make(model, user, parameters)
        await self._welcome(made)
        self.wake()
        return made

    async def pause(self, task: str) -> TaskRow:
        """Hold a task until a person lets it go on."""
        async with self._turn(task):
            row = await self._alive(task)
            if attempt := self._running.get(task):
                attempt.by_user = True
                await attempt.follow(self._governor.verdict)
                return attempt.row
            paused = events.Paused(**self._desk.about(row), pace="paused", duty=0.0, reasons=(PERSON,))
            return await self._tell_queued(row, lambda reasons: (*reasons, PERSON), paused)

    async def resume(self, task: str, parameters: Mapping[str, object]) -> TaskRow:
        """Let a task go on, with a new learningRate if one is given."""
        async with self._turn(task):
            row = await self._alive(task)
            known = await self._desk.ledger.run(get_model, row.model)
            changed = asked_adjustment(known.info, parameters)
            if attempt := self._running.get(task):
                attempt.by_user = False
                if changed:
                    await attempt.adjust(changed)
                await attempt.follow(self._governor.verdict)
                return attempt.row
            if changed:
                raise RequestError(f"task {task} has not started; give its learningRate to `train`")
            resumed = events.Resumed(**self._desk.about(row), pace="full", duty=1.0, reasons=())
            return await self._tell_queued(row, _without_person, resumed)

    async def _tell_queued(self, row: TaskRow, change: Change, outcome: events.Outcome) -> TaskRow:
        """Change why a task waits that has no worker, and tell so if that changed anything."""
        told = await self._desk.ledger.run(change_reasons, row.id, change, outcome)
        self._desk.outbox.outcomes_written()
        self.showcase.task(told)
        self.wake()
        return told

    async def cancel(self, task: str) -> TaskRow:
        """End a task; one that runs ends after the mini-batch in flight."""
        async with self._turn(task):
            row = await self._alive(task)
            if attempt := self._running.get(task):
                await attempt.cancel()
                return attempt.row
            await self._desk.ledger.run(transition, task, Verb.cancel, at=self._desk.now())
            await self._close(row, events.TaskCancelled(**self._desk.about(row)))
            return await self._desk.ledger.run(get_task, task)

    async def all_alive(self) -> tuple[str, ...]:
        """Return the ids of all tasks that live."""
        return tuple(row.id for row in await self._desk.ledger.run(alive_tasks))

    async def _alive(self, task: str) -> TaskRow:
        row = await self._desk.ledger.run(get_task, task)
        if not row.alive:
            raise RequestError(f"task {task} has ended: {row.state}")
        return row


def _without_person(reasons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(reason for reason in reasons if reason != PERSON)
