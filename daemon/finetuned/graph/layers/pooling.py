"""Pooling: the greatest, the mean, or the root of the sum of squares of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.graph import frames, fusion, tables
from finetuned.graph.context import Context, Lowering, as_image, blamed, is_batch_last

if TYPE_CHECKING:
    from finetuned.graph.frames import Frame
    from finetuned.graph.values import Array, Value
    from finetuned.spec.model import Layer, Pooling


def _pooling(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Pooling", layer.parameters)
    x = as_image(context, inputs[0], layer)
    rows, columns = x.sizes[1:]
    with blamed(layer):
        frame = frames.pooling(p, (rows, columns))
        rule = (_TRAINED if is_batch_last(x) else _RUN)[p.type]
        return rule(context, layer, frame, x)


def _shares(p: Pooling, frame: Frame) -> Array:
    """Return float32 [oH, oW] or [1, 1]: one over the numbers that a mean counts, those of the image or of its padding too.

    Where the last pixel is included, what the last window takes beyond the stated padding counts for nothing (as in Caffe).
    """
    if p.exclude_padding:
        counts = frame.within((0, 0))
    elif p.padding.mode == "includeLastPixel":
        (rows, _), (columns, _) = p.padding.amounts
        counts = frame.within((rows, columns))
    else:
        counts = np.full((1, 1), np.prod(frame.each("kernel")), dtype=np.float32)
    return np.asarray(1.0 / counts, dtype=np.float32)


# ── running: onnxruntime's own operators ────────────────────────────────────────────────────────
def _run_max(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    return _run(context, layer, frame, x, "MaxPool")


def _run_l2(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    return _run(context, layer, frame, x, "LpPool", p=2)


def _run_mean(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    """The operator counts the image alone, or all of its own padding; anything else is put right after it."""
    p = cast("Pooling", layer.parameters)
    mean = _run(context, layer, frame, x, "AveragePool", count_include_pad=1 - int(p.exclude_padding))
    if p.exclude_padding:
        return mean
    correction = _shares(p, frame) * np.float32(np.prod(frame.each("kernel")))
    if np.allclose(correction, 1.0):
        return mean
    factor = context.graph.constant(f"{layer.name}.shares", correction)
    return context.graph.add("Mul", mean, factor, origin=layer.name)


def _run(context: Context, layer: Layer, frame: Frame, x: Value, operator: str, **extra: int) -> Value:
    if frame.each("kernel") == frame.each("size") and frame.each("out") == (1, 1) and not any(frame.pads):
        extra.pop("count_include_pad", None)
        return context.graph.add(f"Global{operator}", x, origin=layer.name, **extra)
    return context.graph.add(
        operator,
        x,
        kernel_shape=frame.each("kernel"),
        strides=frame.each("stride"),
        pads=frame.pads,
        origin=layer.name,
        **extra,
    )


# ── training: tables of positions ───────────────────────────────────────────────────────────────
def _trained_max(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    below = fusion.before_relu(context.graph, x)
    greatest = below
    for stage in frame.stages():
        greatest = _greatest(context, layer, stage, greatest)
    return greatest if below is x else context.graph.add("Relu", greatest, origin=layer.name)


def _greatest(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    """A place in the padding repeats a pixel of its window, which changes neither the greatest nor which comes first."""
    table = frame.table(clamped=True)
    places = fusion.places(context.graph, x, table, frame.each("out"), layer.name)
    return context.graph.add("WindowMax", places, window=table.shape[1], origin=layer.name)


def _trained_mean(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    shares = _shares(cast("Pooling", layer.parameters), frame)
    total = _total(context, layer, frame, x)
    uniform = shares.min() == shares.max()
    factor = shares[:1, :1] if uniform else shares
    share = context.graph.constant(f"{layer.name}.shares", factor[..., None])
    return context.graph.add("Mul", total, share, origin=layer.name)


def _trained_l2(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    square = context.graph.add("Mul", x, x, origin=layer.name)
    return context.graph.add("Sqrt", _total(context, layer, frame, square), origin=layer.name)


def _total(context: Context, layer: Layer, frame: Frame, x: Value) -> Value:
    for stage in frame.stages():
        table = tables.summed(stage.table())
        x = context.graph.add("Collect", x, table=table, size=stage.each("out"), origin=layer.name)
    return x


_RUN = {"MAX": _run_max, "AVERAGE": _run_mean, "L2": _run_l2}
_TRAINED = {"MAX": _trained_max, "AVERAGE": _trained_mean, "L2": _trained_l2}

LOWERINGS: dict[str, Lowering] = {"pooling": _pooling}
