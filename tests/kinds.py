"""Layers without trainable weights for tests, one builder a type; `networks` chains them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import networks as n
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

Pair = n.Pair
Layer = n.Layer


def batchnorm(channels: int, *, epsilon: float = 0.0, seed: int = 0) -> Layer:
    """Return a batch normalisation with random averages."""
    layer = Layer()
    params = layer.batchnorm
    params.channels, params.epsilon = channels, epsilon
    for number, message in enumerate((params.gamma, params.beta, params.mean)):
        n.fill(message, n.numbers(channels, seed=seed + number))
    n.fill(params.variance, n.numbers(channels, seed=seed) ** 2)
    return layer


def scale(shape: Sequence[int], bias_shape: Sequence[int] = ()) -> Layer:
    """Return y = scale · x, + bias where it has a shape."""
    layer = Layer()
    layer.scale.shapeScale[:], layer.scale.shapeBias[:] = shape, bias_shape
    n.fill(layer.scale.scale, n.numbers(*shape))
    layer.scale.hasBias = bool(bias_shape)
    if bias_shape:
        n.fill(layer.scale.bias, n.numbers(*bias_shape, seed=1))
    return layer


def bias(*shape: int) -> Layer:
    """Return y = x + bias."""
    layer = Layer()
    layer.bias.shape[:] = shape
    n.fill(layer.bias.bias, n.numbers(*shape))
    return layer


def slopes(kind: str, count: int) -> Layer:
    """Return a PReLU or a parametricSoftplus with `count` numbers of each sort."""
    layer = Layer()
    params = getattr(layer.activation, kind)
    n.fill(params.alpha, n.numbers(count))
    if kind == "parametricSoftplus":
        n.fill(params.beta, n.numbers(count, seed=1))
    return layer


def merge(kind: str, *inputs: str, **fields: float) -> Layer:
    """Return a layer that takes these blobs (`add`, `multiply`, `concat`, `max` …), or the one before."""
    layer = Layer(input=inputs)
    message = getattr(layer, kind)
    message.SetInParent()
    for name, value in fields.items():
        setattr(message, name, value)
    return layer


def embedding(words: int, outputs: int, *, bias: bool = True) -> Layer:
    """Return an embedding with random weights."""
    layer = Layer()
    params = layer.embedding
    params.inputDim, params.outputChannels, params.hasBias = words, outputs, bias
    n.fill(params.weights, n.numbers(outputs, words))
    if bias:
        n.fill(params.bias, n.numbers(outputs))
    return layer


def reshape(*shape: int, channel_last: bool = False) -> Layer:
    """Return a reshape to [C, H, W] or [S, C, H, W]."""
    layer = Layer()
    layer.reshape.targetShape[:], layer.reshape.mode = shape, int(channel_last)  # type: ignore[assignment]  # an enum
    return layer


def permute(*axes: int) -> Layer:
    """Return a permute of [S, C, H, W]."""
    layer = Layer()
    layer.permute.axis[:] = axes
    layer.permute.SetInParent()
    return layer


def padding(kind: str, rows: Pair, columns: Pair, value: float = 0.0) -> Layer:
    """Return a padding: constant, reflection or replication."""
    layer = Layer()
    getattr(layer.padding, kind).SetInParent()
    if value:
        layer.padding.constant.value = value
    _borders(layer.padding.paddingAmounts, rows, columns)
    return layer


def upsample(rows: int, columns: int) -> Layer:
    """Return a nearest-neighbour upsampling."""
    layer = Layer()
    layer.upsample.scalingFactor[:] = (rows, columns)
    return layer


def crop(rows: Pair, columns: Pair) -> Layer:
    """Return a crop of borders."""
    layer = Layer()
    _borders(layer.crop.cropAmounts, rows, columns)
    return layer


def cut(axis: str, start: int, end: int, stride: int = 1) -> Layer:
    """Return a slice along CHANNEL, HEIGHT or WIDTH."""
    layer = Layer()
    params = layer.slice
    params.axis = getattr(pb.SliceLayerParams, f"{axis}_AXIS")
    params.startIndex, params.endIndex, params.stride = start, end, stride
    return layer


def unary(kind: str, **fields: float) -> Layer:
    """Return a unary function."""
    return merge("unary", type=getattr(pb.UnaryFunctionLayerParams, kind), **fields)


def reduce(mode: str, axis: str) -> Layer:
    """Return a reduction."""
    return merge("reduce", mode=getattr(pb.ReduceLayerParams, mode), axis=getattr(pb.ReduceLayerParams, axis))


def _borders(message: Any, rows: Pair, columns: Pair) -> None:  # noqa: ANN401 - as the format has it
    for start, end in (rows, columns):
        message.borderAmounts.add(startEdgeSize=start, endEdgeSize=end)
