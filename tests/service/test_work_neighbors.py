"""Tasks of nearest neighbours: from the base each time, in the order of acceptance, measured against what is in use."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import networks as n
from builders import edited
from finetuned.errors import ParameterError
from finetuned.service import messages as m
from finetuned.service.messages import InputSpec
from finetuned.service.work import Work
from finetuned.spec import codec
from more_models import front, neighbors, pipeline
from specs import Material

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.spec.neighbors import Neighbors

BARE = neighbors(["a", "b"]).SerializeToString()
PIPELINE = pipeline(front(), neighbors([])).SerializeToString()


def material(folder: Path, model: bytes = BARE, *, labels: list[str], held_out: int = 0) -> Material:
    name, size = ("embedding", 4) if model is not PIPELINE else ("x", 6)
    want = InputSpec(name=name, shape=(size,))
    arrays = n.numbers(len(labels), size, seed=9)
    return Material(folder=folder, model=model, want=want, arrays=arrays, labels=labels, held_out=held_out)


def a_spec(data: Material, **fields: Any) -> m.TaskSpec:  # noqa: ANN401 - each has its own type
    return msgspec.structs.replace(data.spec({}), base_path=str(data.path), **fields)


def reports(spec: m.TaskSpec) -> list[m.Report]:
    return [report for report in Work(spec).run() if report is not None]


def stored(path: Path) -> Neighbors:
    found = codec.decode(path.read_bytes()).learner.neighbors
    assert found is not None
    return found


def test_a_task_stores_its_samples_behind_those_of_the_base_and_has_neither_epochs_nor_a_loss(
    tmp_path: Path,
) -> None:
    data = material(tmp_path, labels=["c", "a", "b", "c"], held_out=1)
    said = reports(a_spec(data))
    assert [type(report).__name__ for report in said] == [
        "Prepared",
        "Prepared",
        "TrainingBegin",
        "Completed",
    ]
    begin, done = said[2:]
    assert isinstance(begin, m.TrainingBegin)
    assert (begin.epochs, begin.batches, begin.held_out) == (0, 0, 1)
    assert begin.parameters == {"numberOfNeighbors": 3}
    assert isinstance(done, m.Completed)
    assert (done.before.loss_value, done.after.loss_value, done.held_out) == (None, None, True)
    assert done.before.accuracy == 0.0, "the base knows no c"
    found, base = stored(data.result()), stored(data.path)
    assert found.labels == ("a", "b", "c", "a", "b")
    np.testing.assert_array_equal(found.samples, np.concatenate([base.samples, data.arrays[:3]]))


def test_the_next_task_begins_with_the_base_again_and_is_measured_against_what_is_in_use(
    tmp_path: Path,
) -> None:
    data = material(tmp_path, PIPELINE, labels=["c", "d", "c", "d"])
    first = reports(a_spec(data))[-1]
    assert isinstance(first, m.Completed)
    used = tmp_path / "used.mlmodel"
    used.write_bytes(data.result().read_bytes())
    again = a_spec(data, model_path=str(used), model_digest=hashlib.sha256(used.read_bytes()).hexdigest())
    relabelled = msgspec.structs.replace(again.samples[0], label="new")
    second = reports(msgspec.structs.replace(again, samples=(relabelled, *again.samples[1:3])))[-1]
    assert isinstance(second, m.Completed)
    assert stored(used).labels == ("c", "d", "c", "d")
    assert stored(data.result()).labels == ("new", "d", "c"), "neither what was relabelled nor what is gone"
    np.testing.assert_array_equal(stored(data.result()).samples, stored(used).samples[:3])
    model = codec.decode(data.model).models[0]
    assert model.network is not None
    dense: Any = model.network.layers[0].parameters
    weights, bias = codec.array(dense.weights, (4, 6)), codec.array(dense.bias, (4,))
    np.testing.assert_allclose(stored(used).samples, data.arrays @ weights.T + bias, rtol=1e-5, atol=1e-6)


def test_what_is_in_use_is_asked_by_its_own_labels(tmp_path: Path) -> None:
    data = material(tmp_path, labels=["z", "y", "x"])
    reports(a_spec(data))
    used = tmp_path / "used.mlmodel"
    used.write_bytes(data.result().read_bytes())
    spec = a_spec(
        data,
        parameters={"numberOfNeighbors": 1},
        model_path=str(used),
        model_digest=hashlib.sha256(used.read_bytes()).hexdigest(),
    )
    turned = reports(msgspec.structs.replace(spec, samples=spec.samples[::-1]))[-1]
    assert isinstance(turned, m.Completed)
    assert (turned.before.accuracy, turned.after.accuracy) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("growth", "labels"),
    [
        (m.Growth(most=4), ("c", "c", "c", "d")),
        (m.Growth(most=4, when_full="balanced"), ("a", "b", "c", "d")),
        (m.Growth(), ("a", "b", "c", "c", "c", "d")),
        (m.Growth(duplicates=True), ("a", "b", "c", "c", "c", "d", "d")),
    ],
)
def test_it_grows_as_its_task_says(tmp_path: Path, growth: m.Growth, labels: tuple[str, ...]) -> None:
    data = material(tmp_path, labels=["c", "c", "c", "d", "d"])
    spec = a_spec(data, growth=growth)
    twice = (*spec.samples[:4], spec.samples[3])
    reports(msgspec.structs.replace(spec, samples=twice))
    assert stored(data.result()).labels == labels


def test_labels_that_are_whole_numbers_come_as_text(tmp_path: Path) -> None:
    def numbered(message: Any) -> None:  # noqa: ANN401 - a protobuf message
        knn = message.kNearestNeighborsClassifier
        knn.ClearField("stringClassLabels")
        knn.int64ClassLabels.vector.extend([5, -7])
        knn.defaultInt64Label = 0
        for feature in (message.description.output[0], message.description.trainingInput[1]):
            feature.type.int64Type.SetInParent()
        message.description.output[1].type.dictionaryType.int64KeyType.SetInParent()

    data = material(tmp_path, edited(BARE, numbered), labels=["-7", "41"])
    reports(a_spec(data))
    assert stored(data.result()).labels == (5, -7, -7, 41)


def test_there_is_no_learning_rate_to_adjust(tmp_path: Path) -> None:
    data = material(tmp_path, labels=["c"])
    work = Work(a_spec(data))
    running = work.run()
    next(running)
    with pytest.raises(ParameterError, match="has no learningRate"):
        work.adjust({"learningRate": 0.1})
    told = a_spec(data, adjustments=(m.Adjustment(learning_rate=0.1),))
    with pytest.raises(ParameterError, match="has no learningRate"):
        next(Work(told).run())
