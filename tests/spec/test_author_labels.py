"""A trained network's classes: one more, with the old rows as they were, and one fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import more_models as more
import networks as n
from builders import dense_classifier, dense_regressor, edited
from finetuned.errors import ModelError, SampleError
from finetuned.spec import author, check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import DictionaryType, InnerProduct
from finetuned.update.predictor import Predictor
from shared import shared

if TYPE_CHECKING:
    from finetuned.spec.model import FloatArray


def rows(data: bytes) -> tuple[FloatArray, FloatArray]:
    """Weights and bias of the last fully connected layer."""
    model = codec.decode(data)
    layers = (model.models[-1] if model.models else model).network.layers  # type: ignore[union-attr]  # there
    found = [layer.parameters for layer in layers if isinstance(layer.parameters, InnerProduct)][-1]
    assert found.bias is not None
    shape = (found.output_channels, found.input_channels)
    return codec.array(found.weights, shape), codec.array(found.bias, shape[:1])


def labels(data: bytes) -> tuple[str | int, ...]:
    model = codec.decode(data)
    assert model.network is not None
    return model.network.class_labels


def test_a_new_label_is_the_last_and_the_old_rows_stay_bit_for_bit() -> None:
    data = dense_classifier(classes=3)
    wider = author.with_label(data, "z")
    assert check.reasons(codec.decode(wider)) == ()
    assert labels(wider) == ("a", "b", "c", "z")
    (old, bias), (new, biases) = rows(data), rows(wider)
    np.testing.assert_array_equal(new[:3].view(np.uint32), old.view(np.uint32))
    np.testing.assert_array_equal(biases[:3].view(np.uint32), bias.view(np.uint32))
    np.testing.assert_array_equal(new[3], 0)
    assert biases[3] == np.float32(bias.astype(np.float64).mean())
    assert author.without_label(wider, "z") == data


def test_whole_number_labels_and_their_probabilities_keep_their_kind() -> None:
    wider = author.with_label(dense_classifier(labels=[7, 8, 9]), "-4")
    assert labels(wider) == (7, 8, 9, -4)
    assert codec.decode(wider).description.outputs[0].type == DictionaryType(key="int64")
    assert labels(author.without_label(wider, "8")) == (7, 9, -4)


def test_its_first_samples_get_the_new_label_at_once_and_the_rest_keep_theirs() -> None:
    data = dense_classifier(inputs=4, hidden=0, classes=3)
    weights, bias = rows(data)
    x = np.concatenate([n.numbers(200, 4), 3 + n.numbers(20, 4, scale=0.1)])
    before = (x @ weights.T + bias).argmax(axis=1)
    wider = author.with_label(data, "z", x[-20:-10])
    after = Predictor(codec.decode(wider)).probabilities({"features": x}).argmax(axis=1)
    assert (after[-20:-10] == 3).sum() >= 8  # three of four, and what comes beside
    assert (after[-10:] == 3).sum() >= 5  # not seen before
    changed = after[:200] != before[:200]
    assert changed.mean() < 0.05
    assert set(after[:200][changed]) <= {3}
    length = np.linalg.norm(weights, axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(rows(wider)[0][3]), length, rtol=1e-6)


def test_where_one_sample_is_seen_the_new_label_is_a_tenth_above_the_best_old_one() -> None:
    x = n.numbers(1, 4)
    weights, bias = rows(author.with_label(dense_classifier(hidden=0), "z", x))
    scores = x[0].astype(np.float64) @ weights.T + bias
    assert scores[3] - scores[:3].max() == pytest.approx(0.1, abs=1e-5)


@pytest.mark.parametrize(("before", "after"), [
    ([3], [4]), ([3, 1, 1], [4, 1, 1]), ([1, 3], [1, 4]), ([1, 1, 3, 1, 1], [1, 1, 4, 1, 1]),
])  # fmt: skip
def test_shapes_that_speak_of_the_classes_follow_and_others_of_their_length_stay(
    before: list[int], after: list[int]
) -> None:
    """The hidden layer makes as many numbers as there are classes."""
    data = edited(dense_classifier(hidden=3), lambda message: declare(message, before))
    wider = author.with_label(data, "z")
    found = pb.Model.FromString(wider).description
    shapes = {
        each.name: list(each.type.multiArrayType.shape) for each in (*found.output, *found.trainingInput)
    }
    assert (shapes["output_output"], shapes["logits_true"]) == (after, after)
    assert (shapes["activation_output"], shapes["hidden_output"]) == (before, before)
    assert author.without_label(wider, "z") == data


def declare(message: pb.Model, shape: list[int]) -> None:
    """Let the network show what its layers make, and let it learn from the logits."""
    for name in ("output_output", "activation_output", "hidden_output"):
        message.description.output.add(name=name).type.multiArrayType.shape[:] = shape
    target = message.description.trainingInput[-1]
    target.Clear()
    target.name, target.type.multiArrayType.shape[:] = "logits_true", shape
    for feature in (*message.description.output[-3:], target):
        feature.type.multiArrayType.dataType = pb.ArrayFeatureType.DOUBLE
    loss = message.neuralNetworkClassifier.updateParams.lossLayers[0]
    loss.Clear()
    loss.name = "loss"
    loss.meanSquaredErrorLossLayer.input, loss.meanSquaredErrorLossLayer.target = (
        "output_output",
        "logits_true",
    )


def test_what_is_shown_of_a_single_class_follows_along_the_channels() -> None:
    """All axes of its shape are one long."""
    data = dense_classifier(hidden=0, classes=1)
    data = edited(data, lambda m: n.array_feature(m.description.output.add(name="output_output"), (1, 1, 1)))
    assert codec.decode(author.with_label(data, "z")).description.outputs[-1].type.shape == (2, 1, 1)  # type: ignore[union-attr]  # an array's


def test_what_enters_the_head_is_made_by_a_model_of_its_own_even_where_it_is_the_input() -> None:
    x = n.numbers(3, 4)
    (found,) = (
        Predictor(codec.decode(author.backbone(dense_classifier(hidden=0)))).outputs({"features": x}).values()
    )
    np.testing.assert_array_equal(found.reshape(3, 4), x)
    assert (
        codec.decode(author.backbone(dense_classifier(hidden=8))).description.outputs[0].name
        == "activation_output"
    )


def test_a_head_without_a_bias_gets_one_that_is_zero_for_the_old_labels() -> None:
    def drop(message: pb.Model) -> None:
        params = message.neuralNetworkClassifier.layers[0].innerProduct
        params.hasBias = False
        params.ClearField("bias")

    data = edited(dense_classifier(hidden=0), drop)
    wider = author.with_label(data, "z", np.ones((1, 4), np.float32))
    assert check.reasons(codec.decode(wider)) == ()
    np.testing.assert_array_equal(rows(wider)[1][:3], 0)


def test_a_quantised_and_frozen_head_becomes_float32_of_the_same_values() -> None:
    plain = (shared("imagenet_backbone") / "MobileNetV1_0.25_128_int8.mlmodel").read_bytes()
    wider = author.with_label(plain, "mug")
    (old, bias), (new, biases) = rows(plain), rows(wider)
    np.testing.assert_array_equal(new[:-1], old)
    np.testing.assert_array_equal(biases[:-1], bias)
    assert labels(wider) == (*labels(plain), "mug")
    assert not codec.decode(wider).updatable


def test_the_network_at_the_end_of_a_pipeline_is_widened_too() -> None:
    last = pb.Model.FromString(dense_classifier())
    last.description.input[0].name = last.description.trainingInput[0].name = "embedding"
    last.neuralNetworkClassifier.layers[0].input[0] = "embedding"
    data = more.pipeline(more.front(), last).SerializeToString()
    assert rows(author.with_label(data, "z"))[0].shape == (4, 8)


def test_a_new_head_has_the_labels_that_are_asked_for_and_begins_at_zero() -> None:
    data = author.with_labels(dense_classifier(labels=[7, 8, 9]), ["1", 2])
    assert check.reasons(codec.decode(data)) == ()
    assert labels(data) == (1, 2)
    assert [array.tolist() for array in rows(data)] == [[[0.0] * 8] * 2, [0.0] * 2]
    with pytest.raises(ModelError, match="each once; found '1', '1'"):
        author.with_labels(data, [1, 1])


# ── what is refused ─────────────────────────────────────────────────────────────────────────────
def renamed(message: pb.Model) -> None:
    """Let a convolution make the classes."""
    layer = message.neuralNetworkClassifier.layers[-2]
    layer.convolution.outputChannels, layer.convolution.kernelChannels = 3, 8
    layer.convolution.kernelSize[:] = [1, 1]
    n.fill(layer.convolution.weights, n.numbers(3, 8, 1, 1))


def read_twice(message: pb.Model) -> None:
    """Let another layer read the classes, too."""
    layer = n.dense(2, 3)
    layer.name, layer.input[:], layer.output[:] = "other", ["output_output"], ["other"]
    message.neuralNetworkClassifier.layers.add().CopyFrom(layer)


@pytest.mark.parametrize(("data", "label", "complaint"), [
    (dense_classifier(), "b", "has the label 'b' already, at position 1"),
    (dense_classifier(labels=[1, 2, 3]), "two", "the label 'two' is no whole number of 64 bits"),
    *((dense_classifier(labels=[1, 2, 3]), each, "no whole number of 64 bits") for each in (str(1 << 63), 4.7, "1_0", "٣")),
    *((dense_classifier(), each, "is no label; allowed: 1 to 120 bytes") for each in ("", "\x1b[31m", "a\nb", "\u202egnp", "x" * 121)),
    (dense_regressor(), "z", "a neuralNetwork has no class labels"),
    (more.neighbors().SerializeToString(), "z", "a k-NN classifier takes any label"),
    (edited(dense_classifier(), renamed), "z", r"the classes are made by the layer 'output' \(convolution\)"),
    (edited(dense_classifier(), read_twice), "z", "'other' reads the classes of 'output', too"),
])  # fmt: skip
def test_a_label_that_cannot_be_added_is_refused(data: bytes, label: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        author.with_label(data, label)


@pytest.mark.parametrize("features", [np.ones((2, 5)), np.ones(4), np.ones((0, 4)), np.zeros((2, 4)), np.full((1, 4), np.nan)])  # fmt: skip
def test_features_that_give_no_direction_are_refused(features: FloatArray) -> None:
    with pytest.raises(SampleError, match=r"are no samples of 4 numbers|no direction"):
        author.with_label(dense_classifier(hidden=0), "z", features.astype(np.float32))


def test_a_label_that_is_there_twice_is_not_removed_for_nobody_knows_which_row_is_meant() -> None:
    twice = edited(dense_classifier(), lambda m: set_labels(m, ["a", "b", "a"]))
    with pytest.raises(ModelError, match=r"the label 'a' is there 2 times, at the positions \[0, 2\]"):
        author.without_label(twice, "a")


def set_labels(message: pb.Model, new: list[str]) -> None:
    message.neuralNetworkClassifier.stringClassLabels.vector[:] = new


@pytest.mark.parametrize(("label", "complaint"), [
    ("z", "no label 'z'; it has 'a', 'b', 'c'"),
    ("a", "'a' is the only label; a classifier keeps at least one"),
])  # fmt: skip
def test_a_label_that_cannot_be_removed_is_refused(label: str, complaint: str) -> None:
    data = dense_classifier()
    if label == "a":
        data = author.without_label(author.without_label(data, "b"), "c")
    with pytest.raises(ModelError, match=complaint):
        author.without_label(data, label)
