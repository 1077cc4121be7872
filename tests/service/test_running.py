"""One attempt: what a worker is told, in order, and what its reports become."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from benches import a_desk, with_samples
from fakes import GOES_ON, PATIENCE_S, STANDS, ScriptedExecutor, ScriptedRun, a_spec, batch, begin
from finetuned.errors import HostError
from finetuned.policy.budget import Budget, Cause, Pace, Verdict
from finetuned.service import messages as m
from finetuned.service import running
from finetuned.service.events import MiniBatchEnd
from finetuned.service.governor import Governor
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_tasks import begin_attempt, create_task, get_task
from finetuned.service.outbox import ProgressItem
from finetuned.service.running import Attempt, release_idle
from finetuned.service.showcase import Showcase
from finetuned.service.waiting import Look
from finetuned.states import TaskState
from ledgers import a_task, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOT = Cause(reason="thermal", reading=85.0, trip=80.0)
FLAT = Cause(reason="battery", reading=15.0, trip=20.0)
FINE = Verdict()
SLOW = Verdict(pace=Pace.slow, duty=0.5, causes=(HOT,), holds=(HOT,))
TOO_HOT = Verdict(pace=Pace.paused, duty=0.0, causes=(HOT,), holds=(HOT,))
HOT_AND_FLAT = Verdict(pace=Pace.paused, duty=0.0, causes=(FLAT, HOT), holds=(FLAT, HOT))
TOO_FLAT = Verdict(pace=Pace.paused, duty=0.0, causes=(FLAT,), holds=(FLAT,))
SHORT = Verdict(pace=Pace.paused, duty=0.0, causes=(Cause(reason="memory", reading=70.0, trip=60.0),))
FULL, HALF, PAUSE, RESUME = m.Pace(duty=1.0), m.Pace(duty=0.5, accelerated=False), m.Pause(), m.Resume()
LAST = m.Cancelled()


@dataclass(kw_only=True)
class Trial:
    """An attempt at a running task."""

    attempt: Attempt
    run: ScriptedRun
    says: list[Verdict]

    async def hears(self, *reports: m.Report) -> None:
        """Let the worker say these, and wait until they are taken."""
        self.run.say(*reports, LAST)
        await self.attempt.listen()

    async def held(self, verdict: Verdict, *, held: bool) -> None:
        """Let a person say so."""
        self.says[:] = [verdict]
        await self.attempt.hold(held=held)

    async def follow(self, verdict: Verdict) -> None:
        """Let the budget say so."""
        self.says[:] = [verdict]
        await self.attempt.follow()

    async def shows(self, **wanted: object) -> None:
        """Wait until what is retained of the task holds these."""
        async with asyncio.timeout(PATIENCE_S):
            async with self.attempt.desk.outbox.subscribe("view") as states:
                while not wanted.items() <= self.view.items():
                    await anext(states)

    @property
    def view(self) -> dict[str, Any]:
        """What is retained of the task."""
        states = self.attempt.desk.outbox.states
        found: dict[str, Any] = json.loads(states[f"task/{self.attempt.row.id}"])
        return found

    async def told(self) -> list[tuple[str, tuple[str, ...], float | None]]:
        """Return the outcomes: type, reasons, reading."""
        rows = await self.attempt.desk.ledger.run(unsent, 0, 100)
        payloads = [row.payload for row in rows]
        return [(p["type"], tuple(p.get("reasons", ())), p.get("reading")) for p in payloads]

    async def reasons(self) -> tuple[TaskState, tuple[str, ...]]:
        """Return the task's state and reasons, as the ledger has them; what is shown is the same."""
        row = await self.attempt.desk.ledger.run(get_task, self.attempt.row.id)
        assert (self.view["state"], tuple(self.view["reasons"])) == (row.state, row.reasons)
        return row.state, row.reasons


@asynccontextmanager
async def a_trial(folder: Path, *, most: float = 1.0) -> AsyncIterator[Trial]:
    async with a_desk(folder) as desk:
        await with_samples(desk, "")
        task = await desk.ledger.run(create_task, a_task())
        row = await desk.ledger.run(begin_attempt, task.id, moment=moment(1))
        assert row is not None
        spec = a_spec(row.id, desk.store.task(row.id))
        executor = ScriptedExecutor()
        says = [FINE]
        attempt = Attempt(
            desk=desk,
            row=row,
            spec=spec,
            executor=executor,
            verdict=lambda: says[-1],
            most=most,
            shown=Showcase(desk=desk, governor=Governor([], Budget())).show,
        )
        run = executor.engage(spec, row.attempt)
        run.heard_by = attempt.hear
        yield Trial(attempt=attempt, run=run, says=says)


# ── commands ────────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_is_told_only_what_is_new_to_it(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        for verdict in (FINE, FINE, SLOW, SLOW, TOO_HOT, HOT_AND_FLAT, SLOW, FINE):
            await trial.follow(verdict)
        assert trial.run.commands == [FULL, HALF, PAUSE, HALF, RESUME, FULL]


async def test_a_worker_that_is_held_from_the_start_has_a_pace_when_it_goes_on(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(TOO_HOT)
        await trial.follow(SLOW)
        assert trial.run.commands == [PAUSE, HALF, RESUME]


@pytest.mark.parametrize(
    ("verdict", "by_user", "look", "leaves"),
    [
        (
            TOO_HOT,
            False,
            Look(pressed=True),
            True,
        ),  # the budget holds it, and an urgent one waits for its place
        (TOO_HOT, False, Look(crowded=True), False),  # any other waits until it has been held for long
        (TOO_HOT, True, Look(crowded=True), True),
        (FINE, False, Look(crowded=True, pressed=True), False),  # one that runs keeps its place
        (SHORT, False, Look(), True),  # it is its memory that is wanted
    ],
)
async def test_a_task_that_stands_in_the_way_lets_go(
    tmp_path: Path, verdict: Verdict, *, by_user: bool, look: Look, leaves: bool
) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(verdict)
        if verdict is not FINE:
            await trial.held(verdict, held=by_user)
            await trial.hears(STANDS)
        looked = await release_idle([trial.attempt], 300.0, look)
        assert (m.Release() in trial.run.commands, math.isinf(looked)) == (leaves, leaves or verdict is FINE)


async def test_what_the_budget_says_while_a_persons_word_is_written_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.held(FINE, held=True)
        ledger = trial.attempt.desk.ledger
        run = ledger.run

        async def slowly(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the ledger takes
            trial.says[:] = [TOO_HOT]
            return await run(*arguments, **named)

        monkeypatch.setattr(ledger, "run", slowly)
        await trial.attempt.hold(held=False)
        assert trial.run.commands == [FULL, PAUSE]


@pytest.mark.parametrize("before", [(), (FINE,)])
async def test_a_slowed_task_says_why_and_its_first_pace_is_a_change_too(
    tmp_path: Path, before: tuple[Verdict, ...]
) -> None:
    async with a_trial(tmp_path) as trial:
        for verdict in (*before, SLOW):
            await trial.follow(verdict)
        assert (trial.view["state"], trial.view["reasons"], trial.view["pace"]) == (
            "running",
            ["thermal"],
            "slow",
        )
        assert await trial.told() == [("paceChanged", ("thermal",), 85.0)]
        await trial.follow(TOO_HOT)
        await trial.hears(STANDS)
        await trial.follow(SLOW)
        await trial.hears(GOES_ON)
        assert (trial.view["state"], trial.view["reasons"], trial.view["pace"]) == (
            "running",
            ["thermal"],
            "slow",
        )


async def test_a_change_of_pace_that_cannot_be_written_is_told_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise HostError("the disk is full")

    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        with monkeypatch.context() as patched:
            patched.setattr(trial.attempt.desk.ledger, "run", refuse)
            with pytest.raises(HostError):
                await trial.follow(SLOW)
        await trial.follow(SLOW)
        assert await trial.told() == [("paceChanged", ("thermal",), 85.0)]


async def test_two_who_follow_at_once_do_not_mix_up_their_commands(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(TOO_HOT)
        trial.run.takes.clear()
        both = [asyncio.create_task(trial.follow(verdict)) for verdict in (SLOW, TOO_HOT)]
        await asyncio.sleep(0)
        trial.run.takes.set()
        await asyncio.gather(*both)
        assert trial.run.commands == [PAUSE, HALF, RESUME, PAUSE]


async def test_a_start_in_spite_of_the_budget_is_slow_until_nothing_holds_it_any_more(tmp_path: Path) -> None:
    pressed = Verdict(holds=(HOT,))
    async with a_trial(tmp_path, most=0.5) as trial:
        await trial.follow(pressed)
        assert trial.view["pace"] == "slow"
        await trial.follow(TOO_HOT)
        await trial.follow(pressed)
        await trial.follow(FINE)
        await trial.follow(pressed)
        assert trial.run.commands == [HALF, PAUSE, HALF, RESUME, FULL]
        assert trial.view["pace"] == "full"


# ── holds ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_hold_is_told_when_the_worker_stands_with_what_led_to_it(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.follow(TOO_HOT)
        assert await trial.reasons() == (TaskState.running, ())
        await trial.follow(FINE)
        await trial.hears(STANDS)
        assert await trial.told() == [("paused", ("thermal",), 85.0)]
        assert await trial.reasons() == (TaskState.suspended, ("thermal",))
        await trial.hears(GOES_ON)
        assert await trial.told() == [("paused", ("thermal",), 85.0), ("resumed", (), None)]
        assert await trial.reasons() == (TaskState.running, ())


async def test_a_task_is_held_by_whatever_holds_it_when_it_stands_and_by_what_comes_later(
    tmp_path: Path,
) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.follow(TOO_HOT)
        await trial.held(TOO_HOT, held=True)
        await trial.hears(STANDS)
        assert await trial.told() == [("paused", ("thermal",), 85.0)]
        assert await trial.reasons() == (TaskState.suspended, ("thermal", "user"))
        await trial.follow(HOT_AND_FLAT)
        assert await trial.reasons() == (TaskState.suspended, ("battery", "thermal", "user"))
        await trial.follow(FINE)
        assert await trial.reasons() == (TaskState.suspended, ("user",))
        await trial.held(TOO_FLAT, held=False)
        assert await trial.reasons() == (TaskState.suspended, ("battery",))
        assert trial.run.commands == [FULL, PAUSE]


async def test_a_word_of_a_hold_that_nobody_asked_for_or_that_is_over_changes_nothing(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.hears(STANDS, GOES_ON)
        await trial.follow(TOO_HOT)
        await trial.attempt.cancel()
        await trial.hears(STANDS)
        assert await trial.told() == []
        assert await trial.reasons() == (TaskState.cancelling, ())


async def test_a_new_duty_is_an_event_with_its_reading(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.follow(SLOW)
        await trial.follow(FINE)
        assert await trial.told() == [("paceChanged", ("thermal",), 85.0), ("paceChanged", (), None)]


# ── reports ─────────────────────────────────────────────────────────────────────────────────────
async def test_reports_become_events_and_a_state_and_what_comes_twice_is_dropped(tmp_path: Path) -> None:
    async with a_trial(tmp_path) as trial, trial.attempt.desk.outbox.subscribe("ear") as heard:
        await trial.follow(FINE)
        task = trial.attempt.row.id
        await trial.hears(
            begin(epochs=2, batches=3),
            batch(1),
            m.MiniBatchEnd(
                task=task, attempt=1, seq=1, epoch_index=9, mini_batch_index=9, loss_value=9, step=9
            ),
            batch(4),
            m.Heartbeat(),
            m.EpochEnd(epoch_index=1, loss_value=0.25, last_mini_batch_loss=0.5, validation=none(), step=4),
        )
        items = [await anext(heard) for _ in range(5)]  # one of them the state
        events = [item.event for item in items if isinstance(item, ProgressItem)]
        assert [(type(event).__name__, event.step) for event in events] == [
            ("TrainingBegin", 0),
            ("MiniBatchEnd", 1),
            ("MiniBatchEnd", 4),
            ("EpochEnd", 4),
        ]
        assert isinstance(events[2], MiniBatchEnd)
        assert events[2].metrics == {"epochIndex": 1, "miniBatchIndex": 0, "lossValue": 0.25}
        assert {event.attempt for event in events} == {1}
        await trial.shows(progress=0.6667)
        assert (trial.view["epoch"], trial.view["batch"], trial.view["progress"]) == (1, 1, 0.6667)


async def test_however_fast_mini_batches_come_what_is_shown_changes_at_a_pace_that_a_broker_can_bear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SHOW_S", 3600.0)
    async with a_trial(tmp_path) as trial:
        await trial.follow(FINE)
        await trial.hears(begin(epochs=2, batches=3), batch(1), batch(2))
        assert trial.view["progress"] == 0.0
        await trial.follow(SLOW)
        assert (trial.view["progress"], trial.view["pace"]) == (0.3333, "slow")


def none() -> m.Metrics:
    return m.Metrics(samples=1, loss_value=0.5)
