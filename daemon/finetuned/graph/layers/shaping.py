"""Layers that put numbers into another order: flatten, reshape, permute, concat; and embeddings, which look rows up.

Core ML counts [S, B, C, H, W] here; the sequence S is held only where it is longer than one, as [N, S, C, H, W] (where it
trains [S, C, H, W, N]).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.context import (
    Context,
    Lowering,
    as_image,
    batch_first,
    channel_axis,
    is_batch_last,
    stored,
)
from finetuned.graph.values import BATCH, SEQUENCE_RANK, VECTOR_RANK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.values import Value
    from finetuned.spec.kinds import Concat, Embedding, Permute, Reshape
    from finetuned.spec.model import Flatten, Layer

Sizes = tuple[int, ...]
"""[S, C, H, W]."""

_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""[S, C, H, W] to [S, H, W, C], and back."""


def _flatten(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Row-major over [C, H, W], or over [H, W, C] where the layer says so."""
    x = opened(context, inputs[0], layer)
    if cast("Flatten", layer.parameters).channel_last:
        x = _transposed(context, layer, x, _TO_LAST)
    steps, *image = x.sizes
    return closed(context, _reshaped(context, layer, x, (steps, prod(image), 1, 1)), layer)


def _reshape(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Reshape", layer.parameters)
    x = opened(context, inputs[0], layer)
    shape = p.shape if len(p.shape) == len(x.sizes) else (x.sizes[0], *p.shape)
    if not p.channel_last:
        return closed(context, _reshaped(context, layer, x, shape), layer)
    turned = _transposed(context, layer, x, _TO_LAST)
    turned = _reshaped(context, layer, turned, tuple(shape[axis] for axis in _TO_LAST))
    return closed(context, _transposed(context, layer, turned, _TO_FIRST), layer)


def _permute(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    axes = cast("Permute", layer.parameters).axes
    return closed(context, _transposed(context, layer, opened(context, inputs[0], layer), axes), layer)


def _concat(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Vectors, images or sequences one after the other; a vector among images is one of a single pixel."""
    if cast("Concat", layer.parameters).sequence:
        parts = [opened(context, x, layer) for x in _alike(context, inputs, layer)]
        axis = 0 if is_batch_last(parts[0]) else 1
    elif any(len(x.shape) == SEQUENCE_RANK for x in inputs):
        parts = [opened(context, x, layer) for x in _alike(context, inputs, layer)]
        axis = 1 if is_batch_last(parts[0]) else 2
    else:
        parts = _alike(context, inputs, layer)
        axis = channel_axis(parts[0])
    joined = context.graph.add("Concat", *parts, axis=axis, origin=layer.name)
    return closed(context, joined, layer) if len(joined.shape) == SEQUENCE_RANK else joined


def _embedding(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Row x of Wᵀ (+ b) for every x of [S, 1, 1, 1]; a number that is no word becomes NaN, never another word."""
    p, x = cast("Embedding", layer.parameters), inputs[0]
    steps, *one = _sizes(x)
    if one != [1, 1, 1]:
        raise ModelError(
            f"layer {layer.name!r} (embedding) takes one number a step, [S, 1, 1, 1]; {[steps, *one]} arrives"
        )
    rows = stored(layer, p.weights, (p.output_channels, p.words)).T
    if p.bias is not None:
        rows = rows + stored(layer, p.bias, (p.output_channels,))
    nothing = np.full((1, p.output_channels), np.nan, dtype=np.float32)
    table = context.graph.constant(f"{layer.name}.rows", np.concatenate([nothing, rows]))
    index = batch_first(context, x, (steps,), layer.name)
    found = context.graph.add("Lookup", index, table, origin=layer.name)
    return closed(context, _reshaped(context, layer, found, (steps, p.output_channels, 1, 1)), layer)


# ── five axes ───────────────────────────────────────────────────────────────────────────────────
def opened(context: Context, x: Value, layer: Layer) -> Value:
    """Return [N, S, C, H, W], or [S, C, H, W, N] where the batch lies last."""
    return _reshaped(context, layer, x, _sizes(x))


def closed(context: Context, x: Value, layer: Layer) -> Value:
    """Return a sequence as it is, and one of a single step as the image, or the vector, that it holds."""
    steps, channels, *pixels = x.sizes
    if steps > 1:
        return x
    if pixels == [1, 1]:
        return batch_first(context, x, (channels,), layer.name)
    return _reshaped(context, layer, x, (channels, *pixels))


def _sizes(x: Value) -> Sizes:
    match len(x.shape):
        case 2:
            return (1, *x.sizes, 1, 1)
        case 4:
            return (1, *x.sizes)
        case _:
            return x.sizes


def _reshaped(context: Context, layer: Layer, x: Value, sizes: Sizes) -> Value:
    shape = (*sizes, BATCH) if is_batch_last(x) else (BATCH, *sizes)
    return x if x.shape == shape else context.graph.add("Reshape", x, shape=shape, origin=layer.name)


def _transposed(context: Context, layer: Layer, x: Value, axes: Sequence[int]) -> Value:
    """Return [S, C, H, W] in another order, the batch where it is; axes of one number move without any work."""
    moved = [axis for axis in axes if x.sizes[axis] > 1]
    if moved == sorted(moved):
        return _reshaped(context, layer, x, tuple(x.sizes[axis] for axis in axes))
    perm = (*axes, len(axes)) if is_batch_last(x) else (0, *(1 + axis for axis in axes))
    return context.graph.add("Transpose", x, perm=perm, origin=layer.name)


def _alike(context: Context, inputs: list[Value], layer: Layer) -> list[Value]:
    """Return the inputs in one form: all vectors, all images, or with the batch first where a sequence is among them."""
    ranks = {len(x.shape) for x in inputs}
    if ranks == {VECTOR_RANK}:
        return inputs
    if SEQUENCE_RANK not in ranks:
        return [as_image(context, x, layer) for x in inputs]
    if len({is_batch_last(x) for x in inputs}) == 1:
        return inputs
    return [batch_first(context, x, x.sizes, layer.name) for x in inputs]


LOWERINGS: dict[str, Lowering] = {
    "flatten": _flatten,
    "reshape": _reshape,
    "permute": _permute,
    "concat": _concat,
    "embedding": _embedding,
}
