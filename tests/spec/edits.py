"""Edits that break a valid network: each one rule of the validator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import networks as n
from finetuned.spec import coreml_pb2 as pb
from spec.row import assign

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence


def network(model: pb.Model) -> pb.NeuralNetworkClassifier:
    return model.neuralNetworkClassifier


def sgd(model: pb.Model) -> pb.SGDOptimizer:
    return network(model).updateParams.optimizer.sgdOptimizer


def loss(model: pb.Model) -> pb.CategoricalCrossEntropyLossLayer:
    return network(model).updateParams.lossLayers[0].categoricalCrossEntropyLossLayer


def hidden(model: pb.Model) -> pb.InnerProductLayerParams:
    """Return the first dense layer, [8, 4]."""
    return network(model).layers[0].innerProduct


def quantize_hidden(model: pb.Model) -> None:
    weights = hidden(model).weights
    assign(weights, floatValue=b"", rawValue=bytes(32))
    weights.quantization.numberOfBits = 8
    assign(
        weights.quantization.linearQuantization, scale=np.float32(1).tobytes(), bias=np.float32(0).tobytes()
    )


def halve_hidden(model: pb.Model) -> None:
    assign(hidden(model).weights, floatValue=b"", float16Value=bytes(64))


def narrow_hidden(model: pb.Model) -> None:
    """Let the first layer take two numbers where the input has four."""
    hidden(model).inputChannels = 2
    hidden(model).weights.floatValue = bytes(4 * 8 * 2)


def use_lstm(model: pb.Model) -> None:
    """Put an LSTM in front, and mark it."""
    front = pb.NeuralNetworkLayer(name="lstm", input=["features"], output=["remembered"], isUpdatable=True)
    front.uniDirectionalLSTM.SetInParent()
    network(model).layers.insert(0, front)
    network(model).layers[1].input[0] = "remembered"


def add_twice(model: pb.Model) -> None:
    """Let two branches meet between the hidden layer and the loss."""
    layer = network(model).layers[1]
    layer.input.append(layer.input[0])
    layer.add.SetInParent()


def both(*edits: Callable[[pb.Model], object]) -> Callable[[pb.Model], None]:
    """Return the edit that makes one after the other."""

    def change(model: pb.Model) -> None:
        for edit in edits:
            edit(model)

    return change


def unmark(model: pb.Model) -> None:
    """Freeze the hidden layer; its weights stay marked."""
    network(model).layers[0].isUpdatable = False


def mark_last(model: pb.Model) -> None:
    network(model).layers[2].isUpdatable = True


def set_range(parameter: pb.DoubleParameter, default: float, low: float, high: float) -> None:
    parameter.defaultValue, parameter.range.minValue, parameter.range.maxValue = default, low, high


def unmark_all(model: pb.Model) -> None:
    for layer in network(model).layers:
        layer.isUpdatable = False


def spare(model: pb.Model) -> None:
    """Mark only a layer that the loss does not depend on."""
    aside = network(model).layers.add()
    aside.CopyFrom(network(model).layers[0])
    assign(aside, name="aside")
    aside.output[0] = "aside"
    network(model).layers[0].isUpdatable = network(model).layers[2].isUpdatable = False
    network(model).labelProbabilityLayerName = "labelProbability"


def soften_twice(model: pb.Model) -> None:
    """Feed the loss from a dense layer that follows the softmax."""
    loss(model).input = "output_output"


def drop_exclusive_input(model: pb.Model) -> None:
    target = model.description.trainingInput[1]
    target.CopyFrom(model.description.input[0])
    model.description.input.add().CopyFrom(target)
    model.description.input[1].name = target.name = "more"


def make_target_a_squared_error(model: pb.Model) -> None:
    entry = network(model).updateParams.lossLayers[0]
    entry.meanSquaredErrorLossLayer.input = "labelProbability"
    entry.meanSquaredErrorLossLayer.target = "nobody"
    network(model).layers[0].isUpdatable = network(model).layers[2].isUpdatable = False
    softmax = network(model).layers[3]
    softmax.ClearField("layer")
    softmax.activation.tanh.SetInParent()
    network(model).layers[2].isUpdatable = True


def index_target(model: pb.Model) -> None:
    """Ask for three class indices where one is needed."""
    target = model.description.trainingInput[1]
    assign(target, name="labelProbability_true")
    target.type.multiArrayType.shape.append(3)


def int_label(model: pb.Model) -> None:
    model.description.trainingInput[1].type.int64Type.SetInParent()


def sequence_input(model: pb.Model) -> None:
    """Make the input a sequence, in training, too."""
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        feature.type.sequenceType.SetInParent()


def shapeless(model: pb.Model) -> None:
    for feature in (model.description.input[0], model.description.trainingInput[0]):
        del feature.type.multiArrayType.shape[:]


def epochs(model: pb.Model) -> pb.Int64Parameter:
    return network(model).updateParams.epochs


def epochs_of(default: int, *allowed: int) -> Callable[[pb.Model], None]:
    def change(model: pb.Model) -> None:
        epochs(model).defaultValue = default
        epochs(model).set.values.extend(allowed)

    return change


# What a layer of a type needs at least, for blobs of any size.
FILLED: dict[str, Callable[[pb.NeuralNetworkLayer], object]] = {
    "PReLU": lambda layer: n.fill(layer.activation.PReLU.alpha, np.ones(1)),
    "bias": lambda layer: one_number(layer.bias.shape, layer.bias.bias),
    "scale": lambda layer: one_number(layer.scale.shapeScale, layer.scale.scale),
    "padding": lambda layer: layer.padding.constant.SetInParent(),
    "reshape": lambda layer: layer.reshape.targetShape.extend([4, 1, 1]),
    "lrn": lambda layer: assign(layer.lrn, localSize=1, alpha=1e-4, beta=0.75),
    "batchnorm": lambda layer: normalize(layer.batchnorm),
}
ACTIVATIONS = frozenset(pb.ActivationParams.DESCRIPTOR.fields_by_name)


def one_number(shape: MutableSequence[int], weights: pb.WeightParams) -> None:
    """Let one number stand for all channels."""
    shape.append(1)
    n.fill(weights, np.ones(1))


def normalize(message: pb.BatchnormLayerParams, channels: int = 4) -> None:
    """Leave all channels as they are."""
    message.channels = channels
    for name, value in {"gamma": 1, "beta": 0, "mean": 0, "variance": 1}.items():
        n.fill(getattr(message, name), np.full(channels, value))


def fill(layer: pb.NeuralNetworkLayer, kind: str) -> pb.NeuralNetworkLayer:
    """Make the layer one of this type (or an activation of this kind), with what it needs."""
    layer.ClearField("layer")
    getattr(layer.activation if kind in ACTIVATIONS else layer, kind).SetInParent()
    if kind in FILLED:
        FILLED[kind](layer)
    return layer


def use(kind: str) -> Callable[[pb.Model], object]:
    """Return the edit that puts a layer of another type between the hidden layer and the last."""
    return lambda model: fill(network(model).layers[1], kind)


def soften_with_nd(model: pb.Model) -> None:
    """End the network with softmaxND, as converters do."""
    network(model).layers[3].softmaxND.SetInParent()


def drop_from_adam(model: pb.Model, name: str) -> None:
    network(model).updateParams.optimizer.adamOptimizer.ClearField(name)


def squared_error(model: pb.Model) -> pb.MeanSquaredErrorLossLayer:
    return model.neuralNetwork.updateParams.lossLayers[0].meanSquaredErrorLossLayer


def second_loss(model: pb.Model) -> pb.LossLayer:
    """Return a loss like the first, with another name."""
    again = pb.LossLayer()
    again.CopyFrom(network(model).updateParams.lossLayers[0])
    again.name = "again"
    return again


def seed_out_of_range(model: pb.Model) -> None:
    seed = network(model).updateParams.seed
    seed.defaultValue, seed.range.minValue, seed.range.maxValue = 9, 1, 2


def rewire(model: pb.Model, layer: int, blob: str) -> None:
    network(model).layers[layer].input[0] = blob


def no_inputs(model: pb.Model) -> None:
    model.description.ClearField("input")


def no_layers(model: pb.Model) -> None:
    network(model).ClearField("layers")
    network(model).labelProbabilityLayerName = "labelProbability"


def inputs(model: pb.Model) -> tuple[pb.FeatureDescription, pb.FeatureDescription]:
    """Return the input, in prediction and in training."""
    return model.description.input[0], model.description.trainingInput[0]


def of_inputs(model: pb.Model, **fields: object) -> None:
    for feature in inputs(model):
        assign(feature.type.multiArrayType, **fields)


def shaped(model: pb.Model, *shape: int) -> None:
    for feature in inputs(model):
        feature.type.multiArrayType.shape[:] = shape


def optional_inputs(model: pb.Model) -> None:
    for feature in inputs(model):
        feature.type.isOptional = True


def int_labels(model: pb.Model) -> None:
    """Make the labels numbers, and leave the output a string."""
    network(model).int64ClassLabels.vector.extend([1, 2, 3])


def image_target(model: pb.Model) -> None:
    target = model.description.trainingInput[1]
    target.name = "labelProbability_true"
    assign(target.type.imageType, width=1, height=1, colorSpace=pb.ImageFeatureType.GRAYSCALE)


def another_input(model: pb.Model) -> None:
    """Let the loss depend on an input that samples do not have."""
    more = model.description.input.add()
    more.CopyFrom(model.description.input[0])
    more.name = "more"
    before = pb.NeuralNetworkLayer(name="sum", input=["features", "more"], output=["sum"])
    before.add.SetInParent()
    network(model).layers.insert(0, before)
    network(model).layers[1].input[0] = "sum"


def as_regressor(model: pb.Model, predicted: str = "", kind: str = "multiArrayType") -> None:
    """Make the network a neuralNetworkRegressor."""
    network = pb.NeuralNetworkRegressor.FromString(model.neuralNetwork.SerializeToString())
    model.neuralNetworkRegressor.CopyFrom(network)
    model.description.predictedFeatureName = predicted
    if kind != "multiArrayType":
        getattr(model.description.output[0].type, kind).SetInParent()


def halved_batchnorm(model: pb.Model) -> None:
    """Let a frozen layer that is never trained hold float16."""
    norm = fill(network(model).layers[1], "batchnorm").batchnorm
    assign(norm.gamma, floatValue=b"", float16Value=bytes(8))


def short_batchnorm(model: pb.Model) -> None:
    fill(network(model).layers[1], "batchnorm").batchnorm.mean.floatValue = bytes(12)
