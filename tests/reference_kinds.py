"""The oracle's layers without trainable weights: float64 NumPy, written from NeuralNetwork.proto.

Blobs are [N, C, H, W], [N, C], or [N, S, C, H, W] where there is a sequence.  What the format counts in five axes is done in
five, [S, B, C, H, W].
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from finetuned.spec import coreml_pb2 as pb

Array = Any


def floats(message: pb.WeightParams) -> Array:
    """Return the weights of a message in float64."""
    return np.frombuffer(message.floatValue, "<f4").astype(np.float64)


# ── five axes ───────────────────────────────────────────────────────────────────────────────────
def in_five(x: Array) -> Array:
    """Return [S, B, C, H, W]."""
    if x.ndim == 5:
        return np.swapaxes(x, 0, 1)
    return x[None, :, :, None, None] if x.ndim == 2 else x[None]


def out_of_five(y: Array) -> Array:
    """Return a sequence, an image, or where H = W = 1 a vector."""
    if len(y) > 1:
        return np.swapaxes(y, 0, 1)
    return y[0, :, :, 0, 0] if y.shape[3:] == (1, 1) else y[0]


def spread(x: Array, numbers: Array, shape: Iterable[int]) -> Array:
    """Return numbers of the shape [1], [C], [1, H, W] or [C, H, W] as they lie on `x`."""
    numbers = numbers.reshape(*shape)
    whole = numbers.reshape(-1, 1, 1) if numbers.ndim == 1 else numbers
    return whole[:, 0, 0] if x.ndim == 2 else whole


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _batchnorm(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p, x = layer.batchnorm, inputs[0]
    gamma, beta, mean, variance = (
        spread(x, floats(each), (-1,)) for each in (p.gamma, p.beta, p.mean, p.variance)
    )
    return gamma * (x - mean) / np.sqrt(variance + (p.epsilon or 1e-5)) + beta


def _scale(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p, x = layer.scale, inputs[0]
    y = x * spread(x, floats(p.scale), p.shapeScale)
    return y + spread(x, floats(p.bias), p.shapeBias) if p.hasBias else y


def _bias(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    return inputs[0] + spread(inputs[0], floats(layer.bias.bias), layer.bias.shape)


def _embedding(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p, x = layer.embedding, in_five(inputs[0])
    assert x.shape[2:] == (1, 1, 1)
    columns = floats(p.weights).reshape(p.outputChannels, p.inputDim)[:, x[:, :, 0, 0, 0].astype(int)]
    y = np.moveaxis(columns, 0, 2)[..., None, None]
    return out_of_five(y + (floats(p.bias).reshape(-1, 1, 1) if p.hasBias else 0))


def _permute(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    """The batch stays where it is: axis 1."""
    sequence, *image = [axis + (axis > 0) for axis in (layer.permute.axis or (0, 1, 2, 3))]
    return out_of_five(np.transpose(in_five(inputs[0]), (sequence, 1, *image)))


def _reshape(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p, x = layer.reshape, in_five(inputs[0])
    steps, (c, h, w) = p.targetShape[:-3] or [len(x)], p.targetShape[-3:]
    x = np.swapaxes(x, 0, 1)  # samples outermost
    if p.mode == 0:
        y = x.reshape(len(x), *steps, c, h, w)
    else:
        y = np.moveaxis(np.moveaxis(x, 2, 4).reshape(len(x), *steps, h, w, c), 4, 2)
    return out_of_five(np.swapaxes(y, 0, 1))


def _flatten(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    x = in_five(inputs[0])
    x = np.moveaxis(x, 2, 4) if layer.flatten.mode == 1 else x
    return out_of_five(x.reshape(*x.shape[:2], prod(x.shape[2:]), 1, 1))


def _concat(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    axis = 0 if layer.concat.sequenceConcat else 2
    return out_of_five(np.concatenate([in_five(x) for x in inputs], axis=axis))


def _merged(
    combine: Callable[[Array, Array], Array],
) -> Callable[[pb.NeuralNetworkLayer, list[Array]], Array]:
    def rule(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
        if len(inputs) == 1:
            return inputs[0] * layer.multiply.alpha
        total, *others = [in_five(x) for x in inputs]
        for x in others:
            total = combine(total, x)
        return total[0] if any(x.ndim == 4 for x in inputs) else out_of_five(total)

    return rule


def _average(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    return _merged(np.add)(layer, inputs) / len(inputs)


def _padding(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p = layer.padding
    amounts = [(edge.startEdgeSize, edge.endEdgeSize) for edge in p.paddingAmounts.borderAmounts]
    ends = [(0, 0), (0, 0), *amounts]
    match p.WhichOneof("PaddingType"):
        case "constant":
            return np.pad(inputs[0], ends, constant_values=p.constant.value)
        case "reflection":
            return np.pad(inputs[0], ends, mode="reflect")
        case _:
            return np.pad(inputs[0], ends, mode="edge")


def _upsample(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    rows, columns = layer.upsample.scalingFactor
    return inputs[0].repeat(rows, axis=2).repeat(columns, axis=3)


def _crop(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    height, width = inputs[0].shape[2:]
    if len(inputs) > 1:
        top, left = layer.crop.offset
        height, width = inputs[1].shape[2:]
        return inputs[0][:, :, top : top + height, left : left + width]
    (top, bottom), (left, right) = (
        (edge.startEdgeSize, edge.endEdgeSize) for edge in layer.crop.cropAmounts.borderAmounts
    )
    return inputs[0][:, :, top : height - bottom, left : width - right]


def _slice(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p = layer.slice
    places = [slice(None)] * 5
    places[2 + p.axis] = slice(p.startIndex, p.endIndex, p.stride)
    return out_of_five(in_five(inputs[0])[tuple(places)])


_FUNCTIONS: tuple[Callable[[Array, Any], Array], ...] = (
    lambda x, _: np.sqrt(x),
    lambda x, p: 1 / np.sqrt(x + (p.epsilon or 1e-6)),
    lambda x, p: 1 / (x + (p.epsilon or 1e-6)),
    lambda x, p: x**p.alpha,
    lambda x, _: np.exp(x),
    lambda x, _: np.log(x),
    lambda x, _: np.abs(x),
    lambda x, p: np.maximum(p.alpha, x),
)


def _unary(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p = layer.unary
    return _FUNCTIONS[p.type]((p.scale or 1.0) * inputs[0] + p.shift, p)


_REDUCTIONS: dict[int, Callable[..., Array]] = {
    0: np.sum,
    1: np.mean,
    4: lambda x, **how: np.sum(x**2, **how),
    5: lambda x, **how: np.sum(np.abs(x), **how),
    6: lambda x, **how: np.sqrt(np.sum(x**2, **how)),
    7: np.max,
    8: np.min,
}
_AXES = ((1, 2, 3), (2, 3), (1,), (2,), (3,))


def _reduce(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p = layer.reduce
    return _REDUCTIONS[p.mode](in_five(inputs[0])[0], axis=_AXES[p.axis], keepdims=True)


def _l2normalize(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    x = inputs[0]
    squares = (x**2).reshape(len(x), -1).sum(axis=1).reshape(-1, *[1] * (x.ndim - 1))
    return x / np.sqrt(squares + (layer.l2normalize.epsilon or 1e-6))


def _lrn(layer: pb.NeuralNetworkLayer, inputs: list[Array]) -> Array:
    p, x = layer.lrn, inputs[0]
    half, y = p.localSize // 2, np.zeros_like(inputs[0])
    for channel in range(x.shape[1]):
        squares = (x[:, max(channel - half, 0) : channel + half + 1] ** 2).sum(axis=1)
        y[:, channel] = x[:, channel] / ((p.k or 1) + p.alpha / p.localSize * squares) ** p.beta
    return y


def _prelu(x: Array, p: Any) -> Array:  # noqa: ANN401 - a message
    return np.where(x >= 0, x, spread(x, floats(p.alpha), (-1,)) * x)


def _parametric_softplus(x: Array, p: Any) -> Array:  # noqa: ANN401 - a message
    alpha, beta = (spread(x, floats(each), (-1,)) for each in (p.alpha, p.beta))
    return alpha * np.log(1 + np.exp(beta * x))


ACTIVATIONS: dict[str, Callable[[Array, Any], Array]] = {
    "PReLU": _prelu,
    "parametricSoftplus": _parametric_softplus,
}

_RULES: dict[str, Callable[[pb.NeuralNetworkLayer, list[Array]], Array]] = {
    "batchnorm": _batchnorm,
    "scale": _scale,
    "bias": _bias,
    "embedding": _embedding,
    "permute": _permute,
    "reshape": _reshape,
    "flatten": _flatten,
    "concat": _concat,
    "multiply": _merged(np.multiply),
    "addBroadcastable": _merged(np.add),
    "multiplyBroadcastable": _merged(np.multiply),
    "average": _average,
    "max": _merged(np.maximum),
    "min": _merged(np.minimum),
    "padding": _padding,
    "upsample": _upsample,
    "crop": _crop,
    "slice": _slice,
    "unary": _unary,
    "reduce": _reduce,
    "l2normalize": _l2normalize,
    "lrn": _lrn,
}


def _frozen(
    rule: Callable[[pb.NeuralNetworkLayer, list[Array]], Array],
) -> Callable[[pb.NeuralNetworkLayer, list[Array], Mapping[str, Array]], Array]:
    return lambda layer, inputs, _: rule(layer, inputs)


RULES = {name: _frozen(rule) for name, rule in _RULES.items()}
