"""One attempt as a generator: what it reads, says and leaves; no process, no messages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

import networks as n
from builders import dense_classifier
from finetuned.errors import HostError, ModelError, ParameterError, SampleError
from finetuned.service import messages as m
from finetuned.service import work
from finetuned.service.work import Work
from finetuned.spec import check, codec
from finetuned.update.task import UpdateTask
from specs import Material, vectors

if TYPE_CHECKING:
    from pathlib import Path

MODEL = dense_classifier(train_hidden=False)
"""Dense, ReLU (frozen), dense, softmax: 4 numbers in, the labels a, b, c out."""
SHORT = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}


def material(folder: Path, **options: int) -> Material:
    return vectors(folder, MODEL, **options)


def reports(spec: m.TaskSpec) -> list[m.Report]:
    """Run an attempt to its end and return what it said."""
    return [report for report in Work(spec).run() if report is not None]


def completed(said: list[m.Report]) -> m.Completed:
    assert isinstance(said[-1], m.Completed)
    return said[-1]


# ── the whole ───────────────────────────────────────────────────────────────────────────────────
def test_a_task_is_told_in_apples_order_and_its_result_is_what_an_update_task_makes(tmp_path: Path) -> None:
    data = material(tmp_path, count=23, held_out=5)
    said = reports(data.spec(SHORT))
    epoch = ["MiniBatchEnd"] * 5 + ["EpochEnd"]
    assert [type(report).__name__ for report in said] == [
        *["Prepared"] * 3,
        "TrainingBegin",
        *epoch * 3,
        "Completed",
    ]
    prepared = [(report.done, report.total) for report in said if isinstance(report, m.Prepared)]
    assert prepared == [(16, 18), (18, 18), (5, 5)]
    begin = next(report for report in said if isinstance(report, m.TrainingBegin))
    assert (begin.epochs, begin.batches, begin.held_out, begin.device) == (3, 5, 5, "cpu")
    assert begin.samples == {"a": 8, "b": 8, "c": 7}
    assert begin.parameters["learningRate"] == 0.1
    steps = [(r.epoch_index, r.mini_batch_index, r.step) for r in said if isinstance(r, m.MiniBatchEnd)]
    assert steps == [(epoch, batch, 5 * epoch + batch + 1) for epoch in range(3) for batch in range(5)]

    task = UpdateTask(
        MODEL, {"features": data.arrays[:18], "label": data.labels[:18]}, parameters=SHORT, seed=7
    )
    task.resume()
    result = data.result.read_bytes()
    assert result == task.model.encode()
    assert check.reasons(codec.decode(result)) == ()

    end, measured = completed(said), {"features": data.arrays[18:], "label": data.labels[18:]}
    assert (end.sha256, end.held_out) == (hashlib.sha256(result).hexdigest(), True)
    assert end.after.samples == 5
    assert end.after.accuracy == task.model.evaluate(measured).accuracy
    assert end.after.loss_value < end.before.loss_value
    validated = [report.validation for report in said if isinstance(report, m.EpochEnd)]
    assert validated[-1] == end.after


def test_without_held_out_samples_a_result_is_measured_on_what_it_was_trained_on(tmp_path: Path) -> None:
    said = reports(material(tmp_path, count=9, held_out=0).spec(SHORT))
    assert not completed(said).held_out
    assert completed(said).after.samples == 9
    assert {report.validation for report in said if isinstance(report, m.EpochEnd)} == {None}


@dataclass
class Ticking:
    """A clock that goes on by a quarter of a second at each look."""

    now: float = 0.0

    def monotonic(self) -> float:
        """Return the seconds."""
        self.now += 0.25
        return self.now


@pytest.mark.parametrize(
    ("interval_s", "told"), [(0.0, list(range(1, 13))), (0.5, [1, 3, 5, 7, 9, 11]), (100.0, [1]), (-1.0, [])]
)
def test_mini_batches_are_told_no_more_often_than_asked_for_and_every_one_is_a_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval_s: float, told: list[int]
) -> None:
    monkeypatch.setattr(work, "time", Ticking())
    spec = material(tmp_path, count=16, held_out=0).spec(SHORT, interval_s=interval_s)
    said = list(Work(spec).run())
    assert [report.step for report in said if isinstance(report, m.MiniBatchEnd)] == told
    assert said.count(None) == 12 - len(told)
    assert [report.step for report in said if isinstance(report, m.EpochEnd)] == [4, 8, 12]


# ── features ────────────────────────────────────────────────────────────────────────────────────
def test_features_are_computed_once_for_a_base_and_kept(tmp_path: Path) -> None:
    data = material(tmp_path)
    first = completed(reports(data.spec(SHORT)))
    data.forget_inputs()
    assert completed(reports(data.spec(SHORT))) == first
    later = msgspec.structs.replace(  # the version that came of it has the same frozen part
        data.spec(SHORT), model_path=str(data.result), model_digest=first.sha256
    )
    assert completed(reports(later)).before == first.after


def test_features_of_another_decoding_are_not_taken_for_these(tmp_path: Path) -> None:
    data = material(tmp_path)
    first = completed(reports(data.spec(SHORT)))
    data.arrays *= -1  # what another fit would show of the same pictures
    data.put("RGB:4:crop")
    second = completed(reports(data.spec(SHORT, signature="RGB:4:crop")))
    assert second.before != first.before
    data.forget_inputs()
    assert completed(reports(data.spec(SHORT))) == first


def test_features_of_another_base_are_not_taken_for_these(tmp_path: Path) -> None:
    data = material(tmp_path)
    reports(data.spec(SHORT))
    data.forget_inputs()
    other = msgspec.structs.replace(data.spec(SHORT), base_digest="0" * 64)
    with pytest.raises(HostError, match=r"the decoded input .* is missing"):
        reports(other)


def test_what_is_prepared_before_a_cancel_is_kept_and_no_result_is_left(tmp_path: Path) -> None:
    data = material(tmp_path, count=40, held_out=0)
    steps = Work(data.spec(SHORT)).run()
    assert next(steps) == m.Prepared(done=16, total=40)
    steps.close()
    assert not data.result.exists()
    data.forget_inputs()
    steps = Work(data.spec(SHORT)).run()
    assert next(steps) == m.Prepared(done=16, total=40)
    with pytest.raises(HostError, match="is missing"):
        next(steps)


# ── adjusting ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("early", [True, False], ids=["before it begins", "in the middle"])
def test_another_learning_rate_gives_another_result(tmp_path: Path, *, early: bool) -> None:
    data = material(tmp_path)
    as_asked = completed(reports(data.spec(SHORT)))
    adjusted = Work(data.spec(SHORT))
    if early:
        adjusted.adjust({"learningRate": 0.5})
    said: list[m.Report] = []
    for report in adjusted.run():
        if isinstance(report, m.EpochEnd) and not early:
            adjusted.adjust({"learningRate": 0.5})
        if report is not None:
            said.append(report)
    at_once = completed(reports(data.spec(SHORT | {"learningRate": 0.5})))
    assert completed(said).sha256 != as_asked.sha256
    assert (completed(said).sha256 == at_once.sha256) is early


def test_a_learning_rate_that_the_model_does_not_allow_is_refused(tmp_path: Path) -> None:
    adjusted = Work(material(tmp_path).spec(SHORT))
    next(adjusted.run())
    with pytest.raises(ParameterError, match="learningRate=-1"):
        adjusted.adjust({"learningRate": -1.0})


# ── what is not in order ────────────────────────────────────────────────────────────────────────
def test_a_model_that_is_not_the_one_the_ledger_knows_is_not_trained(tmp_path: Path) -> None:
    data = material(tmp_path)
    spec = data.spec(SHORT)
    data.path.write_bytes(dense_classifier(seed=1))
    with pytest.raises(ModelError, match=r"is not the file it was.*the ledger says"):
        reports(spec)


def test_a_label_that_the_model_has_not_and_no_sample_at_all_are_the_samples_fault(tmp_path: Path) -> None:
    data = material(tmp_path)
    data.labels[3] = "z"
    with pytest.raises(SampleError, match="'z'"):
        reports(data.spec(SHORT))
    data.held_out = len(data.labels)
    data.labels[3] = "a"
    with pytest.raises(SampleError, match="no sample to train on"):
        reports(data.spec(SHORT))


def test_a_model_with_two_inputs_cannot_be_fed_from_a_folder(tmp_path: Path) -> None:
    message = n.trainable([n.dense(3, 4, updatable=True), n.softmax()], (4,))
    n.array_feature(message.description.input.add(name="second"), (4,))
    message.description.trainingInput.add().CopyFrom(message.description.input[1])
    data = vectors(tmp_path, message.SerializeToString(deterministic=True))
    with pytest.raises(ModelError, match="has 2 inputs; a sample in a folder is one file"):
        reports(data.spec({}))
