"""The queue at work: the only place where tasks are started.

One task of each (model, user) lives at a time; so many run at once as the configuration and the executor allow.  What is due
is asked of `making`, who starts of `waiting`, and how a task goes on of its `running.Attempt`; what becomes of it in the end is
in `ending`.  The start of an attempt, its end and what people ask take turns on a task: whoever asks finds either nobody
at work, or somebody to tell.  Everything that must survive is in the ledger; after a crash `recover` puts what ran back into
the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import sys
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from finetuned.errors import FinetunedError, HostError, RequestError, StateError
from finetuned.service import events
from finetuned.service.asked import STANDSTILL, asked_adjustment, wanted
from finetuned.service.cancellation import uninterrupted
from finetuned.service.ending import SHUTDOWN, Endings
from finetuned.service.guarded import Guarded
from finetuned.service.ledger import hurry
from finetuned.service.ledger_checkpoints import list_checkpoints
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_tasks import (
    PERSON,
    TaskRow,
    adjust,
    alive_tasks,
    begin_attempt,
    get_alive,
    get_task,
    interrupted,
    transition,
)
from finetuned.service.making import DISK_S, Maker
from finetuned.service.messages import Kill, Lost
from finetuned.service.preparing import Preparations
from finetuned.service.running import Attempt, pace_event, release_idle
from finetuned.service.showcase import Showcase
from finetuned.service.specs import Order, samples_of, write_spec
from finetuned.service.waiting import Queue
from finetuned.states import TaskState, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.policy.budget import Verdict
    from finetuned.service.desk import Desk
    from finetuned.service.executor import Executor
    from finetuned.service.governor import Governor
    from finetuned.service.making import Settings
    from finetuned.service.messages import Report, TaskSpec
    from finetuned.service.specs import Inputs

log = logging.getLogger(__name__)

EXECUTOR_S = 5.0
"""How long an executor that has failed is left alone."""
DRAIN_S = 10.0
"""How long what runs may take to let go when the daemon leaves."""


class Tasks:
    """Makes, starts, holds and ends tasks."""

    def __init__(
        self, desk: Desk, executor: Executor, governor: Governor, inputs: Inputs, settings: Settings
    ) -> None:
        self._desk = desk
        self._executor = Guarded(executor)
        self._governor = governor
        self._inputs = inputs
        self._settings = settings
        self._maker = Maker(desk, settings)
        self.showcase = Showcase(desk=desk, governor=governor)
        self._queue = Queue(desk=desk, governor=governor, showcase=self.showcase, urgent=settings.urgent)
        self._queue.stirred = self.wake
        self._running: dict[str, Attempt] = {}
        self._under_way: dict[str, TaskRow] = {}
        self._preparations = Preparations()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._leaving = False
        self._endings = Endings(
            desk=desk, settings=settings, showcase=self.showcase, queue=self._queue, stirred=self.wake
        )

    # ── what others may know ────────────────────────────────────────────────────────────────────
    @property
    def running(self) -> tuple[str, ...]:
        """The tasks that run; a paused one does not, though its worker may still be there."""
        return tuple(task for task, each in self._running.items() if each.row.state is TaskState.running)

    @property
    def queued(self) -> int:
        """The tasks that wait for one, or for their samples."""
        return self._queue.length + len(set(self._under_way) - set(self._running))

    @property
    def device(self) -> str:
        """Where the running task computes."""
        devices = (attempt.course.device for attempt in self._running.values())
        return next(filter(None, devices), "cpu")

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each model that is left alone, and for each device that a task goes without."""
        troubles = {attempt.course.trouble for attempt in self._running.values()} - {""}
        return (*self._maker.warnings, *sorted(troubles))

    def wake(self) -> None:
        """Something has changed: look again, and show it."""
        self._governor.accelerator = any(each.course.accelerated for each in self._running.values())
        self._wake.set()
        self.showcase.on_change()

    def _turn(self, task: str) -> asyncio.Lock:
        """Return the lock of a task, the same for as long as anybody has it."""
        return self._turns.setdefault(task, asyncio.Lock())

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    async def recover(self) -> None:
        """Put right what the last daemon left behind; before `run`."""
        rows = await self._desk.ledger.run(interrupted, moment=self._desk.moment(), node=self._desk.node)
        for row in rows:
            log.info("task %s was interrupted and is %s now", row.id, row.state)
        self._desk.outbox.outcomes_written()

    async def run(self) -> None:
        """Make what is due, start what may start, for as long as the daemon lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._obey_governor(), name="tasks obey the governor")
            group.create_task(self._hear_executor(), name="tasks hear the executor")
            while True:
                self._wake.clear()
                look = await self._look(group)
                with contextlib.suppress(TimeoutError):
                    # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with the wake-up.
                    async with asyncio.timeout(None if math.isinf(look) else max(look, 0.05)):
                        await self._wake.wait()

    async def _look(self, group: asyncio.TaskGroup) -> float:
        """Make and start what may be; return the seconds to the next look."""
        if self._leaving:
            return math.inf
        try:
            look = min(await self._make_due(), await self._start_next(group))
            return await self._queue.keep_time(look)
        except HostError as error:
            log.warning("no task can be made or started: %s", error)
            return DISK_S
        except RequestError as error:
            log.info("it was forgotten while it was looked at: %s", error)
            return 0.0

    async def _obey_governor(self) -> None:
        async for _ in self._governor.changes():
            for row in list(self._under_way.values()):
                if self._verdict_for(row)().pace in STANDSTILL:
                    self._preparations.break_off(row.id)
            for attempt in [each for each in self._running.values() if each.submitted]:
                try:
                    await attempt.follow()
                except FinetunedError as error:
                    log.warning("a change of pace cannot be written: %s", error)
            self.wake()

    async def _hear_executor(self) -> None:
        """Pass on what attempts say; an executor that fails has lost all of them."""
        while True:
            try:
                async for report in self._executor.events():
                    self._hear(report)
            except FinetunedError as error:
                log.error("%s", error)  # noqa: TRY400 - it says what it is
                for attempt in self._running.values():
                    attempt.hear(Lost(seq=sys.maxsize, error=str(error)))
            await asyncio.sleep(EXECUTOR_S)

    def _hear(self, report: Report) -> None:
        attempt = self._running.get(report.task)
        if attempt is not None and attempt.row.attempt == report.attempt:
            attempt.hear(report)

    async def _make_due(self) -> float:
        made, look = await self._maker.due()
        for row in made:
            await self._welcome(row)
        return look

    async def _welcome(self, row: TaskRow) -> None:
        self.showcase.task(row)
        await self.showcase.model(row.model, row.user)

    # ── starting ────────────────────────────────────────────────────────────────────────────────
    async def _start_next(self, group: asyncio.TaskGroup) -> float:
        """Start whoever is next; return the seconds to the next look."""
        places = min(self._settings.places, self._executor.capabilities.places)
        look = await self._queue.look(self._under_way.values(), places)
        for row, duty in look.starts:
            self._under_way[row.id] = row
            group.create_task(self._attempt(row, duty), name=f"task {row.id}")
        if look.starts:
            self.showcase.on_change()
        attempts = tuple(self._running.values())
        return min(look.next_s, await release_idle(attempts, self._settings.release_after_s, look))

    async def _attempt(self, row: TaskRow, duty: float) -> None:
        """Run one attempt to its end, whatever that is."""
        try:
            await self._run(row, duty)
        except asyncio.CancelledError:
            await uninterrupted(self._abandon(row))
            raise
        except FinetunedError as error:
            await self._insist(row, error)
        except OSError as error:  # a disk has its own ways; the daemon goes on
            await self._insist(row, HostError(str(error)))
        finally:
            self._under_way.pop(row.id, None)
            self._idle.set()
            self.wake()

    async def _run(self, row: TaskRow, duty: float) -> None:
        want = self._inputs.want(row.model)
        samples = await self._preparations.done(row.id, samples_of(self._desk, self._inputs, row, want))
        if samples is None:
            return
        known = await self._desk.ledger.run(get_model, row.model)
        async with self._turn(row.id):
            started = await self._begin(row, duty)
            if started is None:
                return
            order = Order(row=started, known=known, samples=samples, want=want)
            spec = await write_spec(self._desk, self._settings, order)
            attempt = self._staffed(started, spec, duty)
            checkpoints = await self._desk.ledger.run(list_checkpoints, row.id)
            await self._executor.submit(spec, started.attempt, checkpoints)
            attempt.submitted = True
        await attempt.follow()
        report = await attempt.listen()
        async with self._turn(row.id):
            await uninterrupted(self._end(attempt, report))

    async def _begin(self, row: TaskRow, duty: float) -> TaskRow | None:
        want = wanted(self._verdict_for(row)(), by_user=False, most=duty)
        resumed = pace_event(events.Resumed, self._desk.about(row), want)
        begun = await self._desk.ledger.run(
            begin_attempt, row.id, moment=self._desk.moment(), resumed=resumed
        )
        self._desk.outbox.outcomes_written()
        return begun

    def _staffed(self, row: TaskRow, spec: TaskSpec, duty: float) -> Attempt:
        """Return the attempt, to which the executor's reports go from now on."""
        self.showcase.courses[row.id].forget_device()
        attempt = self._running[row.id] = Attempt(
            desk=self._desk,
            row=row,
            spec=spec,
            executor=self._executor,
            most=duty,
            verdict=self._verdict_for(row),
            course=self.showcase.courses[row.id],
            stirred=self.wake,
            shown=self.showcase.show,
        )
        return attempt

    def _verdict_for(self, row: TaskRow) -> Callable[[], Verdict]:
        return partial(self._governor.verdict_for, urgent=row.model in self._settings.urgent)

    # ── ending ──────────────────────────────────────────────────────────────────────────────────
    async def _end(self, attempt: Attempt, report: Report) -> None:
        await self._dismiss(attempt.row.id)
        await self._endings.of_report(attempt, report, leaving=self._leaving)

    def _leave(self, task: str) -> Attempt | None:
        """From now on nobody is at work on the task."""
        if attempt := self._running.pop(task, None):
            attempt.over = True
            attempt.course.go_on(self._desk.monotonic())
        return attempt

    async def _insist(self, row: TaskRow, error: FinetunedError) -> None:
        """Write what became of the task; while the disk refuses even that, wait for it."""
        while True:
            try:
                await uninterrupted(self._fail(row, error))
            except HostError as refusal:
                log.warning("what became of task %s cannot be written: %s", row.id, refusal)
                if self._leaving:
                    return  # the next start finds it as it was
                await asyncio.sleep(DISK_S)
            else:
                return

    async def _fail(self, row: TaskRow, error: FinetunedError) -> None:
        async with self._turn(row.id):
            await self._dismiss(row.id)
            await self._endings.of_error(row.id, error, leaving=self._leaving)

    async def _abandon(self, row: TaskRow) -> None:
        """The daemon leaves, and could not wait; the task goes on when it is back."""
        async with self._turn(row.id):
            await self._dismiss(row.id)
            with contextlib.suppress(HostError):  # the next start puts it right all the same
                await self._endings.put_back(row.id, (SHUTDOWN,))

    async def _dismiss(self, task: str) -> None:
        """End a worker that has not had its last word."""
        attempt = self._leave(task)
        if attempt is not None and not attempt.ended:
            with contextlib.suppress(HostError):
                await self._executor.control(task, attempt.row.attempt, Kill())

    async def drain(self) -> None:
        """Start nothing more, and let go of what runs, with a checkpoint where there is time for it."""
        self._leaving = True
        self._preparations.break_off()
        with contextlib.suppress(TimeoutError, HostError):
            await self._desk.ledger.run(hurry)
            await self._executor.drain(DRAIN_S)
            async with asyncio.timeout(DRAIN_S):
                while self._under_way:
                    self._idle.clear()
                    await self._idle.wait()
        with contextlib.suppress(HostError):
            await self._desk.save_clock()

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
            row = await self._desk.ledger.run(get_alive, task)
            if attempt := self._running.get(task):
                await attempt.hold(held=True)
                return attempt.row
            self._preparations.break_off(task)
            about = self._desk.about(row)
            paused = events.Paused(**about, pace="paused", duty=0.0, reasons=(PERSON,))
            return await self._queue.hold(row, held=True, outcome=paused)

    async def resume(self, task: str, parameters: Mapping[str, object]) -> TaskRow:
        """Let a task go on, with a new learningRate if one is given."""
        async with self._turn(task):
            row = await self._desk.ledger.run(get_alive, task)
            known = await self._desk.ledger.run(get_model, row.model)
            rates = asked_adjustment(known.info, parameters).values()
            if attempt := self._running.get(task):
                for rate in rates:
                    await attempt.adjust(rate)
                await attempt.hold(held=False)
                return attempt.row
            for rate in rates:
                await self._desk.ledger.run(adjust, task, rate)
            return await self._queue.hold(row, held=False)

    async def cancel(self, task: str) -> TaskRow:
        """End a task; one that runs ends after the mini-batch in flight."""
        async with self._turn(task):
            row = await self._desk.ledger.run(get_alive, task)
            if attempt := self._running.get(task):
                if row.state is not TaskState.cancelling:
                    await attempt.cancel()
                return attempt.row
            self._preparations.break_off(task)
            if row.state is not TaskState.cancelling:
                await self._desk.ledger.run(transition, task, Verb.cancel, moment=self._desk.moment())
            await self._endings.close(row, events.TaskCancelled(**self._desk.about(row)))
            return await self._desk.ledger.run(get_task, task)

    async def stop(self, concerns: Callable[[str, str], bool]) -> None:
        """Cancel the tasks of these (model, user), and wait until nobody is at work on any of them."""
        for row in await self._desk.ledger.run(alive_tasks):
            if concerns(row.model, row.user):
                with contextlib.suppress(RequestError, StateError):  # it has ended by itself
                    await self.cancel(row.id)
        while any(concerns(row.model, row.user) for row in self._under_way.values()):
            self._idle.clear()
            await self._idle.wait()

    async def all_alive(self) -> tuple[str, ...]:
        """Return the ids of all tasks that live."""
        return tuple(row.id for row in await self._desk.ledger.run(alive_tasks))
