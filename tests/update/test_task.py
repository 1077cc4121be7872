from __future__ import annotations

import stat
from contextlib import suppress
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
from finetuned.errors import (
    DivergenceError,
    FinetunedError,
    HostError,
    ModelError,
    ParameterError,
    SampleError,
    StateError,
)
from finetuned.spec import check, codec
from finetuned.states import TaskState
from finetuned.update.events import MetricKey, ProgressEvent, ProgressHandlers, UpdateContext
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from tasks import BATCH, BEGIN, DATA, EPOCH, FEATURES, MODEL, SAMPLES, Listener, made

if TYPE_CHECKING:
    from pathlib import Path


# ── events ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("samples", "size", "epochs"), [(10, 4, 2), (8, 4, 1), (3, 100, 3), (1, 1, 1)])
def test_events_come_in_apples_order_and_the_end_once(samples: int, size: int, epochs: int) -> None:
    listener = Listener()
    data = {"features": FEATURES[:samples], "label": DATA["label"][:samples]}
    asked = {"epochs": epochs, "miniBatchSize": size}
    task = UpdateTask(MODEL, data, parameters=asked, handlers=listener.handlers)
    born = task.state
    assert not listener.heard
    task.resume()
    batches = ceil(samples / size)
    assert listener.events == [BEGIN, *([BATCH] * batches + [EPOCH]) * epochs]
    assert [context.event for context in listener.ended] == [None]
    assert (born, task.state) == (TaskState.suspended, TaskState.completed)
    assert task.error is None


def test_metrics_are_apples_and_ours_beside_them() -> None:
    listener = Listener()
    made(listener).resume()
    begin, first, *_ = listener.heard
    assert begin.metrics == {}
    assert set(first.metrics) == {MetricKey.lossValue, MetricKey.epochIndex, MetricKey.miniBatchIndex}
    indices = [
        (c.metrics[MetricKey.epochIndex], c.metrics[MetricKey.miniBatchIndex])
        for c in listener.heard
        if c.event is BATCH
    ]
    assert indices == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    losses = [c.metrics[MetricKey.lossValue] for c in listener.heard if c.event is BATCH]
    epoch = listener.heard[4].metrics
    assert epoch[MetricKey.epochIndex] == 0
    assert epoch[MetricKey.lastMiniBatchLoss] == losses[2]
    assert epoch[MetricKey.lossValue] == pytest.approx((4 * losses[0] + 4 * losses[1] + 2 * losses[2]) / 10)
    last = listener.heard[-1].metrics[MetricKey.lossValue]
    assert listener.ended[0].metrics == {MetricKey.lossValue: last}


@pytest.mark.parametrize("events", [BEGIN, BATCH, EPOCH, BEGIN | EPOCH, ProgressEvent(0)])
def test_only_the_events_asked_for_are_told(events: ProgressEvent) -> None:
    listener = Listener(events=events)
    made(listener).resume()
    assert listener.events == [e for e in [BEGIN, *([BATCH] * 3 + [EPOCH]) * 2] if e in events]
    assert len(listener.ended) == 1


def test_without_handlers_a_task_simply_runs() -> None:
    task = made()
    task.resume()
    assert task.state is TaskState.completed
    assert task.model.encode() != MODEL


def test_the_context_holds_the_model_of_that_moment() -> None:
    seen: list[bytes] = []
    listener = Listener(lambda context: seen.append(context.model.encode()))
    task = made(listener)
    task.resume()
    begin, *rest = seen
    assert Predictor(codec.decode(begin)).outputs(DATA)["labelProbability"] == pytest.approx(
        Predictor(codec.decode(MODEL)).outputs(DATA)["labelProbability"]
    )
    assert len(set(seen)) == 1 + 6, "an epoch's end has the model of its last mini-batch"
    assert rest[-1] == task.model.encode()


def test_the_updated_model_predicts_and_evaluates() -> None:
    task = made(parameters={"epochs": 60, "learningRate": 0.5, "miniBatchSize": 4})
    before = task.model.evaluate(DATA)
    task.resume()
    after = task.model.evaluate(DATA)
    assert before.loss is not None
    assert after.loss is not None
    assert after.loss < before.loss
    found = task.model.predict({"features": FEATURES})["labelProbability"]
    hits = found.argmax(axis=1) == np.arange(SAMPLES) % 3
    assert after.accuracy == hits.mean()


def test_a_handler_writes_the_model_of_that_moment_in_place_of_what_is_there(tmp_path: Path) -> None:
    to = tmp_path / "mine.mlmodel"
    to.write_bytes(b"older")
    seen: list[bytes] = []

    def react(context: UpdateContext) -> None:
        context.model.write(str(to))
        seen.append(to.read_bytes())

    task = made(Listener(react, events=EPOCH))
    task.resume()
    assert len(set(seen)) == 2
    assert seen[-1] == task.model.encode()
    assert list(tmp_path.iterdir()) == [to]


def test_who_may_read_a_file_may_read_what_is_written_in_its_place_and_nobody_else(tmp_path: Path) -> None:
    new, usual, private, left = (tmp_path / name for name in ("new", "usual", "mine", ".mine.tmp"))
    usual.touch(mode=0o644)
    private.touch(mode=0o600)
    left.touch(mode=0o666)  # by a power cut
    for to in (new, private):
        made().model.write(to)
    assert new.stat().st_mode == usual.stat().st_mode
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert not left.exists()


def test_where_a_model_cannot_be_written_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for to in (tmp_path / "folder", tmp_path / "nowhere" / "mine.mlmodel"):
        with pytest.raises(HostError, match=f"writing {to.name} failed: "):
            made().model.write(to)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_validation_data_is_measured_at_every_epochs_end_and_never_trained_on() -> None:
    other = {"features": n.numbers(5, 4, seed=9), "label": list("aabbc")}
    listener, plain = Listener(), made()
    task = made(listener, validation_data=other)
    task.resume()
    plain.resume()
    assert task.model.encode() == plain.model.encode()
    measured = task.model.evaluate(other)
    assert listener.heard[-1].metrics[MetricKey.validationLoss] == measured.loss
    assert listener.heard[-1].metrics[MetricKey.validationAccuracy] == measured.accuracy
    assert MetricKey.validationLoss not in listener.heard[1].metrics


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("rate", [1e3, 1e30, 3e38])
def test_a_divergence_fails_the_task_and_what_is_no_number_is_never_encoded(rate: float) -> None:
    message = n.trainable([n.dense(1, 2, updatable=True)], (2,), learningRate=rate)
    listener = Listener()
    data = {n.INPUT: n.numbers(8, 2), n.TARGET: n.numbers(8, 1, seed=1)}
    task = UpdateTask(n.decoded(message), data, parameters={"epochs": 20}, handlers=listener.handlers)
    task.resume()
    assert task.state is TaskState.failed
    assert isinstance(task.error, DivergenceError)
    assert len(listener.ended) == 1
    assert listener.ended[0].task.error is task.error
    with suppress(DivergenceError):
        assert check.reasons(codec.decode(task.model.encode())) == ()


def test_without_a_completion_handler_the_failure_is_raised() -> None:
    message = n.trainable([n.dense(1, 2, updatable=True)], (2,), learningRate=1e30)
    data = {n.INPUT: n.numbers(8, 2), n.TARGET: n.numbers(8, 1, seed=1)}
    with pytest.raises(DivergenceError):
        UpdateTask(n.decoded(message), data, parameters={"epochs": 20}).resume()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SampleError])
def test_a_handler_that_raises_fails_the_task_and_the_end_is_told_once(error: type[BaseException]) -> None:
    def react(_: UpdateContext) -> None:
        raise error

    listener = Listener(react, events=BATCH)
    task = made(listener)
    if issubclass(error, FinetunedError):
        task.resume()
    else:
        with pytest.raises(error):
            task.resume()
    assert task.state is TaskState.failed
    assert isinstance(task.error, FinetunedError)
    assert len(listener.ended) == 1
    with pytest.raises(StateError):
        task.resume()
    assert len(listener.ended) == 1


@pytest.mark.parametrize("error", [SampleError, ZeroDivisionError])
def test_a_completion_handler_that_raises_changes_no_end(error: type[Exception]) -> None:
    def completion(context: UpdateContext) -> None:
        ended.append(context)
        raise error

    ended: list[UpdateContext] = []
    task = made(handlers=ProgressHandlers(completion=completion))
    with pytest.raises(error):
        task.resume()
    assert (task.state, task.error, len(ended)) == (TaskState.completed, None, 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"model": b"no model"}, ModelError, "not a Core ML model"),
        ({"model": n.network([n.dense(2, 3)], (3,)).SerializeToString()}, ModelError, "not updatable"),
        ({"parameters": {"epochs": 0}}, ParameterError, "epochs"),
        ({"training_data": {"features": FEATURES}}, SampleError, "'label' is missing"),
        ({"training_data": DATA | {"label": ["z"] * SAMPLES}}, SampleError, "no label 'z'"),
        ({"training_data": {"features": FEATURES[:0], "label": []}}, SampleError, "no sample"),
        ({"validation_data": DATA | {"features": FEATURES[:3]}}, SampleError, "3"),
    ],
)
def test_what_is_wrong_from_the_start_is_raised_at_construction(
    options: dict[str, Any], error: type[FinetunedError], words: str
) -> None:
    with pytest.raises(error, match=words):
        UpdateTask(**{"model": MODEL, "training_data": DATA, **options})
