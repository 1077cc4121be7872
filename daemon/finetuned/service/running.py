"""One attempt of a task, as the daemon sees it: what the worker reports goes into the ledger and to the outbox.

The ledger is told of a hold when the worker stands, not when it was asked to; the outcome that a subscriber hears is in
the same transaction.  Whatever carries another task or attempt than this one's is dropped.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.errors import StateError
from finetuned.service import events
from finetuned.service.asked import Wanted, wanted
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_tasks import set_reasons, transition
from finetuned.service.messages import (
    Adjust,
    Cancel,
    Cancelled,
    Completed,
    EpochEnd,
    Failed,
    Held,
    MiniBatchEnd,
    Pace,
    Pause,
    Report,
    Resume,
    TrainingBegin,
)
from finetuned.service.views import Course, task_key, task_state
from finetuned.states import TaskState, Verb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from finetuned.policy.budget import Verdict
    from finetuned.service.desk import Desk
    from finetuned.service.events import Outcome
    from finetuned.service.executor import Run
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.messages import TaskSpec


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A worker at work on a task.

    `by_user` is set while a person holds it; `most` is the duty at most, where it started although the budget would
    rather have had it wait; once it is `over` nothing more is told of it.
    """

    desk: Desk
    row: TaskRow
    spec: TaskSpec
    run: Run
    by_user: bool = False
    most: float = 1.0
    over: bool = False
    course: Course = field(default_factory=Course)
    began: TrainingBegin | None = None
    _told: Wanted | None = None
    _hold: Wanted | None = None
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    _held_since: float | None = None

    # ── what it is told ─────────────────────────────────────────────────────────────────────────
    async def follow(self, verdict: Verdict) -> None:
        """Pass on what is wanted now, if that is something new."""
        async with self._turns:  # two that follow at once would mix up their commands
            await self._follow(verdict)

    async def _follow(self, verdict: Verdict) -> None:
        if not verdict.holds:
            self.most = 1.0
        want, before = wanted(verdict, by_user=self.by_user, most=self.most), self._told
        self._told = want
        if before is None or want.held != before.held:
            await self._turn(want, first=before is None)
        elif not want.held and want.duty != before.duty:
            await self.run.control(Pace(duty=want.duty))
            await self._write(self._pace_event(events.PaceChanged, want))
        elif want.reasons != self.row.reasons and self.row.state is TaskState.suspended:
            with suppress(StateError):  # it has just gone on or ended: then it has no reasons to change
                self.row = await self.desk.ledger.run(set_reasons, self.row.id, want.reasons)
        self._show()

    async def _turn(self, want: Wanted, *, first: bool) -> None:
        """Hold the worker, or let it go on at its pace."""
        if want.held:
            self._hold = want
            await self.run.control(Pause())
        else:
            await self.run.control(Pace(duty=want.duty))
            if not first:
                await self.run.control(Resume())

    async def adjust(self, parameters: dict[str, float]) -> None:
        """Change the learning rate from the next mini-batch on."""
        await self.run.control(Adjust(parameters=parameters))

    async def cancel(self) -> None:
        """End it after the mini-batch in flight."""
        await self._move(Verb.cancel)
        await self.run.control(Cancel())

    # ── what it reports ─────────────────────────────────────────────────────────────────────────
    async def listen(self) -> Report:
        """Take every report up to the worker's last word, and return that; LostError where it has none."""
        async for report in self.run.reports():
            if (report.task, report.attempt) != (self.row.id, self.row.attempt):
                continue
            if isinstance(report, (Completed, Cancelled, Failed)):
                return report
            await self._take(report)
        raise AssertionError("an executor's reports end with a last word")

    async def _take(self, report: Report) -> None:
        takers: dict[type[Report], Callable[..., Awaitable[None]]] = {
            TrainingBegin: self._take_begin,
            MiniBatchEnd: self._take_batch,
            EpochEnd: self._take_epoch,
            Held: self._take_held,
        }
        if taker := takers.get(type(report)):
            await taker(report)
            self._show()

    async def _take_begin(self, report: TrainingBegin) -> None:
        self.began = report
        self.course.begin(report, self.desk.monotonic())
        self._tell(
            events.TrainingBegin,
            report,
            parameters=report.parameters,
            samples=report.samples,
            device=report.device,
            epochs=report.epochs,
            batches=report.batches,
            held_out=report.held_out,
        )

    async def _take_batch(self, report: MiniBatchEnd) -> None:
        self.course.advance(report)
        metrics = {
            "epochIndex": report.epoch_index,
            "miniBatchIndex": report.mini_batch_index,
            "lossValue": report.loss_value,
        }
        self._tell(events.MiniBatchEnd, report, metrics=metrics)

    async def _take_epoch(self, report: EpochEnd) -> None:
        self.course.advance(report)
        self._tell(
            events.EpochEnd,
            report,
            metrics={"epochIndex": report.epoch_index, "lossValue": report.loss_value},
            last_mini_batch_loss=report.last_mini_batch_loss,
            validation=report.validation,
        )

    async def _take_held(self, report: Held) -> None:
        """The worker stands, or goes on: now it is true, so now it is written."""
        async with self._turns:
            await self._write_held(report)

    async def _write_held(self, report: Held) -> None:
        """Tell what led to the hold, and keep what it is held by now: much may have happened in between."""
        hold, want, now = self._hold, self._told, self.desk.monotonic()
        if report.held and hold is not None and self.row.state is TaskState.running:
            self._held_since = now
            reasons = want.reasons if want is not None and want.held else hold.reasons
            await self._move(Verb.suspend, self._pace_event(events.Paused, hold), reasons=reasons)
        elif not report.held and want is not None and self.row.state is TaskState.suspended:
            self.course.held_s += now - (self._held_since or now)
            await self._move(Verb.resume, self._pace_event(events.Resumed, want))

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────
    async def _move(self, verb: Verb, *outcomes: Outcome, reasons: tuple[str, ...] = ()) -> None:
        at = self.desk.now()
        self.row = await self.desk.ledger.run(
            transition, self.row.id, verb, at=at, reasons=reasons, outcomes=outcomes
        )
        self.desk.outbox.outcomes_written()

    async def _write(self, outcome: Outcome) -> None:
        if not self.over:
            await self.desk.ledger.run(append_outcomes, [outcome])
            self.desk.outbox.outcomes_written()

    def _tell(self, kind: type[events.Progress], report: Report, **fields: Any) -> None:  # noqa: ANN401 - each event has its own
        event = kind(**self.desk.about(self.row), attempt=report.attempt, step=report.step, **fields)
        self.desk.outbox.progress(event)

    def _pace_event(self, kind: type[events.PaceEvent], want: Wanted) -> Outcome:
        cause = want.measured
        trip = cause.trip if cause.trip is not None and math.isfinite(cause.trip) else None
        return kind(
            **self.desk.about(self.row),
            pace=want.pace,
            duty=want.duty,
            reasons=want.reasons,
            reading=cause.reading,
            trip=trip,
        )

    def _show(self) -> None:
        if self._told is not None and not self.over:
            view = task_state(self.row, self.course, self._told, self.desk.monotonic())
            self.desk.outbox.state(task_key(self.row.id), msgspec.json.encode(view))
