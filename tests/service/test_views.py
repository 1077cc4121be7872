"""What is shown of tasks and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benches import Bench, a_bench, a_desk, with_samples
from fakes import GOOD, MODEL, POOR, batch, begin
from finetuned.policy.budget import Budget, Verdict
from finetuned.service.asked import wanted
from finetuned.service.governor import Governor
from finetuned.service.messages import EpochEnd, Held
from finetuned.service.showcase import Showcase
from finetuned.service.views import Course, task_state
from ledgers import a_task

if TYPE_CHECKING:
    from pathlib import Path

FULL = wanted(Verdict(), by_user=False)


# ── a task ──────────────────────────────────────────────────────────────────────────────────────
def test_a_course_tells_how_far_it_has_come_and_how_long_it_will_take() -> None:
    course = Course()
    assert (course.progress, course.eta(100.0)) == (0.0, None)
    course.begin(begin(epochs=2, batches=3), 100.0)
    assert course.eta(101.0) is None
    course.advance(batch(2))
    assert course.progress == pytest.approx(1 / 3)
    assert course.eta(104.0) == 8.0
    course.held_s += 50.0
    assert course.eta(154.0) == 8.0
    course.advance(EpochEnd(epoch_index=1, loss_value=0.5, last_mini_batch_loss=0.5, step=6))
    assert (course.progress, course.eta(160.0)) == (1.0, 0.0)


def test_a_hold_before_the_training_does_not_shorten_what_is_left_of_it() -> None:
    course = Course()
    course.held_s += 1000.0
    course.begin(begin(epochs=2, batches=3), 2000.0)
    course.advance(batch(2))
    assert course.eta(2004.0) == 8.0


@pytest.mark.parametrize(("step", "epoch", "index"), [(0, 0, 0), (1, 0, 1), (3, 1, 0), (5, 1, 2), (6, 2, 0)])
def test_a_tasks_state_counts_epochs_and_mini_batches_that_are_done(
    step: int, epoch: int, index: int
) -> None:
    course = Course()
    course.begin(begin(epochs=2, batches=3), 0.0)
    if step:
        course.advance(batch(step))
    view = task_state(a_task(), course, FULL, 1.0)
    assert (view.epoch, view.batch, view.epochs, view.batches) == (epoch, index, 2, 3)
    assert view.progress == round(step / 6, 4)


def test_a_task_that_has_not_started_shows_nothing_of_a_course() -> None:
    view = task_state(a_task(), Course(), FULL, 1.0)
    assert (view.state, view.reasons, view.pace) == ("suspended", ("queued",), "full")
    assert (view.epochs, view.progress, view.eta_seconds, view.loss_value) == (0, 0.0, None, None)


# ── models ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_models_states_follow_its_tasks_and_versions_for_each_user(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.tasks.showcase.everything()
        idle = {"current": None, "candidate": None, "metrics": None, "task": None}
        for key, user in [("model/gestures", ""), ("model/gestures/ann", "ann")]:
            state = await bench.ear.state(key, user=user, **idle)
            assert (state["kind"], state["samples"]) == ("neuralNetworkClassifier", {"✊": 10})
        task, run = await bench.started("ann")
        await bench.ear.state("model/gestures/ann", task=task)
        assert bench.ear.states["model/gestures"] == json.loads(bench.desk.outbox.states["model/gestures"])
        run.complete(b"first")
        state = await bench.ear.state("model/gestures/ann", current=1, candidate=None, task=None)
        assert state["metrics"]["accuracy"] == 1.0
        _, run = await bench.started("ann")
        run.complete(b"second", before=GOOD, after=POOR)
        state = await bench.ear.state("model/gestures/ann", current=1, candidate=2)
        assert state["metrics"]["accuracy"] == 1.0, "of what is used"
        assert state["candidateMetrics"]["accuracy"] == POOR.accuracy
        _, run = await bench.started("ann")
        run.complete(b"third")
        await bench.ear.state("model/gestures/ann", current=3, candidate=None, candidateMetrics=None)
        assert (bench.ear.states["model/gestures"] or {})["current"] is None


def both(bench: Bench, task: str) -> list[dict[str, Any]]:
    """Return what a task's state and its model's say of it."""
    states = {key: json.loads(payload) for key, payload in bench.desk.outbox.states.items()}
    of_task, of_model = states[f"task/{task}"], states["model/gestures/ann"]
    words = ("task", "reasons", "progress", "lossValue", "etaSeconds")
    return [
        {"state": of_task["state"]} | {word: of_task[word] for word in words},
        {"state": of_model["taskState"]} | {word: of_model[word] for word in words},
    ]


async def test_a_models_state_tells_of_its_living_task_what_the_tasks_own_state_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.tasks.showcase.everything()
        asked: list[str] = []
        run_in_ledger = bench.desk.ledger.run
        task, run = await bench.started("ann")
        await bench.ear.state("model/gestures/ann", task=task, taskState="running", reasons=[])
        run.say(begin(epochs=2, batches=3))
        await bench.ear.event("trainingBegin")

        async def counted(work: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the ledger takes
            asked.append(work.__name__)
            return await run_in_ledger(work, *arguments, **named)

        monkeypatch.setattr(bench.desk.ledger, "run", counted)
        for step in range(1, 5):
            bench.clock.now += 2.0
            run.say(batch(step))
            await bench.ear.state("model/gestures/ann", progress=round(step / 6, 4), taskState="running")
            of_task, of_model = both(bench, task)
            assert of_task == of_model
        assert (of_model["etaSeconds"], of_model["lossValue"]) == (4.0, batch(4).loss_value)
        assert "model_state" not in asked, "no mini-batch costs a query"
        monkeypatch.undo()
        await bench.tasks.pause(task)
        run.say(Held(held=True))
        await bench.ear.state("model/gestures/ann", taskState="suspended", reasons=["user"], progress=0.6667)
        assert (told := both(bench, task))[0] == told[1]
        assert json.loads(bench.desk.outbox.states["model/gestures"])["taskState"] == "idle"
        await bench.tasks.resume(task, {})
        run.say(Held(held=False))
        await bench.ear.state("model/gestures/ann", taskState="running", reasons=[])
        run.complete()
        state = await bench.ear.state("model/gestures/ann", current=1, taskState="idle", task=None)
        left = {key: state[key] for key in ("reasons", "progress", "lossValue", "etaSeconds")}
        assert left == {"reasons": [], "progress": 0.0, "lossValue": None, "etaSeconds": None}
        ends = [each["value"] for each in bench.ear.shown if each["key"] == "model/gestures/ann"]
        assert [each["current"] for each in ends if each["taskState"] == "idle"] == [None, 1], "never half"


async def test_what_nobody_has_anything_of_is_not_shown(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "ann")
        showcase = Showcase(desk=desk, governor=Governor([], Budget()))
        for name, user in [(MODEL, "bob"), ("digits", ""), (MODEL, "ann")]:
            desk.outbox.state(f"model/{name}/{user}".rstrip("/"), b"an old one")
            await showcase.model(name, user)
        assert list(desk.outbox.states) == ["model/gestures/ann"]


async def test_one_users_news_shows_that_users_model_and_no_other(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "ann", "bob")
        showcase = Showcase(desk=desk, governor=Governor([], Budget()))
        await showcase.model(MODEL, "ann")
        assert list(desk.outbox.states) == [f"model/{MODEL}/ann"]
        await showcase.model(MODEL)
        assert list(desk.outbox.states) == [f"model/{MODEL}/ann", f"model/{MODEL}"]
        await showcase.everything()
        assert len(desk.outbox.states) == 3


async def test_everything_is_shown_anew_after_a_restart_as_the_ledger_has_it(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.feel(90)
        task = await bench.train()
        await bench.tasks.pause(task)
        await bench.stop()
        bench.desk.outbox.state(f"task/{task}", None)
        await bench.tasks.recover()
        await bench.tasks.showcase.everything()
        state = await bench.ear.state(f"task/{task}", reasons=["queued", "user"])
        assert (state["state"], state["pace"]) == ("suspended", "paused")
