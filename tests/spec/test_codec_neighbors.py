"""Samples into the bytes of a nearest-neighbours model, read back by protobuf and by coremltools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
from finetuned.errors import ModelError
from finetuned.spec import check, codec, survey
from finetuned.spec import coreml_pb2 as pb
from more_models import DIMENSIONS, front, neighbors, nested, pipeline
from shared import shared

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = n.numbers(3, DIMENSIONS, seed=7)
LABELS = ("b", "a", "größer")
UNKNOWN = bytes.fromhex("c2bb01 03 616263")  # field 3000: "abc"


MODELS: dict[str, Callable[[], pb.Model]] = {
    "bare": neighbors,
    "empty": lambda: neighbors(()),
    "in a pipeline": pipeline,
    "in one with names": lambda: pipeline(names=("front", "kNN")),
    "in a pipeline of a pipeline": nested,
    "in one with names of one with names": lambda: nested("front", "inner"),
}


def inner(model: pb.Model) -> pb.Model:
    """Return the message that learns."""
    while model.WhichOneof("Type") == "pipelineClassifier":
        model = model.pipelineClassifier.pipeline.models[-1]
    return model


def stored(data: bytes) -> tuple[Any, list[Any]]:
    """Return samples and labels as protobuf reads them."""
    knn = inner(pb.Model.FromString(data)).kNearestNeighborsClassifier
    rows = [np.frombuffer(sample.vector, "<f4") for sample in knn.nearestNeighborsIndex.floatSamples]
    return np.array(rows), list(getattr(knn, knn.WhichOneof("ClassLabels")).vector)


@pytest.mark.parametrize("name", MODELS)
def test_samples_and_labels_are_the_new_ones_and_nothing_else_changes(name: str) -> None:
    message = MODELS[name]()
    inner(message).kNearestNeighborsClassifier.MergeFromString(UNKNOWN)
    found = codec.encode_neighbors(codec.decode(message.SerializeToString()), SAMPLES, LABELS)
    rows, labels = stored(found)
    assert (rows == SAMPLES).all()
    assert labels == list(LABELS)
    assert check.reasons(codec.decode(found)) == ()
    # With the old samples put back by protobuf it is the file that it was; what protobuf does not know stands at the end.
    again = pb.Model.FromString(found)
    ours, old = inner(again).kNearestNeighborsClassifier, inner(message).kNearestNeighborsClassifier
    assert UNKNOWN in ours.SerializeToString()
    ours.stringClassLabels.CopyFrom(old.stringClassLabels)
    del ours.nearestNeighborsIndex.floatSamples[:]
    ours.nearestNeighborsIndex.floatSamples.extend(old.nearestNeighborsIndex.floatSamples)
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_samples_make_the_same_file(name: str) -> None:
    data = MODELS[name]().SerializeToString(deterministic=True)
    model = codec.decode(data)
    found = model.learner.neighbors
    assert found is not None
    assert codec.encode_neighbors(model, found.samples, found.labels) == data


def numbered(model: pb.Model) -> None:
    knn = model.kNearestNeighborsClassifier
    knn.int64ClassLabels.vector.extend([-5, 1 << 40, 7])
    knn.defaultInt64Label = 0
    for feature in (model.description.output[0], model.description.trainingInput[1]):
        feature.type.int64Type.SetInParent()
    model.description.output[1].type.dictionaryType.int64KeyType.SetInParent()


def test_whole_numbers_are_labels_too() -> None:
    message = neighbors()
    numbered(message)
    model = codec.decode(message.SerializeToString())
    data = codec.encode_neighbors(model, SAMPLES, (-(1 << 63), 300, (1 << 63) - 1))
    assert stored(data)[1] == [-(1 << 63), 300, (1 << 63) - 1]
    assert check.reasons(codec.decode(data)) == ()


def test_a_model_can_be_emptied_and_filled_again() -> None:
    model = codec.decode(neighbors().SerializeToString())
    empty = codec.encode_neighbors(model, SAMPLES[:0], ())
    assert len(stored(empty)[0]) == 0
    assert check.reasons(codec.decode(empty)) == ()
    again = codec.encode_neighbors(codec.decode(empty), SAMPLES, LABELS)
    assert stored(again)[1] == list(LABELS)


@pytest.mark.parametrize(
    ("samples", "labels", "words"),
    [
        (SAMPLES[:, :3], LABELS, "4 numbers"),
        (SAMPLES, LABELS[:2], "2 labels"),
        (SAMPLES * np.float32(np.nan), LABELS, "NaN"),
        (SAMPLES, (1, 2, 3), "string"),
    ],
)
def test_what_does_not_fit_is_never_saved(samples: Any, labels: Any, words: str) -> None:  # noqa: ANN401 - anything
    with pytest.raises(ModelError, match=f"cannot save: .*{words}"):
        codec.encode_neighbors(codec.decode(neighbors().SerializeToString()), samples, labels)


def test_a_network_stores_no_samples() -> None:
    with pytest.raises(ModelError, match="stores no samples"):
        codec.encode_neighbors(codec.decode(front().SerializeToString()), SAMPLES, LABELS)


@pytest.mark.parametrize(
    "name",
    [
        "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel",
        "thirdparty_updatable/arrival_UpdatableKNN.mlmodel",
    ],
)
def test_coremltools_reads_what_is_written(name: str, apple: Any) -> None:  # noqa: ANN401 - an optional module has no type here
    model = codec.decode(shared(name).read_bytes())
    found = model.learner.neighbors
    assert found is not None
    samples = n.numbers(5, found.dimensions, seed=1)
    labels: Any = [f"label {place % 2}" for place in range(5)] if found.kind == "string" else [3, 4, 3, 4, 5]
    data = codec.encode_neighbors(model, samples, labels)
    spec = apple.Model.FromString(data)
    knn = inner(spec).kNearestNeighborsClassifier
    rows = np.array([sample.vector for sample in knn.nearestNeighborsIndex.floatSamples], np.float32)
    assert (rows == samples).all()
    assert list(getattr(knn, knn.WhichOneof("ClassLabels")).vector) == labels


def test_every_old_sample_goes_however_long() -> None:
    message = neighbors(("a",) * 9)
    samples = message.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples
    for place in (0, 3, 4, 7):
        samples[place].vector = samples[place].vector * (place + 1)
    found = codec.encode_neighbors(codec.decode(message.SerializeToString()), SAMPLES, LABELS)
    assert (stored(found)[0] == SAMPLES).all()


def test_more_samples_than_are_read_again_are_never_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 300
    monkeypatch.setattr(codec, "MOST_SAMPLES", most)
    monkeypatch.setitem(survey.MOST, "FloatVector", most)
    monkeypatch.setattr(survey, "MOST_FIELDS", most + 200)
    model = codec.decode(neighbors((), dimensions=1).SerializeToString())
    many = np.zeros((most + 1, 1), np.float32)
    with pytest.raises(ModelError, match="give the model a limit"):
        codec.encode_neighbors(model, many, ["a"] * len(many))
    data = codec.encode_neighbors(model, many[1:], ["a"] * most)
    assert len(codec.decode(data).learner.neighbors.lengths) == most  # type: ignore[union-attr]  # k-NN
    monkeypatch.setitem(survey.MOST, "FloatVector", most - 1)
    with pytest.raises(ModelError, match="more than 299 messages of type FloatVector"):
        codec.decode(data)
