"""What becomes of a task when its worker has had its last word, or has none any more: one end, or a place in the queue."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned import files
from finetuned.errors import HostError
from finetuned.service import events
from finetuned.service.asked import released
from finetuned.service.ledger_tasks import QUEUED, explain, find_task, get_task, lose, transition
from finetuned.service.messages import Cancelled, Completed, Failed, Lost, Released
from finetuned.service.retention import trim
from finetuned.service.running import pace_event
from finetuned.service.saving import save
from finetuned.service.waiting import BACK_OFF, RETRY
from finetuned.states import TaskState, Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.errors import FinetunedError
    from finetuned.service.asked import Wanted
    from finetuned.service.desk import Desk
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.making import Settings
    from finetuned.service.messages import Report
    from finetuned.service.running import Attempt
    from finetuned.service.showcase import Showcase
    from finetuned.service.waiting import Queue

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""So many lost workers take the task with them."""
SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Writes what became of tasks; its caller has the task's turn, and nobody is at work on the task any more."""

    desk: Desk
    settings: Settings
    showcase: Showcase
    queue: Queue
    stirred: Callable[[], None]

    async def of_report(self, attempt: Attempt, report: Report, *, leaving: bool) -> None:
        """Write what the last word of an attempt says; `leaving`: the daemon does.

        Raises:
            HostError: the result is not what was told, or the disk refuses it.
        """
        row = await self.desk.ledger.run(get_task, attempt.row.id)
        about = self.desk.about(row)
        if not row.alive:
            await self.clear(row)
        elif isinstance(report, Completed):
            await self.clear(await save(self.desk, attempt, report))
        elif isinstance(report, Cancelled) or row.state is TaskState.cancelling:
            await self.close(row, events.TaskCancelled(**about))
        elif isinstance(report, Released):
            await self._released(attempt, leaving=leaving)
        elif isinstance(report, Failed) and report.fault != HostError.fault:
            await self.close(row, events.TaskFailed(**about, fault=report.fault, error=report.error))
        elif isinstance(report, (Failed, Lost)):
            await self._lose(row.id, report.error, leaving=leaving)

    async def _released(self, attempt: Attempt, *, leaving: bool) -> None:
        """Let a task wait again; where nobody has asked its executor to let go, not at once."""
        if leaving:
            await self.put_back(attempt.row.id, (SHUTDOWN,))
        elif attempt.releasing:
            await self.put_back(attempt.row.id, QUEUED, held=attempt.told)
        else:
            self.queue.back_off(attempt.row.id, self.settings.retry_s)
            await self.put_back(attempt.row.id, (*QUEUED, RETRY), held=attempt.told)

    async def of_error(self, task: str, error: FinetunedError, *, leaving: bool) -> None:
        """Write what an error does to a task: the machine's may pass, any other ends it."""
        row = await self.desk.ledger.run(find_task, task)
        if row is None:
            log.info("task %s was forgotten, then: %s", task, error)
        elif not row.alive:
            log.info("task %s had ended, then: %s", task, error)
            await self.clear(row)
        elif isinstance(error, HostError) or row.state is TaskState.cancelling:
            await self._lose(task, str(error), leaving=leaving)
        else:
            ending = events.TaskFailed(**self.desk.about(row), fault=error.fault, error=str(error))
            await self.close(row, ending)

    async def _lose(self, task: str, error: str, *, leaving: bool) -> None:
        """Give a task that has lost its worker another one after a while, or give it up."""
        row = await self.desk.ledger.run(get_task, task)
        about = self.desk.about(row)
        if row.state is TaskState.cancelling:
            await self.close(row, events.TaskCancelled(**about))
            return
        if leaving:
            await self.put_back(task, (SHUTDOWN,))
            return
        given_up = f"three workers were lost, the last one so: {error}"
        failed = events.TaskFailed(**about, fault=HostError.fault, error=given_up)
        moment, reasons = self.desk.moment(), (*QUEUED, RETRY)
        lost = await self.desk.ledger.run(
            lose, task, moment=moment, failed=failed, reasons=reasons, most=ATTEMPTS
        )
        if lost.alive:
            wait_s = self.settings.retry_s * BACK_OFF ** (lost.losses - 1)
            log.warning("task %s, attempt %d: %s; again in %g s", task, lost.attempt, error, wait_s)
            self.queue.back_off(task, wait_s)
            self.showcase.task(lost)
        else:
            log.error("task %s of model %s failed: %s", task, lost.model, given_up)
            self.desk.outbox.outcomes_written()
            await self.clear(lost)

    async def put_back(self, task: str, reasons: tuple[str, ...], *, held: Wanted | None = None) -> None:
        """Suspend a task that has no worker any more; one that has ended, or is being cancelled, is left alone.

        `held` is how one was held that has let go.
        """
        row = await self.desk.ledger.run(find_task, task)
        if row is None:  # it was forgotten
            return
        about = self.desk.about(row)
        if row.state is TaskState.running:
            paused = events.Paused(**about, pace="paused", duty=0.0, reasons=reasons)
            moment = self.desk.moment()
            back = await self.desk.ledger.run(
                transition, task, Verb.suspend, moment=moment, reasons=reasons, outcomes=[paused]
            )
        elif row.state is TaskState.suspended:
            told = (
                [] if held is None else [pace_event(events.PaceChanged, about, released(held, row.reasons))]
            )
            kept = () if held is None else row.reasons
            back = await self.desk.ledger.run(explain, task, (*reasons, *kept), told)
        else:
            return
        self.desk.outbox.outcomes_written()
        self.showcase.task(back)

    async def close(self, row: TaskRow, ending: events.Outcome) -> None:
        """End a task that did not complete."""
        if isinstance(ending, events.TaskFailed):
            log.error("task %s of model %s failed: %s", row.id, row.model, ending.error)
        moment = self.desk.moment()
        ended = await self.desk.ledger.run(transition, row.id, Verb.fail, moment=moment, outcomes=[ending])
        self.desk.outbox.outcomes_written()
        await self.clear(ended)

    async def clear(self, row: TaskRow) -> None:
        """Nothing of an ended task stays: no retained state, no folder; and of history only so much."""
        self.queue.forget(row.id)
        self.stirred()
        await self.showcase.ended(row)
        try:
            await asyncio.to_thread(files.remove, self.desk.store.task(row.id))
        except HostError as error:
            log.warning("the folder of a task that has ended stays for now: %s", error)
        await trim(self.desk, self.settings.kept_versions)
