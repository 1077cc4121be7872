"""One attempt as a generator: what it reads, says and leaves; no process, no messages."""

from __future__ import annotations

import errno
import hashlib
import itertools
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import networks as n
from builders import dense_classifier
from finetuned import files, rows
from finetuned.errors import HostError, ModelError, ParameterError, SampleError
from finetuned.service import inputs, work
from finetuned.service import messages as m
from finetuned.service.messages import InputSpec
from finetuned.service.work import Rates, Work
from finetuned.spec import check, codec
from finetuned.update.task import UpdateTask
from recollection import Recollection
from shared import shared
from specs import Material, loss, vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = dense_classifier(train_hidden=False)
"""Dense, ReLU (frozen), dense, softmax: 4 numbers in, the labels a, b, c out."""
SHORT = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}


def material(folder: Path, **options: int) -> Material:
    return vectors(folder, MODEL, **options)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


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
    result = data.result().read_bytes()
    assert result == task.model.encode()
    assert check.reasons(codec.decode(result)) == ()

    end, measured = completed(said), {"features": data.arrays[18:], "label": data.labels[18:]}
    assert (end.sha256, end.held_out) == (hashlib.sha256(result).hexdigest(), True)
    assert end.after.samples == 5
    assert end.after.accuracy == task.model.evaluate(measured).accuracy
    assert loss(end.after) < loss(end.before)
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
    begun = next(number for number, report in enumerate(said) if isinstance(report, m.TrainingBegin))
    assert said[begun:].count(None) == 12 - len(told)
    assert [report.step for report in said if isinstance(report, m.EpochEnd)] == [4, 8, 12]


# ── features ────────────────────────────────────────────────────────────────────────────────────
def test_features_are_computed_once_for_a_base_and_kept(tmp_path: Path) -> None:
    data = material(tmp_path)
    first = completed(reports(data.spec(SHORT)))
    data.forget_inputs()
    assert completed(reports(data.spec(SHORT))) == first
    later = msgspec.structs.replace(  # the version that came of it has the same frozen part
        data.spec(SHORT), model_path=str(data.result()), model_digest=first.sha256
    )
    assert completed(reports(later)).before == first.after


def test_features_of_another_decoding_are_not_taken_for_these(tmp_path: Path) -> None:
    data = material(tmp_path)
    first = completed(reports(data.spec(SHORT)))
    data.forget_inputs()
    assert completed(reports(data.spec(SHORT))) == first, "they are kept"
    data.arrays *= -1  # what another fit would show of the same pictures
    data.put("RGB:4:crop")
    second = completed(reports(data.spec(SHORT, signature="RGB:4:crop")))
    assert second.before != first.before


def test_features_that_a_full_disk_does_not_keep_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    data = material(tmp_path)
    monkeypatch.setattr("finetuned.service.inputs.put_features", full)
    first = completed(reports(data.spec(SHORT)))
    monkeypatch.undo()
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
    list(itertools.islice(steps, 1 + 16 + 1 + 5))  # the load, a batch and its report, five more
    steps.close()
    assert not data.result().exists()
    data.forget_inputs()
    steps = Work(data.spec(SHORT)).run()
    assert [next(steps), next(steps)] == [None, m.Prepared(done=16, total=40)]
    with pytest.raises(HostError, match=f"{data.digests[21][:12]} .* is missing"):
        next(steps)


def test_a_feature_that_the_disk_has_changed_is_computed_again(tmp_path: Path) -> None:
    data = material(tmp_path)
    whole = completed(reports(data.spec(SHORT)))
    with inputs.opened(data.database) as db, db:
        (kept,) = db.execute("SELECT data FROM features WHERE digest = ?", data.digests[:1]).fetchone()
        spoiled = bytes([kept[0] ^ 1, *kept[1:]])
        db.execute("UPDATE features SET data = ? WHERE digest = ?", (spoiled, data.digests[0]))
        db.execute("UPDATE features SET data = x'00' WHERE digest = ?", data.digests[1:2])
    assert completed(reports(data.spec(SHORT))) == whole


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


# ── interruptions ───────────────────────────────────────────────────────────────────────────────
LONGER = {"epochs": 4, "miniBatchSize": 4, "learningRate": 0.1}
ADAM = dense_classifier(optimizer="adamOptimizer")


def attempt(memory: Recollection, *, boundaries: int | None = None, rate: float | None = None) -> None:
    """Run an attempt up to its end, or over so many boundaries; `rate` is asked for at the last of them."""
    start = memory.start
    doing = Work(start.spec, start.attempt, start.resume_from)
    said: list[m.Report | None] = []
    steps = doing.run()
    said += itertools.islice(steps, boundaries)
    if rate is not None:
        memory.ask(rate)
        said.append(doing.adjust({"learningRate": rate}))
    steps.close()
    told = [report for report in said if report is not None]
    memory.take_all(
        msgspec.structs.replace(report, attempt=memory.attempt, seq=seq) for seq, report in enumerate(told, 1)
    )


def digest_of(memory: Recollection) -> str:
    """Return the digest of the result, once the task is completed."""
    assert isinstance(memory.last, m.Completed)
    return memory.last.sha256


def digits(folder: Path) -> Material:
    """Return material for a LeNet, all of whose layers are trained."""
    return Material(
        folder=folder,
        model=shared("updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel").read_bytes(),
        want=InputSpec(name="image", shape=(1, 28, 28)),
        arrays=n.numbers(24, 1, 28, 28),
        labels=[str(number % 10) for number in range(24)],
        held_out=4,
    )


CHAINS: dict[str, tuple[Callable[[Path], Material], dict[str, float]]] = {
    "dense, sgd": (material, LONGER),
    "dense, adam": (lambda folder: vectors(folder, ADAM), LONGER),
    "convolutions, adam": (digits, {"epochs": 5, "miniBatchSize": 16, "learningRate": 0.001}),
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("checkpoint_s", [0.0, 1000.0], ids=["at every step", "none at all"])
def test_a_task_that_is_interrupted_anywhere_ends_in_the_bytes_of_one_that_never_was(
    tmp_path: Path, chain: str, checkpoint_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, asked = CHAINS[chain]
    whole = Recollection(first=begun(made(tmp_path / "whole")).spec(asked))
    attempt(whole)
    for seed in range(4):
        chance = np.random.default_rng(seed)
        monkeypatch.setattr(rows, "IN_MEMORY", int(chance.choice([0, 1 << 20])))
        data = begun(made(tmp_path / str(seed)))
        memory = Recollection(first=data.spec(asked, checkpoint_s=checkpoint_s))
        for _ in range(4):
            attempt(memory, boundaries=int(chance.integers(60)))
            memory.again()
        attempt(memory)
        assert digest_of(memory) == digest_of(whole), f"seed {seed}"


def test_an_attempt_begins_where_its_checkpoint_is_and_measures_before_with_the_models_own_weights(
    tmp_path: Path,
) -> None:
    memory = Recollection(first=material(tmp_path, count=16, held_out=0).spec(SHORT, checkpoint_s=0.0))
    whole = completed(reports(memory.first))
    attempt(memory, boundaries=16)
    newest = memory.checkpoints[0].step
    assert 0 < newest < 12
    memory.again()
    said = [report for report in Work(memory.spec, 2, memory.checkpoints).run() if report is not None]
    assert said[0] == m.Restored(step=newest)
    begin = next(report for report in said if isinstance(report, m.TrainingBegin))
    assert begin.step == newest
    assert [r.step for r in said if isinstance(r, m.MiniBatchEnd)] == list(range(newest + 1, 13))
    assert completed(said) == whole


@pytest.mark.parametrize("moment", range(0, 48, 4))
def test_learning_rates_asked_for_on_the_way_hold_from_the_same_step_however_often_the_task_is_interrupted(
    tmp_path: Path, moment: int
) -> None:
    """The first attempt is the oracle: it is never interrupted, but asked at two moments."""
    data = vectors(made(tmp_path / "asked"), ADAM)
    memory = Recollection(first=data.spec(LONGER, checkpoint_s=0.0))
    attempt(memory, boundaries=moment, rate=0.01)
    memory.again()
    memory.ask(0.2)  # while nobody is at work: it holds from where the next attempt begins
    attempt(memory, boundaries=12)
    assert None not in {each.step for each in memory.adjustments}
    memory.again()
    attempt(memory)
    # The same adjustments, known from the start; and once more with interruptions.
    known = Recollection(
        first=vectors(made(tmp_path / "known"), ADAM).spec(LONGER, adjustments=memory.spec.adjustments)
    )
    attempt(known)
    assert digest_of(known) == digest_of(memory)
    plain = Recollection(first=vectors(made(tmp_path / "plain"), ADAM).spec(LONGER))
    attempt(plain)
    assert digest_of(plain) != digest_of(memory)


def test_the_later_word_counts_also_where_a_broken_checkpoint_sends_a_task_back_before_the_earlier_one() -> (
    None
):
    rates = Rates(first=0.1, given=[(30, 0.2), (None, 0.3)])
    assert [rates.at(step) for step in (0, 30)] == [0.1, 0.2]
    assert rates.pin(20) == [0.3]
    assert [rates.at(step) for step in (19, 20, 30, 31)] == [0.1, 0.3, 0.3, 0.3]


def test_a_broken_or_foreign_checkpoint_falls_back_to_the_one_before_and_then_to_the_start_and_says_so(
    tmp_path: Path,
) -> None:
    data = material(tmp_path, count=16, held_out=0)
    memory = Recollection(first=data.spec(SHORT, checkpoint_s=0.0))
    whole = completed(reports(memory.first))
    attempt(memory, boundaries=16)
    newer, older = (data.task / ref.path for ref in memory.checkpoints)
    newer.write_bytes(newer.read_bytes()[:-1] + b"?")
    said = [report for report in Work(memory.spec, 2, memory.checkpoints).run() if report is not None]
    (restored,) = [report for report in said if isinstance(report, m.Restored)]
    assert restored.step == memory.checkpoints[1].step
    assert len(restored.refused) == 1
    assert f"step {memory.checkpoints[0].step}" in restored.refused[0]
    assert "it is damaged" in restored.refused[0]
    assert completed(said) == whole

    older.unlink()
    said = [report for report in Work(memory.spec, 3, memory.checkpoints).run() if report is not None]
    assert isinstance(said[0], m.Restored)
    assert (said[0].step, len(said[0].refused)) == (0, 2)
    assert "No such file" in said[0].refused[1]
    assert completed(said) == whole


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"threads": 2}, {"parameters": SHORT | {"epochs": 4}}, {"samples": ()}], ids=str
)
def test_a_checkpoint_of_a_task_that_would_end_in_other_bytes_is_foreign(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    memory = Recollection(first=material(tmp_path).spec(SHORT, checkpoint_s=0.0))
    attempt(memory, boundaries=30)
    if "samples" in other:
        other = {"samples": memory.first.samples[1:]}
    changed = msgspec.structs.replace(memory.spec, **other)
    restored = next(r for r in Work(changed, 2, memory.checkpoints).run() if r is not None)
    assert isinstance(restored, m.Restored)
    assert restored.step == 0
    assert "it is of another task" in restored.refused[0]


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────
def test_a_checkpoint_that_was_told_lies_there_and_so_does_the_one_before_it(tmp_path: Path) -> None:
    data = material(tmp_path, count=16, held_out=0)
    doing, told = Work(data.spec(LONGER, checkpoint_s=0.0), 5), []
    for report in doing.run():
        if isinstance(report, m.Checkpointed):
            assert report.checkpoint is not None
            assert report.checkpoint.step == report.step
            told.append(report.checkpoint)
        for ref in told[-2:]:
            assert hashlib.sha256((data.task / ref.path).read_bytes()).hexdigest() == ref.sha256
        assert len(list((data.task / "5").iterdir())) <= 4 if told else True
    assert [ref.step for ref in told] == list(range(1, 17))


def test_a_run_that_is_over_at_once_has_no_checkpoint(tmp_path: Path) -> None:
    data = material(tmp_path)
    assert not any(isinstance(report, m.Checkpointed) for report in reports(data.spec(SHORT)))
    assert [path.name for path in (data.task / "1").iterdir()] == ["result.mlmodel"]


def test_a_full_disk_is_told_once_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = material(tmp_path, count=16, held_out=0)
    whole = completed(reports(data.spec(SHORT)))
    full = [True]
    write = files.write_durably

    def write_if_there_is_room(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if full and "checkpoint" in path.name:
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content, mode=mode)

    monkeypatch.setattr(files, "write_durably", write_if_there_is_room)
    said: list[m.Report] = []
    for report in Work(data.spec(SHORT, checkpoint_s=0.0), 2).run():
        if report is not None:
            said.append(report)
        if report is not None and report.step == 6:
            full.clear()
    told = [report for report in said if isinstance(report, m.Checkpointed)]
    assert [(report.checkpoint is None, report.step) for report in told[:2]] == [(True, 1), (False, 6)]
    assert "the disk is full" in told[0].error
    assert completed(said) == whole
    assert not list((data.task / "2").glob(".*")), "half a file does not make the disk fuller"


# ── what is not in order ────────────────────────────────────────────────────────────────────────
def test_a_model_that_is_not_the_one_the_ledger_knows_is_not_trained(tmp_path: Path) -> None:
    data = material(tmp_path)
    spec = data.spec(SHORT)
    data.path.write_bytes(dense_classifier(seed=1))
    with pytest.raises(HostError, match=r"is not the file it was.*the ledger says"):
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
