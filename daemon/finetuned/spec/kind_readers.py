"""From the messages of layers without trainable weights to `kinds`, one reader a type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import weights
from finetuned.spec.kinds import (
    LRN,
    Batchnorm,
    Bias,
    Concat,
    Crop,
    Embedding,
    Kind,
    L2Normalize,
    Multiply,
    Pad,
    Permute,
    Reduce,
    Reshape,
    Scale,
    Slice,
    Unary,
    Upsample,
)
from finetuned.spec.reading import borders, named, pair, size, sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.spec import coreml_pb2 as pb

_BATCHNORM_EPSILON = 1e-5
_EPSILON = 1e-6
_CHANNEL_SHAPES = (1, 3)
"""Ranks of [1] or [C], and of [1, H, W] or [C, H, W]."""


# ── one number per channel ──────────────────────────────────────────────────────────────────────
def _batchnorm(message: pb.NeuralNetworkLayer) -> Batchnorm:
    params = message.batchnorm
    computed = params.computeMeanVar or params.instanceNormalization
    return Batchnorm(
        channels=size(params.channels, "channels"),
        epsilon=params.epsilon or _BATCHNORM_EPSILON,
        computed=computed,
        gamma=weights.read(params.gamma),
        beta=weights.read(params.beta),
        mean=None if computed else weights.read(params.mean),
        variance=None if computed else weights.read(params.variance),
    )


def _scale(message: pb.NeuralNetworkLayer) -> Scale:
    params = message.scale
    return Scale(
        shape=sizes(params.shapeScale, _CHANNEL_SHAPES, "shapeScale"),
        scale=weights.read(params.scale),
        bias_shape=sizes(params.shapeBias, _CHANNEL_SHAPES, "shapeBias") if params.hasBias else (),
        bias=weights.read(params.bias) if params.hasBias else None,
    )


def _bias(message: pb.NeuralNetworkLayer) -> Bias:
    return Bias(
        shape=sizes(message.bias.shape, _CHANNEL_SHAPES, "shape"), bias=weights.read(message.bias.bias)
    )


def _embedding(message: pb.NeuralNetworkLayer) -> Embedding:
    params = message.embedding
    return Embedding(
        words=size(params.inputDim, "inputDim"),
        output_channels=size(params.outputChannels, "outputChannels"),
        weights=weights.read(params.weights),
        bias=weights.read(params.bias) if params.hasBias else None,
    )


# ── order ───────────────────────────────────────────────────────────────────────────────────────
def _reshape(message: pb.NeuralNetworkLayer) -> Reshape:
    params = message.reshape
    order = named(params, params.mode, "ReshapeOrder", "order")
    shape = sizes(params.targetShape, (3, 4), "targetShape")
    return Reshape(shape=shape, channel_last=order == "CHANNEL_LAST")


def _permute(message: pb.NeuralNetworkLayer) -> Permute:
    axes = tuple(int(axis) for axis in message.permute.axis) or (0, 1, 2, 3)
    if sorted(axes) != [0, 1, 2, 3]:
        raise ModelError(f"axis is {list(axes)}; an order of 0, 1, 2, 3 is allowed")
    sequence, channels, rows, columns = axes
    return Permute(axes=(sequence, channels, rows, columns))


def _padding(message: pb.NeuralNetworkLayer) -> Pad:
    params = message.padding
    mode = params.WhichOneof("PaddingType")
    if mode is None:
        raise ModelError("the padding has no known type; constant, reflection and replication are allowed")
    amounts = borders(params.paddingAmounts, "padding")
    return Pad(mode=mode, amounts=amounts, value=params.constant.value)


def _upsample(message: pb.NeuralNetworkLayer) -> Upsample:
    params = message.upsample
    if params.fractionalScalingFactor:
        raise ModelError("fractionalScalingFactor is set; finetuned enlarges by whole factors only")
    return Upsample(
        factors=pair(params.scalingFactor, 1, "scalingFactor"),
        mode=named(params, params.mode, "InterpolationMode", "interpolation mode"),
    )


def _crop(message: pb.NeuralNetworkLayer) -> Crop:
    params = message.crop
    rows, columns = params.offset if len(params.offset) == 2 else (0, 0)  # noqa: PLR2004 - height, width
    return Crop(amounts=borders(params.cropAmounts, "crop"), offset=(int(rows), int(columns)))


def _slice(message: pb.NeuralNetworkLayer) -> Slice:
    params = message.slice
    named(params, params.axis, "SliceAxis", "slice axis")
    return Slice(
        axis=int(params.axis),
        start=params.startIndex,
        end=params.endIndex,
        stride=size(params.stride, "stride"),
    )


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────
def _unary(message: pb.NeuralNetworkLayer) -> Unary:
    params = message.unary
    return Unary(
        type=named(params, params.type, "Operation", "unary function"),
        alpha=params.alpha,
        epsilon=params.epsilon or _EPSILON,
        shift=params.shift,
        scale=params.scale or 1.0,
    )


_REDUCED = {"CHW": (0, 1, 2), "HW": (1, 2), "C": (0,), "H": (1,), "W": (2,)}


def _reduce(message: pb.NeuralNetworkLayer) -> Reduce:
    params = message.reduce
    return Reduce(
        mode=named(params, params.mode, "ReduceOperation", "reduction"),
        axes=_REDUCED[named(params, params.axis, "ReduceAxis", "axis")],
    )


def _lrn(message: pb.NeuralNetworkLayer) -> LRN:
    params = message.lrn
    return LRN(
        alpha=params.alpha,
        beta=params.beta,
        size=size(params.localSize, "localSize"),
        k=params.k or 1.0,
    )


READERS: Mapping[str, Callable[[pb.NeuralNetworkLayer], Kind]] = {
    "batchnorm": _batchnorm,
    "scale": _scale,
    "bias": _bias,
    "embedding": _embedding,
    "multiply": lambda message: Multiply(alpha=message.multiply.alpha),
    "concat": lambda message: Concat(sequence=message.concat.sequenceConcat),
    "reshape": _reshape,
    "permute": _permute,
    "padding": _padding,
    "upsample": _upsample,
    "crop": _crop,
    "slice": _slice,
    "unary": _unary,
    "reduce": _reduce,
    "l2normalize": lambda message: L2Normalize(epsilon=message.l2normalize.epsilon or _EPSILON),
    "lrn": _lrn,
}
