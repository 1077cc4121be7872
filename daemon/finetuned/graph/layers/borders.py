"""Layers that make an image larger or smaller without a sum: padding, nearest-neighbour upsampling, crop and slice.

What trains is a table: where each pixel of the output comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph import tables
from finetuned.graph.context import Context, Lowering, as_image, blamed, channel_axis, is_batch_last, is_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetuned.graph.values import Array, Value
    from finetuned.spec.kinds import Crop, Pad, Slice, Upsample
    from finetuned.spec.model import Layer


# ── padding ─────────────────────────────────────────────────────────────────────────────────────
def _padding(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Pad", layer.parameters)
    x = as_image(context, inputs[0], layer)
    with blamed(layer):
        _check_reach(p, x.sizes[1:])
    if not is_batch_last(x):
        return context.graph.add("Pad", x, mode=p.mode, amounts=p.amounts, value=p.value, origin=layer.name)
    rows, columns = (
        _padded(p.mode, size, amounts) for size, amounts in zip(x.sizes[1:], p.amounts, strict=True)
    )
    y = _picked(context, layer, x, rows, columns)
    if p.mode != "constant" or not p.value:
        return y
    border = context.graph.constant(layer.name, _border(rows, columns, p.value))
    return context.graph.add("Add", y, border, origin=layer.name)


def _check_reach(p: Pad, size: tuple[int, ...]) -> None:
    """A reflection reaches no farther than the image, and no border is beyond any bounds."""
    rows, columns = (each + sum(amounts) for each, amounts in zip(size, p.amounts, strict=True))
    tables.check(rows * columns)
    for each, amounts in zip(size, p.amounts, strict=True):
        if p.mode == "reflection" and max(amounts) >= each:
            raise ValueError(f"{each} pixels cannot be reflected {max(amounts)} pixels far")


def _padded(mode: str, size: int, amounts: tuple[int, int]) -> NDArray[np.int64]:
    """Return where each pixel of an axis comes from."""
    places = np.arange(size, dtype=np.int64)
    if mode == "constant":
        return np.pad(places, amounts, constant_values=tables.NONE)
    return (
        np.pad(places, amounts, mode="reflect")
        if mode == "reflection"
        else np.pad(places, amounts, mode="edge")
    )


def _border(rows: NDArray[np.int64], columns: NDArray[np.int64], value: float) -> Array:
    """Return float32 [1, H, W, 1]: the value where nothing of the image lies, else 0."""
    outside = (rows == tables.NONE)[:, None] | (columns == tables.NONE)[None, :]
    return np.where(outside, np.float32(value), np.float32(0.0))[None, :, :, None]


# ── upsampling ──────────────────────────────────────────────────────────────────────────────────
def _upsample(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Upsample", layer.parameters)
    if p.mode != "NN":
        raise ModelError(
            f"layer {layer.name!r} (upsample) is {p.mode}; finetuned enlarges to the nearest pixel (NN) only"
        )
    x = as_image(context, inputs[0], layer)
    if not is_batch_last(x):
        return context.graph.add("Enlarge", x, factors=p.factors, origin=layer.name)
    with blamed(layer):
        tables.check(int(np.prod(x.sizes[1:])) * p.factors[0] * p.factors[1])
    rows, columns = (
        np.arange(size, dtype=np.int64).repeat(factor)
        for size, factor in zip(x.sizes[1:], p.factors, strict=True)
    )
    return _picked(context, layer, x, rows, columns)


def _picked(
    context: Context, layer: Layer, x: Value, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> Value:
    """Return the image whose pixel (i, j) is that at (rows[i], columns[j])."""
    with blamed(layer):
        table = tables.windows(rows[None], columns[None], x.sizes[2])
    size = (len(rows), len(columns))
    return context.graph.add("Collect", x, table=table, size=size, origin=layer.name)


# ── crop and slice ──────────────────────────────────────────────────────────────────────────────
def _crop(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Without its borders; or, with a second input, of its size."""
    p = cast("Crop", layer.parameters)
    x, *others = (as_image(context, each, layer) for each in inputs)
    for axis, size in enumerate(x.sizes[1:]):
        begin, end = p.amounts[axis]
        start, stop = begin, size - end
        if others:
            start = p.offset[axis]
            stop = start + others[0].sizes[1 + axis]
        x = _cut(context, layer, x, 1 + axis, start, stop)
    return x


def _slice(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Slice", layer.parameters)
    x = inputs[0] if is_image(inputs[0]) or not p.axis else as_image(context, inputs[0], layer)
    size = x.sizes[p.axis]
    start, stop = (each + size if each < 0 else each for each in (p.start, p.end))
    return _cut(context, layer, x, p.axis, start, min(stop, size), p.stride)


def _cut(context: Context, layer: Layer, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:  # noqa: PLR0913, PLR0917 - a cut
    """Cut along axis 0, 1 or 2 of [C, H, W]."""
    if (start, stop, step) == (0, x.sizes[axis], 1):
        return x
    at = channel_axis(x) + axis
    return context.graph.add("Slice", x, axis=at, start=start, stop=stop, step=step, origin=layer.name)


LOWERINGS: dict[str, Lowering] = {
    "padding": _padding,
    "upsample": _upsample,
    "crop": _crop,
    "slice": _slice,
}
