"""Files to values and back: what is trained changes, nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builders import dense_classifier, dense_regressor, edited, random_weights
from finetuned.errors import ModelError
from finetuned.parameters import Parameter
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author import ImageInput
from finetuned.spec.codec import LayerWeights
from finetuned.spec.model import (
    ArrayType,
    Color,
    Convolution,
    DictionaryType,
    ImageType,
    InnerProduct,
    Padding,
    Pooling,
    ScalarType,
)
from shared import FOLDER, shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.model import Layer, Model

UPDATABLE_NETWORKS = [
    "mlupdatetask_line/untrained.mlmodel",
    "thirdparty_updatable/mangiavacchi_house_trainable.mlmodel",
    "updatable_built/Hands_MobileNetV1_025_updatable.mlmodel",
    "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel",
    "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel",
]
# Where the data are missing, the few names that are known say so.
MODELS = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.mlmodel")) or UPDATABLE_NETWORKS


def updatable_layers(model: Model) -> dict[str, InnerProduct | Convolution]:
    layers = model.network.layers if model.network else ()
    return {
        layer.name: layer.parameters
        for layer in layers
        if layer.updatable and isinstance(layer.parameters, InnerProduct | Convolution)
    }


def new_weights(model: Model) -> dict[str, LayerWeights]:
    """Return other weights for every updatable layer."""
    return {
        name: LayerWeights(
            weights=random_weights(*codec.weight_shape(parameters), seed=7),
            bias=random_weights(parameters.output_channels, seed=8) if parameters.bias else None,
        )
        for name, parameters in updatable_layers(model).items()
    }


# ── decode ──────────────────────────────────────────────────────────────────────────────────────
def test_a_description_becomes_values() -> None:
    model = codec.decode(dense_classifier(image=ImageInput(width=5, height=4, color=Color.rgb)))
    assert (model.kind, model.specification_version, model.updatable) == ("neuralNetworkClassifier", 4, True)
    assert model.description.inputs[0].type == ImageType(width=5, height=4, color=Color.rgb)
    assert [output.type for output in model.description.outputs] == [
        DictionaryType(key="string"),
        ScalarType(kind="string"),
    ]
    assert [feature.name for feature in model.description.training_inputs] == ["image", "label"]


def test_update_parameters_become_values() -> None:
    model = codec.decode(
        edited(dense_regressor(), lambda m: m.neuralNetwork.updateParams.epochs.set.values.extend([5, 10]))
    )
    assert model.description.inputs[0].type == ArrayType(shape=(4,), dtype="DOUBLE")
    assert model.network is not None
    assert model.network.update is not None
    assert (model.network.update.optimizer, model.network.update.losses[0].target) == (
        "sgdOptimizer",
        "output_true",
    )
    parameters = model.network.update.parameters
    assert parameters["learningRate"] == Parameter(default=0.01, minimum=0, maximum=1)
    assert parameters["epochs"] == Parameter(default=10, allowed=(5, 10))
    assert parameters["shuffle"] == Parameter(default=True)
    assert "seed" not in parameters


def first_layer(fill: Callable[[pb.NeuralNetworkLayer], object]) -> Layer:
    """Decode a model whose first layer was filled anew."""

    def change(model: pb.Model) -> None:
        layer = model.neuralNetworkClassifier.layers[0]
        layer.Clear()
        layer.name = "layer"
        fill(layer)

    network = codec.decode(edited(dense_classifier(), change)).network
    assert network is not None
    return network.layers[0]


def bare_convolution(layer: pb.NeuralNetworkLayer) -> None:
    layer.convolution.outputChannels = layer.convolution.kernelChannels = 2


def test_a_bare_convolution_gets_the_formats_defaults() -> None:
    parameters = first_layer(bare_convolution).parameters
    assert isinstance(parameters, Convolution)
    assert (parameters.kernel, parameters.stride, parameters.dilation, parameters.groups) == (
        (3, 3),
        (1, 1),
        (1, 1),
        1,
    )
    assert (parameters.padding, parameters.output_shape, parameters.bias) == (Padding(), (), None)


def same_top_left(layer: pb.NeuralNetworkLayer) -> None:
    bare_convolution(layer)
    layer.convolution.same.asymmetryMode = type(layer.convolution.same).TOP_LEFT_HEAVY


def valid_borders(layer: pb.NeuralNetworkLayer) -> None:
    bare_convolution(layer)
    borders = layer.convolution.valid.paddingAmounts.borderAmounts
    borders.add(startEdgeSize=1, endEdgeSize=2)
    borders.add(startEdgeSize=3, endEdgeSize=4)


def last_pixel(layer: pb.NeuralNetworkLayer) -> None:
    layer.pooling.includeLastPixel.paddingAmounts.extend([1, 2])


@pytest.mark.parametrize(("fill", "padding"), [
    (same_top_left, Padding(mode="same", top_left_heavy=True)),
    (valid_borders, Padding(amounts=((1, 2), (3, 4)))),
    (last_pixel, Padding(mode="includeLastPixel", amounts=((1, 1), (2, 2)))),
])  # fmt: skip
def test_paddings_keep_their_sides(fill: Callable[[pb.NeuralNetworkLayer], object], padding: Padding) -> None:
    parameters = first_layer(fill).parameters
    assert isinstance(parameters, Convolution | Pooling)
    assert parameters.padding == padding


def test_a_layer_that_is_not_read_keeps_its_name_and_type() -> None:
    layer = first_layer(lambda entry: entry.uniDirectionalLSTM.SetInParent())
    assert (layer.name, layer.type, layer.parameters.__class__.__name__) == (
        "layer",
        "uniDirectionalLSTM",
        "Opaque",
    )


def no_channels(layer: pb.NeuralNetworkLayer) -> None:
    layer.innerProduct.inputChannels = 0


def odd_kernel(layer: pb.NeuralNetworkLayer) -> None:
    bare_convolution(layer)
    layer.convolution.kernelSize.extend([3])


@pytest.mark.parametrize(("fill", "complaint"), [
    (no_channels, "inputChannels is 0"),
    (odd_kernel, r"kernelSize is \[3\]; two positive numbers"),
    (lambda layer: layer.activation.SetInParent(), "no known type"),
    (lambda layer: layer.pooling.stride.extend([0, 1]), r"stride is \[0, 1\]"),
    (lambda layer: setattr(layer.activation.leakyReLU, "alpha", float("inf")), "leakyReLU has alpha inf"),
    (lambda layer: setattr(layer.clip, "maxVal", float("nan")), "between 0.0 and nan"),
])  # fmt: skip
def test_an_impossible_layer_is_refused_by_name(
    fill: Callable[[pb.NeuralNetworkLayer], object], complaint: str
) -> None:
    with pytest.raises(ModelError, match=rf"layer 'layer' \(.*\): .*{complaint}"):
        first_layer(fill)


def test_a_scale_of_pixels_that_is_no_number_is_refused() -> None:
    message = pb.Model.FromString(dense_classifier())
    scaler = message.neuralNetworkClassifier.preprocessing.add(featureName="features").scaler
    scaler.channelScale = float("nan")
    with pytest.raises(ModelError, match="'features' has the channelScale nan; a number is needed"):
        codec.decode(message.SerializeToString())


@pytest.mark.parametrize(("data", "complaint"), [
    (b"", "the file is empty"),
    (dense_classifier()[:-9], r"truncated: field 403 at byte \d+ needs \d+ bytes"),
    (b"PK\x03\x04\x14\x00", "a zip archive, perhaps a packed .mlpackage"),
    (b'{"itemInfoEntries": {}}', "JSON, perhaps a part of an .mlpackage"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    (b"hello world", r"11 bytes starting with b'hello wo'"),
    (b"\x08\x04", "no model of a known type"),
])  # fmt: skip
def test_something_else_than_a_model_is_refused_with_what_it_is(data: bytes, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        codec.decode(data)


# ── encode ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", MODELS)
def test_every_shared_model_decodes_and_encodes_to_its_own_bytes(name: str) -> None:
    data = shared(name).read_bytes()
    model = codec.decode(data)
    same = {
        layer: LayerWeights(
            weights=codec.array(parameters.weights, codec.weight_shape(parameters)),
            bias=codec.array(parameters.bias, (parameters.output_channels,)) if parameters.bias else None,
        )
        for layer, parameters in updatable_layers(model).items()
    }
    assert codec.encode(model, same) == data


def their_weights(layer: Any) -> Any:  # noqa: ANN401 - coremltools' message
    return layer.convolution if layer.WhichOneof("layer") == "convolution" else layer.innerProduct


@pytest.mark.parametrize("name", UPDATABLE_NETWORKS)
def test_coremltools_finds_the_new_weights_and_no_other_difference(apple: Any, name: str) -> None:  # noqa: ANN401
    data = shared(name).read_bytes()
    model = codec.decode(data)
    new = new_weights(model)
    before, after = (apple.Model.FromString(d) for d in (data, codec.encode(model, new)))
    for old, fresh in zip(getattr(before, model.kind).layers, getattr(after, model.kind).layers, strict=True):
        if old.isUpdatable:
            expected = new[old.name]
            assert list(their_weights(fresh).weights.floatValue) == expected.weights.ravel().tolist()
            their_weights(old).weights.floatValue[:] = expected.weights.ravel()
            if expected.bias is not None:
                their_weights(old).bias.floatValue[:] = expected.bias
    assert before == after


@pytest.mark.parametrize("name", UPDATABLE_NETWORKS)
def test_no_byte_outside_of_the_weights_changes(name: str) -> None:
    data = shared(name).read_bytes()
    model = codec.decode(data)
    encoded = codec.encode(model, new_weights(model))
    changed = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(encoded, np.uint8))
    allowed = np.zeros(len(data), bool)
    for parameters in updatable_layers(model).values():
        for stored in (parameters.weights, parameters.bias):
            for start in occurrences(data, stored.data if stored else b""):
                allowed[start : start + len(stored.data if stored else b"")] = True
    assert len(encoded) == len(data)
    assert changed.size
    assert allowed[changed].all()


def occurrences(data: bytes, piece: bytes) -> list[int]:
    """Return every place of `piece`: a bias of zeros may look like other zeros."""
    found, start = [], data.find(piece) if piece else -1
    while start >= 0:
        found.append(start)
        start = data.find(piece, start + 1)
    return found


def test_fields_that_finetuned_does_not_know_survive() -> None:
    unknown = bytes.fromhex("fa7f03616263")  # field 2047, "abc"
    data = unknown + dense_classifier() + unknown
    model = codec.decode(data)
    encoded = codec.encode(model, new_weights(model))
    assert encoded.startswith(unknown)
    assert encoded.endswith(unknown)
    assert codec.decode(encoded).description == model.description


def one_layer(**trained: Any) -> bytes:  # noqa: ANN401 - LayerWeights' fields
    """Save into a classifier's layer `output`, which is [3, 8] with a bias of 3."""
    whole = {"weights": random_weights(3, 8), "bias": random_weights(3)}
    return codec.encode(codec.decode(dense_classifier()), {"output": LayerWeights(**(whole | trained))})


@pytest.mark.parametrize(("trained", "complaint"), [
    ({"weights": random_weights(8, 3)}, r"weights of shape \(8, 3\): the layer's are \(3, 8\)"),
    ({"bias": random_weights(1)}, r"bias of shape \(1,\)"),
    ({"bias": None}, "disagree about a bias"),
    ({"bias": np.array([0, np.nan, 0], np.float32)}, "left NaN or infinite numbers"),
    ({"weights": np.full((3, 8), np.inf, np.float32)}, "left NaN or infinite numbers"),
])  # fmt: skip
def test_weights_that_must_not_be_saved_are_refused(trained: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        one_layer(**trained)


@pytest.mark.parametrize(("layer", "complaint"), [
    ("softmax", "not marked as updatable"),
    ("nobody", "0 layers named 'nobody'"),
])  # fmt: skip
def test_only_updatable_layers_are_saved(layer: str, complaint: str) -> None:
    trained = {layer: LayerWeights(weights=random_weights(3, 8), bias=random_weights(3))}
    with pytest.raises(ModelError, match=complaint):
        codec.encode(codec.decode(dense_classifier()), trained)


def test_a_file_that_says_the_same_twice_is_not_patched() -> None:
    data = dense_classifier()
    twice = data + bytes.fromhex("9a1900")  # an empty second neuralNetworkClassifier, which protobuf merges
    model = codec.decode(twice)
    assert model.network == codec.decode(data).network
    with pytest.raises(ModelError, match="'neuralNetworkClassifier' 2 times"):
        codec.encode(model, new_weights(model))
