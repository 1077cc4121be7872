"""Networks from raw layers for tests: whatever the format can say, valid or not.

`tests/builders.py` makes whole models as users have them; here a layer is a message of its own, put into a
chain (or wired by hand), as a plain network, a classifier or something to train.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.spec.model import Model

Pair = tuple[int, int]
Layer = pb.NeuralNetworkLayer

INPUT = "x"
TARGET = "target"


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:  # noqa: ANN401 - an array of either precision
    """Return float32 numbers around zero."""
    return np.random.default_rng([seed, *shape]).normal(scale=scale, size=shape).astype(np.float32)


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def dense(outputs: int, inputs: int, *, bias: bool = True, updatable: bool = False, seed: int = 0) -> Layer:
    """Return an inner product with random weights."""
    layer = Layer(isUpdatable=updatable)
    params = layer.innerProduct
    params.inputChannels, params.outputChannels, params.hasBias = inputs, outputs, bias
    fill(params.weights, numbers(outputs, inputs, seed=seed, scale=inputs**-0.5), updatable=updatable)
    if bias:
        fill(params.bias, numbers(outputs, seed=seed), updatable=updatable)
    return layer


def fill(message: pb.WeightParams, values: Any, *, updatable: bool = False) -> None:  # noqa: ANN401 - as above
    """Write float32 weights."""
    message.floatValue = np.ascontiguousarray(values, "<f4").tobytes()
    message.isUpdatable = updatable


def activation(kind: str, **scalars: float) -> Layer:
    """Return an activation by Apple's name, with its alpha and beta."""
    layer = Layer()
    message = getattr(layer.activation, kind)
    message.SetInParent()
    for name, value in scalars.items():
        setattr(message, name, value)
    return layer


def convolution(  # noqa: PLR0913 - what the format has, by name
    outputs: int,
    inputs: int,
    *,
    kernel: Pair = (3, 3),
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
    bias: bool = True,
    padding: str | tuple[Pair, Pair] = ((0, 0), (0, 0)),
    updatable: bool = False,
    seed: int = 0,
) -> Layer:
    """Return a convolution with random weights; `padding` as `pad` takes it."""
    layer = Layer(isUpdatable=updatable)
    params = layer.convolution
    params.outputChannels, params.kernelChannels, params.nGroups = outputs, inputs // groups, groups
    params.kernelSize[:], params.stride[:], params.dilationFactor[:] = kernel, stride, dilation
    fill(params.weights, numbers(outputs, inputs // groups, *kernel, seed=seed), updatable=updatable)
    params.hasBias = bias
    if bias:
        fill(params.bias, numbers(outputs, seed=seed), updatable=updatable)
    pad(params, padding)
    return layer


def deconvolution(outputs: int, inputs: int, *, size: Pair | None = None, **options: Any) -> Layer:  # noqa: ANN401 - those of a convolution
    """Return a deconvolution with random weights; `size` is its outputShape."""
    layer = convolution(outputs, inputs, **options)
    params = layer.convolution
    params.isDeconvolution, params.kernelChannels = True, inputs
    shape = (inputs, outputs // params.nGroups, *params.kernelSize)
    fill(params.weights, numbers(*shape), updatable=layer.isUpdatable)
    if size is not None:
        params.outputShape[:] = size
    return layer


def pooling(  # noqa: PLR0913 - what the format has, by name
    kind: str,
    *,
    kernel: Pair = (2, 2),
    stride: Pair = (2, 2),
    padding: str | tuple[Pair, Pair] = ((0, 0), (0, 0)),
    last_pixel: Pair | None = None,
    exclude_padding: bool = False,
    everywhere: bool = False,
) -> Layer:
    """Return a pooling layer: MAX, AVERAGE or L2."""
    layer = Layer()
    params = layer.pooling
    params.type = getattr(pb.PoolingLayerParams, kind)
    params.kernelSize[:], params.stride[:] = kernel, stride
    params.avgPoolExcludePadding, params.globalPooling = exclude_padding, everywhere
    if last_pixel is None:
        pad(params, padding)
    else:
        params.includeLastPixel.paddingAmounts[:] = last_pixel
    return layer


def pad(params: Any, padding: str | tuple[Pair, Pair]) -> None:  # noqa: ANN401 - of a convolution or a pooling
    """Write `BOTTOM_RIGHT_HEAVY` or `TOP_LEFT_HEAVY`, or ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        params.same.asymmetryMode = getattr(pb.SamePadding, padding)
        return
    for start, end in padding:
        params.valid.paddingAmounts.borderAmounts.add(startEdgeSize=start, endEdgeSize=end)


def flatten(*, channel_last: bool = False) -> Layer:
    """Return a flatten layer."""
    layer = Layer()
    layer.flatten.mode = (
        pb.FlattenLayerParams.CHANNEL_LAST if channel_last else pb.FlattenLayerParams.CHANNEL_FIRST
    )
    return layer


def softmax() -> Layer:
    """Return a softmax over the channels."""
    layer = Layer()
    layer.softmax.SetInParent()
    return layer


def clip(low: float, high: float) -> Layer:
    """Return min(max(x, low), high)."""
    layer = Layer()
    layer.clip.minVal, layer.clip.maxVal = low, high
    return layer


def add(*inputs: str, alpha: float = 0.0) -> Layer:
    """Return the sum of these blobs, or of the one before and alpha."""
    layer = Layer(input=inputs)
    layer.add.alpha = alpha
    layer.add.SetInParent()
    return layer


def chained(layers: Sequence[Layer], first: str = INPUT) -> list[Layer]:
    """Name the layers l0, l1 …, their outputs likewise, and let each read the one before, unless it says otherwise."""
    before = first
    for number, layer in enumerate(layers):
        layer.name = layer.name or f"l{number}"
        if not layer.input:
            layer.input.append(before)
        if not layer.output:
            layer.output.append(layer.name)
        before = layer.output[0]
    return list(layers)


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def network(layers: Sequence[Layer], shape: Sequence[int]) -> pb.Model:
    """Return a plain network of a chain of layers: input `x`, and the last layer's output."""
    message = pb.Model(specificationVersion=4)
    array_feature(message.description.input.add(name=INPUT), shape)
    message.neuralNetwork.layers.extend(chained(layers))
    array_feature(message.description.output.add(name=layers[-1].output[0]), ())
    return message


def array_feature(feature: pb.FeatureDescription, shape: Sequence[int]) -> None:
    """Make the feature an array of doubles."""
    feature.type.multiArrayType.shape.extend(shape)
    feature.type.multiArrayType.dataType = pb.ArrayFeatureType.DOUBLE


def image_network(layers: Sequence[Layer], *, color: str, width: int, height: int) -> pb.Model:
    """Return a plain network whose input `x` is an image."""
    message = network(layers, ())
    image = message.description.input[0].type.imageType
    image.width, image.height = width, height
    image.colorSpace = getattr(pb.ImageFeatureType, color)
    return message


def trainable(
    layers: Sequence[Layer], shape: Sequence[int], *, optimizer: str = "sgdOptimizer", **parameters: float
) -> pb.Model:
    """Return an updatable network: cross entropy where the last layer is a softmax, else the squared error.

    The parameters (Apple's names; learningRate .1, miniBatchSize 4, epochs 2, shuffle, no seed) have no limits.
    """
    message = network(layers, shape)
    message.isUpdatable = True
    message.description.trainingInput.add().CopyFrom(message.description.input[0])
    update = message.neuralNetwork.updateParams
    _add_loss(message, update, layers[-1])
    _add_parameters(update, optimizer, parameters)
    return message


def _add_loss(message: pb.Model, update: pb.NetworkUpdateParameters, last: Layer) -> None:
    name = last.output[0]
    loss = update.lossLayers.add(name="loss")
    entropy = last.HasField("softmax")
    kind = loss.categoricalCrossEntropyLossLayer if entropy else loss.meanSquaredErrorLossLayer
    kind.input, kind.target = name, TARGET
    dense_layers = [layer for layer in message.neuralNetwork.layers if layer.HasField("innerProduct")]
    width = 1 if entropy or not dense_layers else dense_layers[-1].innerProduct.outputChannels
    array_feature(message.description.trainingInput.add(name=TARGET), (width,))


def _add_parameters(update: pb.NetworkUpdateParameters, optimizer: str, parameters: dict[str, float]) -> None:
    defaults = {"learningRate": 0.1, "miniBatchSize": 4, "epochs": 2, "shuffle": True}
    if optimizer == "adamOptimizer":
        defaults |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    values = defaults | parameters
    for name in ("epochs", "shuffle", "seed"):
        if name in values:
            getattr(update, name).defaultValue = values.pop(name)
    message = getattr(update.optimizer, optimizer)
    for name, value in values.items():
        getattr(message, name).defaultValue = value


def decoded(message: pb.Model) -> Model:
    """Return the model as values."""
    return codec.decode(message.SerializeToString(deterministic=True))
