"""One attempt of a task, as the daemon sees it: what the worker reports goes into the ledger and to the outbox.

The ledger is told of a hold when the worker stands, not when it was asked to; the outcome that a subscriber hears is in
the same transaction.  What comes twice or too late is dropped: here by its sequence number, in the ledger by the attempt.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned import files
from finetuned.errors import HostError
from finetuned.policy.budget import Pace as BudgetPace
from finetuned.service import events
from finetuned.service.asked import Wanted, wanted
from finetuned.service.ledger_checkpoints import record_checkpoint, refuse_checkpoints
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_tasks import StaleError, adjust, explain, hold, pin_adjustment, transition
from finetuned.service.messages import (
    LAST,
    Adjust,
    Adjusted,
    Cancel,
    Checkpointed,
    EpochEnd,
    Held,
    Lost,
    MiniBatchEnd,
    Moved,
    Pace,
    Pause,
    Release,
    Report,
    Restored,
    Resume,
    TrainingBegin,
)
from finetuned.service.views import Course, task_state
from finetuned.states import TaskState, Verb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from finetuned.policy.budget import Verdict
    from finetuned.service.desk import Desk
    from finetuned.service.events import Outcome, TaskStateView
    from finetuned.service.executor import Executor
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.messages import CheckpointRef, Control, TaskSpec
    from finetuned.service.waiting import Look

log = logging.getLogger(__name__)

DISK_S = 10.0
"""How long a disk that refuses is left alone."""
MEMORY = "memory"
MISSED_BY_NOBODY = (Checkpointed, Restored)
"""Without these the task goes on from somewhere else, to the same bytes."""
SHOW_S = 0.2
OFTEN = (MiniBatchEnd, EpochEnd, Checkpointed)
"""After these, what is shown of the task changes at most every `SHOW_S`: a retained state costs more than an event."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A worker at work on a task.

    `most` is the duty at most, where it started although the budget would rather have had it wait.  `verdict` gives the
    budget's present word on this task.  Until it is `submitted`
    there is nobody to tell; it has `ended` with its worker's last word; once it is `over` nothing more is told of it.
    `stirred` is called when it stands or goes on, `shown` whenever what is shown of it may have changed.
    """

    desk: Desk
    row: TaskRow
    spec: TaskSpec
    executor: Executor
    verdict: Callable[[], Verdict]
    most: float = 1.0
    submitted: bool = False
    over: bool = False
    ended: bool = False
    releasing: bool = False
    course: Course = field(default_factory=Course)
    stirred: Callable[[], None] = lambda: None
    shown: Callable[[TaskStateView], None] = lambda _: None
    began: TrainingBegin | None = None
    _told: Wanted | None = None
    _hold: Wanted | None = None
    _turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    _inbox: asyncio.Queue[Report] = field(default_factory=asyncio.Queue)
    _seq: int = 0
    _unreachable: bool = False
    _shows: asyncio.TimerHandle | None = None
    _showed_at: float = -math.inf

    @property
    def told(self) -> Wanted | None:
        """What it was told last."""
        return self._told

    # ── what it is told ─────────────────────────────────────────────────────────────────────────
    async def follow(self) -> None:
        """Pass on what is wanted now, if that is something new."""
        async with self._turns:  # two that follow at once would mix up their commands
            await self._follow(self.verdict())

    async def _follow(self, verdict: Verdict) -> None:
        if not verdict.holds:
            self.most = 1.0
        want, before = wanted(verdict, by_user=self.row.held, most=self.most), self._told
        self._told = want
        try:
            await self._pass_on(want, before)
        except HostError:
            self._told = before  # nobody has heard of it: the next time it is told again
            raise
        finally:
            self._show()

    async def _pass_on(self, want: Wanted, before: Wanted | None) -> None:
        turns = want.held if before is None else want.held != before.held
        if turns:
            await self._turn(want)
        elif not want.held and (before is None or want.speed != before.speed):
            await self._control(_pace(want))
            if before is not None or want.pace is not BudgetPace.full:
                await self._write(self._pace_event(events.PaceChanged, want))
        # That it stands is written with its reasons when the worker says so.
        if not turns and want.reasons != self.row.reasons:
            self.row = await self.desk.ledger.run(explain, self.row.id, want.reasons)

    async def _turn(self, want: Wanted) -> None:
        """Hold the worker, or let it go on at its pace."""
        if want.held:
            self._hold = want
            await self._control(Pause())
        else:
            await self._control(_pace(want))
            await self._control(Resume())

    async def hold(self, *, held: bool) -> None:
        """Take a person's word, durably, and obey it: with the verdict that holds by then."""
        self.row = await self.desk.ledger.run(hold, self.row.id, held=held)
        await self.follow()

    async def adjust(self, learning_rate: float) -> None:
        """Change the learning rate from the next mini-batch on."""
        self.row = await self.desk.ledger.run(adjust, self.row.id, learning_rate)
        await self._control(Adjust(parameters={"learningRate": learning_rate}))

    async def cancel(self) -> None:
        """End it after the mini-batch in flight."""
        await self._move(Verb.cancel)
        await self._control(Cancel())

    async def release_idle(self, after_s: float, *, crowded: bool, pressed: bool) -> float:
        """Release it where it has been held for so long; else return when to look.

        At once where an urgent task waits for its place (`pressed`), a person holds it and any other waits (`crowded`), or
        memory is short: to hold it still would give none back.
        """
        if self.course.stands_since is None:
            return math.inf
        left_s = after_s - (self.desk.monotonic() - self.course.stands_since)
        at_once = pressed or (crowded and self.row.held) or MEMORY in self.row.reasons
        if left_s > 0 and not at_once:
            return left_s
        await self._release()
        return math.inf

    async def _release(self) -> None:
        """Let it write a checkpoint and go: its memory and its place are somebody else's."""
        if not self.releasing:
            self.releasing = True
            await self._control(Release())

    async def _control(self, command: Control) -> None:
        """Tell the worker; one that cannot be told any more is lost."""
        try:
            await self.executor.control(self.row.id, self.row.attempt, command)
        except HostError as error:
            self._unreachable = True
            self.hear(Lost(seq=sys.maxsize, error=f"it cannot be reached: {error}"))

    # ── what it reports ─────────────────────────────────────────────────────────────────────────
    def hear(self, report: Report) -> None:
        """Take a report of this attempt, unless it came before."""
        if report.seq > self._seq:
            self._seq = report.seq
            self._inbox.put_nowait(report)

    async def listen(self) -> Report:
        """Take every report up to the last word, and return that."""
        while not isinstance(report := await self._inbox.get(), LAST):
            await self._insist_on(report)
        self.ended = not self._unreachable
        return report

    async def _insist_on(self, report: Report) -> None:
        """Take a report; what the ledger must know is written again and again while the disk refuses it."""
        while True:
            try:
                await self._take(report)
            except StaleError as error:
                log.info("too late: %s", error)
            except HostError as error:
                log.warning("what task %s tells cannot be written: %s", self.row.id, error)
                if not isinstance(report, MISSED_BY_NOBODY):
                    await asyncio.sleep(DISK_S)
                    continue
            return

    async def _take(self, report: Report) -> None:
        takers: dict[type[Report], Callable[..., Awaitable[None]]] = {
            Restored: self._take_restored,
            TrainingBegin: self._take_begin,
            Moved: self._take_moved,
            MiniBatchEnd: self._take_batch,
            EpochEnd: self._take_epoch,
            Checkpointed: self._take_checkpoint,
            Adjusted: self._take_adjusted,
            Held: self._take_held,
        }
        if taker := takers.get(type(report)):
            await taker(report)
            if isinstance(report, OFTEN):
                self._show_soon()
            else:
                self._show()

    async def _take_restored(self, report: Restored) -> None:
        """It goes on from a checkpoint, perhaps not from the newest."""
        for sentence in report.refused:
            log.warning("task %s: %s", self.row.id, sentence)
        log.info("task %s, attempt %d goes on from step %d", self.row.id, self.row.attempt, report.step)
        run = self.desk.ledger.run
        await self._remove(await run(refuse_checkpoints, self.row.id, self.row.attempt, step=report.step))

    async def _take_checkpoint(self, report: Checkpointed) -> None:
        if report.checkpoint is None:
            log.warning("task %s has no new checkpoint: %s", self.row.id, report.error)
            return
        run = self.desk.ledger.run
        await self._remove(await run(record_checkpoint, self.row.id, self.row.attempt, report.checkpoint))

    async def _remove(self, checkpoints: tuple[CheckpointRef, ...]) -> None:
        """Remove what nobody goes on from any more; what resists is swept at the next start."""
        for checkpoint in checkpoints:
            try:
                await asyncio.to_thread(files.remove, Path(self.spec.folder) / checkpoint.path)
            except HostError as error:
                log.warning("a checkpoint that is not needed stays: %s", error)

    async def _take_adjusted(self, report: Adjusted) -> None:
        run = self.desk.ledger.run
        self.row = await run(pin_adjustment, self.row.id, self.row.attempt, step=report.step)

    async def _take_begin(self, report: TrainingBegin) -> None:
        self.began = report
        self.course.begin(report, self.desk.monotonic())
        self.stirred()
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

    async def _take_moved(self, report: Moved) -> None:
        if report.why:
            log.warning("task %s computes on %s: %s", self.row.id, report.device, report.why)
        self.course.move(report)
        self.stirred()

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
        self.stirred()

    async def _write_held(self, report: Held) -> None:
        """Tell what led to the hold, and keep what it is held by now: much may have happened in between."""
        hold, want, now = self._hold, self._told, self.desk.monotonic()
        if report.held and hold is not None and self.row.state is TaskState.running:
            self.course.stand(now)
            reasons = want.reasons if want is not None and want.held else hold.reasons
            await self._move(Verb.suspend, self._pace_event(events.Paused, hold), reasons=reasons)
        elif not report.held and want is not None and self.row.state is TaskState.suspended:
            self.course.go_on(now)
            await self._move(Verb.resume, self._pace_event(events.Resumed, want))

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────
    async def _move(self, verb: Verb, *outcomes: Outcome, reasons: tuple[str, ...] = ()) -> None:
        self.row = await self.desk.ledger.run(
            transition,
            self.row.id,
            verb,
            moment=self.desk.moment(),
            attempt=self.row.attempt,
            reasons=reasons,
            outcomes=outcomes,
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
        return pace_event(kind, self.desk.about(self.row), want)

    def _show_soon(self) -> None:
        """Show the latest, at once or when the last time is `SHOW_S` ago."""
        if self._shows is None:
            self._shows = asyncio.get_running_loop().call_at(self._showed_at + SHOW_S, self._show)

    def _show(self) -> None:
        if self._shows is not None:
            self._shows.cancel()
            self._shows = None
        self._showed_at = asyncio.get_running_loop().time()
        if self._told is not None and not self.over:
            self.shown(task_state(self.row, self.course, self._told, self.desk.monotonic()))


def pace_event(kind: type[events.PaceEvent], about: Mapping[str, Any], want: Wanted) -> Outcome:
    """Return the event that tells of a pace, with what is behind it."""
    cause = want.measured
    return kind(
        **about,
        pace=want.pace,
        duty=want.duty,
        cores=want.cores,
        reasons=want.reasons,
        zone=cause.zone,
        reading=cause.reading,
        trip=cause.trip if cause.trip is not None and math.isfinite(cause.trip) else None,
    )


def _pace(want: Wanted) -> Pace:
    return Pace(duty=want.duty, cores=want.cores, accelerated=want.accelerated)


async def release_idle(attempts: Sequence[Attempt], after_s: float, look: Look) -> float:
    """Let go of what has been held for long, or stands in others' way; return the seconds to the next."""
    held = [await each.release_idle(after_s, crowded=look.crowded, pressed=look.pressed) for each in attempts]
    return min(held, default=math.inf)
