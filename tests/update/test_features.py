from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import builders
import networks as n
from finetuned import rows
from finetuned.errors import ModelError, SampleError
from finetuned.graph.goals import Goal, is_indexed, labels_of, losses_of
from finetuned.rows import FiledRows
from finetuned.spec import author, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import Color
from finetuned.update.features import encoded, inputs_of, label_indices, target_name, targets_for
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.rows import Rows
    from finetuned.spec.model import Model

VECTOR = codec.decode(builders.dense_classifier(inputs=4))
NUMBERS = codec.decode(builders.dense_regressor(inputs=4, outputs=2))
PICTURE = codec.decode(builders.dense_classifier(image=author.ImageInput(width=3, height=2, color=Color.rgb)))
INDICES = n.decoded(n.trainable([n.dense(3, 4, updatable=True), n.softmax()], (4,)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", "bool", "float16"])
def test_any_real_numbers_become_float32(dtype: str) -> None:
    found = inputs_of(VECTOR, {"features": np.ones((2, 4), dtype)})["features"]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.tolist() == [[1, 1, 1, 1]] * 2


def test_lists_and_foreign_strides_are_arrays_too() -> None:
    assert inputs_of(VECTOR, {"features": [[1, 2, 3, 4]]})["features"].tolist() == [[1, 2, 3, 4]]
    turned = np.arange(8, dtype=np.float32).reshape(4, 2).T
    found = inputs_of(VECTOR, {"features": turned})["features"]
    np.testing.assert_array_equal(found, turned)
    assert found.flags.c_contiguous


NAN, INFINITE = np.full((1, 4), np.nan), np.full((1, 4), -np.inf)


@pytest.mark.parametrize(
    ("model", "arrays", "words"),
    [
        (VECTOR, {}, "'features' is missing; there is nothing"),
        (VECTOR, {"feature": np.ones((1, 4))}, "'features' is missing; there is 'feature'"),
        (VECTOR, {"features": np.ones((1, 5))}, r"\['N', 4\] is expected"),
        (VECTOR, {"features": np.ones(4)}, r"\['N', 4\] is expected"),
        (VECTOR, {"features": np.ones((1, 4, 1))}, "is expected"),
        (VECTOR, {"features": np.float32(1)}, "is expected"),
        (VECTOR, {"features": None}, "is expected"),
        (VECTOR, {"features": [[1, 2, 3, 4], [1, 2]]}, "no array"),
        (VECTOR, {"features": NAN}, "infinite or NaN"),
        (VECTOR, {"features": INFINITE}, "infinite or NaN"),
        (VECTOR, {"features": np.full((1, 4), 1e300)}, "infinite or NaN"),
        (VECTOR, {"features": np.full((1, 4), 1j)}, "complex128"),
        (VECTOR, {"features": np.full((1, 4), "1")}, "no real numbers"),
        (VECTOR, {"features": np.full((1, 4), None)}, "object"),
        (VECTOR, {"features": np.zeros((1, 4), "datetime64[s]")}, "no real numbers"),
        (PICTURE, {"image": np.ones((1, 3, 2, 3), np.float32)}, "uint8 pixels"),
        (PICTURE, {"image": np.ones((1, 2, 3, 3), np.uint8)}, r"\['N', 3, 2, 3\] is expected"),
        (PICTURE, {"image": np.ones((1, 1, 2, 3), np.uint8)}, "is expected"),
    ],
)
def test_an_input_that_does_not_fit_says_what_is_expected(
    model: Model, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(SampleError, match=words):
        inputs_of(model, arrays)


def test_an_input_that_is_neither_image_nor_array_is_the_models_fault() -> None:
    message = n.network([n.activation("ReLU")], (2,))
    message.description.input[0].type.doubleType.SetInParent()
    with pytest.raises(ModelError, match="neither an image nor"):
        inputs_of(n.decoded(message), {n.INPUT: np.ones((1, 1))})


def test_inputs_of_different_lengths_are_told_with_their_lengths() -> None:
    message = n.network([n.add("x", "other")], (2,))
    n.array_feature(message.description.input.add(name="other"), (2,))
    with pytest.raises(SampleError, match="'x': 2, 'other': 3"):
        inputs_of(n.decoded(message), {"x": np.ones((2, 2)), "other": np.ones((3, 2))})


# ── targets ─────────────────────────────────────────────────────────────────────────────────────
def targets(model: Model, values: object, shape: tuple[int, ...]) -> Rows:
    """Return the targets of the model's loss, fed in this shape."""
    (loss,) = losses_of(model)
    goal = Goal(
        loss=loss,
        source=target_name(model),
        labels=labels_of(model, loss),
        shape=shape,
        indexed=is_indexed(model, loss),
    )
    return targets_for([goal], {goal.source: values})


def test_labels_become_their_position_whether_text_or_number() -> None:
    assert label_indices(("a", "b", "✌️"), ["✌️", "a"]).tolist() == [2, 0]
    assert label_indices((30, 10), np.array([10, 30])).tolist() == [1, 0]
    assert label_indices((30, 10), ["10", "30"]).tolist() == [1, 0]
    assert label_indices(("a", "b"), np.array([["b"], ["a"]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("model", "shape", "values", "words"),
    [
        (VECTOR, (3,), ["a", "z", "y"], "no label 'y', 'z'; it has a, b, c"),
        (VECTOR, (3,), [0, 1], "no label '0', '1'"),
        (VECTOR, (3,), [None], "no label 'None'"),
        (VECTOR, (3,), "abc", "one value per sample"),
        (VECTOR, (3,), None, "one value per sample"),
        (VECTOR, (3,), [["a", "b"]], "one value per sample"),
        (INDICES, (3,), [0.5], "class index"),
        (INDICES, (3,), [np.nan], "class index"),
        (INDICES, (3,), ["a"], "class index"),
        (INDICES, (3,), [0, 3], "target of sample 1 .* no class index; allowed: 0 to 2"),
        (INDICES, (3,), [-1], "0 to 2"),
        (INDICES, (3,), [np.inf], "0 to 2"),
        (INDICES, (3,), np.eye(3), "one value per sample"),
        (INDICES, (3,), 1, "one value per sample"),
        (NUMBERS, (2,), np.ones((3, 3)), r"\['N', 2\] is expected"),
        (NUMBERS, (2,), np.ones(6), r"\['N', 2\] is expected"),
        (NUMBERS, (2,), 1.0, "is expected"),
        (NUMBERS, (2,), [[np.nan, 0]], "infinite or NaN"),
        (NUMBERS, (2,), [["a", "b"]], "no real numbers"),
    ],
)
def test_a_target_that_does_not_fit_says_what_is_expected(
    model: Model,
    shape: tuple[int, ...],
    values: object,
    words: str,
) -> None:
    with pytest.raises(SampleError, match=words):
        targets(model, values, shape)


def test_class_indices_and_numbers_are_taken_in_the_shapes_that_mean_the_same() -> None:
    for values in ([2, 0], [2.0, 0.0], np.array([[2], [0]]), np.array([2, 0], np.uint8)):
        assert targets(INDICES, values, (3,))[:].tolist() == [2, 0]
    for values in (np.ones((5, 2)), np.ones((5, 2, 1, 1))):
        assert targets(NUMBERS, values, (2,)).shape == (5, 2)
    assert targets(NUMBERS, [1, 2], (1,))[:].tolist() == [[1], [2]]


def test_a_classifiers_target_is_its_label_and_anothers_that_of_its_loss() -> None:
    assert target_name(VECTOR) == "label"
    assert target_name(NUMBERS) == "output_true"
    assert target_name(INDICES) == n.TARGET


# ── both ────────────────────────────────────────────────────────────────────────────────────────
def updating(model: Model) -> NetworkUpdate:
    return NetworkUpdate(model, resolve(update_of(model), {}, seed=0))


@pytest.mark.parametrize(("samples", "targets"), [(70, 64), (64, 70), (32, 33), (1, 0), (0, 1)])
def test_as_many_samples_as_targets_are_needed(samples: int, targets: int) -> None:
    data = {"features": np.ones((samples, 4)), "label": ["a"] * targets}
    with pytest.raises(SampleError, match=f"{targets} targets.*{samples}"):
        encoded(updating(VECTOR), data)


def test_a_missing_target_is_named() -> None:
    with pytest.raises(SampleError, match="'label' is missing; there is 'features'"):
        encoded(updating(VECTOR), {"features": np.ones((1, 4))})


def test_many_samples_are_encoded_in_parts_and_in_order() -> None:
    x = n.numbers(100, 4)
    found = encoded(updating(VECTOR), {"features": x, "label": ["a", "b"] * 50})
    np.testing.assert_array_equal(found.features, x)
    assert found.targets[:].tolist() == [0, 1] * 50


@pytest.mark.parametrize("data", [builders.dense_classifier(train_hidden=False), builders.dense_regressor()])
def test_samples_of_a_file_become_the_features_and_targets_of_those_in_memory_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    model = codec.decode(data)
    x, numbers = n.numbers(600, 4), n.numbers(600, 1, seed=1)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", numbers)
    target = target_name(model)
    labels = ["a", "b"] * 300
    kept = encoded(updating(model), {"features": x, target: labels if target == "label" else numbers})
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"}
    for in_memory in (1 << 20, 0):
        monkeypatch.setattr(rows, "IN_MEMORY", in_memory)
        given = {"features": mapped["x"], target: labels if target == "label" else mapped["y"]}
        found = encoded(updating(model), given, tmp_path)
        assert isinstance(found.features, FiledRows if not in_memory else np.ndarray)
        np.testing.assert_array_equal(found.features[:], kept.features[:])
        np.testing.assert_array_equal(found.targets[:], kept.targets[:])
        assert found.targets.dtype == kept.targets.dtype


def test_nothing_is_encoded_to_nothing() -> None:
    found = encoded(updating(PICTURE), {"image": np.zeros((0, 3, 2, 3), np.uint8), "label": []})
    assert len(found) == 0
    assert found.features.shape == (0, 18)


def test_a_classifier_whose_training_input_is_the_class_index_takes_numbers_for_indices_and_texts_for_labels() -> (
    None
):
    """COREML.md §2.6: the loss's own target is an index, though the labels are numbers, too."""
    message = pb.Model.FromString(builders.dense_classifier(labels=[3, 2, 1]))
    target = message.description.trainingInput[1]
    target.name = message.neuralNetworkClassifier.updateParams.lossLayers[
        0
    ].categoricalCrossEntropyLossLayer.target
    target.type.multiArrayType.shape[:] = [1]
    update = updating(codec.decode(message.SerializeToString()))
    rows = np.zeros((2, 4))
    for given in ([1, 2], ["2", "1"]):
        found = encoded(update, {"features": rows, target.name: given}).targets
        assert found[:].tolist() == [1, 2], given
