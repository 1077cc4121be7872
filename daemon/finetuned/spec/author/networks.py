"""New models from plain numbers: dense networks that Core ML, and finetuned, can update.

Made for base models of one's own and for tests.  Names and training inputs follow the conventions of
coremltools' `NeuralNetworkBuilder`; batch size and epochs get ranges, so that a run may choose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import Color, FloatArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPECIFICATION_VERSION = 4
ACTIVATIONS = ("ReLU", "sigmoid", "tanh")
COLORS = {
    Color.grayscale: pb.ImageFeatureType.GRAYSCALE,
    Color.rgb: pb.ImageFeatureType.RGB,
    Color.bgr: pb.ImageFeatureType.BGR,
}
DTYPES = {
    "DOUBLE": pb.ArrayFeatureType.DOUBLE,
    "FLOAT32": pb.ArrayFeatureType.FLOAT32,
    "INT32": pb.ArrayFeatureType.INT32,
}


# ── what a model is made of ─────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A fully connected layer: y = weights · x + bias, weights [outputs, inputs], bias [outputs]."""

    weights: FloatArray
    bias: FloatArray | None = None
    updatable: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """`kind` is ReLU, sigmoid or tanh."""

    kind: str
    name: str = ""


Layer = Dense | Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """An image; the network sees scale · pixel + bias, flattened row by row, channel by channel."""

    width: int
    height: int
    color: Color = Color.grayscale
    scale: float = 1 / 255
    bias: float = 0.0
    name: str = "image"

    @property
    def size(self) -> int:
        """Return how many numbers the first dense layer gets."""
        return self.width * self.height * (1 if self.color is Color.grayscale else 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayInput:
    """A vector of `size` numbers; `dtype` is Core ML's word (DOUBLE, FLOAT32, INT32)."""

    size: int
    dtype: str = "DOUBLE"
    name: str = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A parameter's default and the range that a run may choose from, both ends included."""

    default: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    learning_rate: Limits = Limits(default=0.01, minimum=0, maximum=1)
    batch: Limits = Limits(default=8, minimum=1, maximum=1024)
    momentum: Limits = Limits(default=0, minimum=0, maximum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam, with coremltools' defaults."""

    learning_rate: Limits = Limits(default=0.01, minimum=0, maximum=1)
    batch: Limits = Limits(default=8, minimum=1, maximum=1024)
    beta1: Limits = Limits(default=0.9, minimum=0, maximum=1)
    beta2: Limits = Limits(default=0.999, minimum=0, maximum=1)
    eps: Limits = Limits(default=1e-8, minimum=0, maximum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the model is updated, unless a run says otherwise."""

    optimizer: SGD | Adam = field(default_factory=SGD)
    epochs: Limits = Limits(default=10, minimum=1, maximum=10_000)
    shuffle: bool = True
    seed: int | None = None


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def classifier(  # noqa: PLR0913 - the parts of a model, by name
    *,
    input: ImageInput | ArrayInput,  # noqa: A002 - Core ML's word
    layers: Sequence[Layer],
    labels: Sequence[str] | Sequence[int],
    training: Training | None = None,
    label: str = "label",
    probabilities: str = "labelProbability",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return an `.mlmodel`: the layers, a softmax over `labels`, and cross entropy when it is updatable.

    Training inputs are the input and `label`; without `training` the model is not updatable.
    """
    model = _model(input, metadata or {})
    network = model.neuralNetworkClassifier
    logits = _add_layers(network, input, layers)
    softmax = network.layers.add(name="softmax", input=[logits], output=[probabilities])
    softmax.softmax.SetInParent()
    network.labelProbabilityLayerName = probabilities
    _add_labels(model, labels, label, probabilities)
    if training is not None:
        _add_training(model, network, training)
        loss = network.updateParams.lossLayers.add(name="lossLayer").categoricalCrossEntropyLossLayer
        loss.input, loss.target = probabilities, f"{probabilities}_true"
        model.description.trainingInput.add(name=label, type=model.description.output[1].type)
    return model.SerializeToString(deterministic=True)


def regressor(
    *,
    input: ImageInput | ArrayInput,  # noqa: A002 - Core ML's word
    layers: Sequence[Layer],
    training: Training | None = None,
    output: str = "output",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return an `.mlmodel` whose last layer is the output, trained on the mean squared error.

    Its training inputs are the input and `<output>_true`; without `training` it is not updatable.
    """
    model = _model(input, metadata or {})
    network = model.neuralNetwork
    width = _width(input, layers)
    _add_layers(network, input, layers)
    network.layers[-1].output[0] = output
    _add_array(model.description.output.add(name=output), width, "DOUBLE")
    if training is not None:
        _add_training(model, network, training)
        loss = network.updateParams.lossLayers.add(name="lossLayer").meanSquaredErrorLossLayer
        loss.input, loss.target = output, f"{output}_true"
        _add_array(model.description.trainingInput.add(name=loss.target), width, "DOUBLE")
    return model.SerializeToString(deterministic=True)


# ── helpers ─────────────────────────────────────────────────────────────────────────────────────
Body = pb.NeuralNetwork | pb.NeuralNetworkClassifier


def _model(source: ImageInput | ArrayInput, metadata: Mapping[str, str]) -> pb.Model:
    model = pb.Model(specificationVersion=SPECIFICATION_VERSION)
    feature = model.description.input.add(name=source.name)
    if isinstance(source, ArrayInput):
        _add_array(feature, source.size, source.dtype)
    else:
        image = feature.type.imageType
        image.width, image.height = source.width, source.height
        image.colorSpace = COLORS[source.color]
    for key, text in metadata.items():
        _add_metadata(model.description.metadata, key, text)
    return model


def _add_metadata(message: pb.Metadata, key: str, text: str) -> None:
    """Fill one of Apple's four fields, or an entry of the user's own."""
    if key in {"shortDescription", "versionString", "author", "license"}:
        setattr(message, key, text)
    else:
        message.userDefined[key] = text


def _add_array(feature: pb.FeatureDescription, size: int, dtype: str) -> None:
    feature.type.multiArrayType.shape.append(size)
    feature.type.multiArrayType.dataType = DTYPES[dtype]


def _add_labels(
    model: pb.Model, labels: Sequence[str] | Sequence[int], label: str, probabilities: str
) -> None:
    chances = model.description.output.add(name=probabilities).type.dictionaryType
    prediction = model.description.output.add(name=label).type
    network = model.neuralNetworkClassifier
    for value in labels:
        if isinstance(value, str):
            network.stringClassLabels.vector.append(value)
        else:
            network.int64ClassLabels.vector.append(value)
    if network.HasField("int64ClassLabels"):
        chances.int64KeyType.SetInParent()
        prediction.int64Type.SetInParent()
    else:
        chances.stringKeyType.SetInParent()
        prediction.stringType.SetInParent()
    model.description.predictedFeatureName = label
    model.description.predictedProbabilitiesName = probabilities


def _width(source: ImageInput | ArrayInput, layers: Sequence[Layer]) -> int:
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    return int(dense[-1].weights.shape[0]) if dense else source.size


def _add_layers(network: Body, source: ImageInput | ArrayInput, layers: Sequence[Layer]) -> str:
    """Add the layers in a chain; return the name of the last blob."""
    blob, width = source.name, source.size
    if isinstance(source, ImageInput):
        _add_scaler(network, source)
        network.layers.add(name="flatten", input=[blob], output=["flat"]).flatten.SetInParent()
        blob = "flat"
    for number, layer in enumerate(layers, start=1):
        kind = "dense" if isinstance(layer, Dense) else layer.kind.lower()
        name = layer.name or f"{kind}_{number}"
        entry = network.layers.add(name=name, input=[blob], output=[f"{name}_output"])
        if isinstance(layer, Dense):
            _fill_dense(entry, layer, width)
            width = layer.weights.shape[0]
        else:
            _fill_activation(entry, layer)
        blob = entry.output[0]
    return blob


def _add_scaler(network: Body, source: ImageInput) -> None:
    scaler = network.preprocessing.add(featureName=source.name).scaler
    scaler.channelScale = source.scale
    scaler.redBias = scaler.greenBias = scaler.blueBias = scaler.grayBias = source.bias


def _fill_dense(entry: pb.NeuralNetworkLayer, layer: Dense, inputs: int) -> None:
    outputs = layer.weights.shape[0]
    if layer.weights.shape != (outputs, inputs):
        raise ValueError(f"{entry.name}: weights of shape {layer.weights.shape} cannot take {inputs} numbers")
    if layer.bias is not None and layer.bias.shape != (outputs,):
        raise ValueError(f"{entry.name}: a bias of shape {layer.bias.shape} does not fit {outputs} outputs")
    params = entry.innerProduct
    entry.isUpdatable = layer.updatable
    params.inputChannels, params.outputChannels = inputs, outputs
    _fill_weights(params.weights, layer.weights, updatable=layer.updatable)
    if layer.bias is not None:
        params.hasBias = True
        _fill_weights(params.bias, layer.bias, updatable=layer.updatable)


def _fill_weights(message: pb.WeightParams, values: FloatArray, *, updatable: bool) -> None:
    message.floatValue = np.ascontiguousarray(values, "<f4").tobytes()
    message.isUpdatable = updatable


def _fill_activation(entry: pb.NeuralNetworkLayer, layer: Activation) -> None:
    if layer.kind not in ACTIVATIONS:
        raise ValueError(f"{entry.name}: {layer.kind!r} is not one of {', '.join(ACTIVATIONS)}")
    getattr(entry.activation, layer.kind).SetInParent()


# ── training ────────────────────────────────────────────────────────────────────────────────────
def _add_training(model: pb.Model, network: Body, training: Training) -> None:
    """Mark the model, write optimizer and epochs, and list the model's input as a training input."""
    model.isUpdatable = True
    model.description.trainingInput.add().CopyFrom(model.description.input[0])
    add_update_parameters(network.updateParams, training)


def add_update_parameters(update: pb.NetworkUpdateParameters, training: Training) -> None:
    """Write optimizer, epochs, shuffle and seed."""
    if isinstance(training.optimizer, SGD):
        _fill_sgd(update.optimizer.sgdOptimizer, training.optimizer)
    else:
        _fill_adam(update.optimizer.adamOptimizer, training.optimizer)
    _fill_whole(update.epochs, training.epochs)
    update.shuffle.defaultValue = training.shuffle
    if training.seed is not None:
        update.seed.defaultValue = training.seed


def _fill_sgd(message: pb.SGDOptimizer, optimizer: SGD) -> None:
    _fill_real(message.learningRate, optimizer.learning_rate)
    _fill_whole(message.miniBatchSize, optimizer.batch)
    _fill_real(message.momentum, optimizer.momentum)


def _fill_adam(message: pb.AdamOptimizer, optimizer: Adam) -> None:
    _fill_real(message.learningRate, optimizer.learning_rate)
    _fill_whole(message.miniBatchSize, optimizer.batch)
    _fill_real(message.beta1, optimizer.beta1)
    _fill_real(message.beta2, optimizer.beta2)
    _fill_real(message.eps, optimizer.eps)


def _fill_real(message: pb.DoubleParameter, limits: Limits) -> None:
    message.defaultValue = limits.default
    message.range.minValue, message.range.maxValue = limits.minimum, limits.maximum


def _fill_whole(message: pb.Int64Parameter, limits: Limits) -> None:
    message.defaultValue = int(limits.default)
    message.range.minValue, message.range.maxValue = int(limits.minimum), int(limits.maximum)
