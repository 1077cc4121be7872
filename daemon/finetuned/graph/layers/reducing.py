"""Layers that sum over channels or pixels: reduce, and what is divided by such a sum."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

from finetuned.errors import ModelError
from finetuned.graph.context import Context, Lowering, as_image, channel_axis, is_batch_last
from finetuned.graph.layers.pointwise import number

if TYPE_CHECKING:
    from finetuned.graph.values import Value
    from finetuned.spec.kinds import LRN, L2Normalize, Reduce
    from finetuned.spec.model import Layer


def _reduce(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Axes of [C, H, W] become 1."""
    p, graph = cast("Reduce", layer.parameters), context.graph
    if p.mode not in _WAYS:
        raise ModelError(f"layer {layer.name!r} (reduce) is {p.mode}; finetuned runs {', '.join(_WAYS)}")
    x = as_image(context, inputs[0], layer)
    before, reduction, after = _WAYS[p.mode]
    for operator in before:
        operands = (x, x) if operator == "Mul" else (x,)
        x = graph.add(operator, *operands, origin=layer.name)
    axes = tuple(channel_axis(x) + axis for axis in p.axes)
    y = graph.add(reduction, x, axes=axes, keepdims=1, origin=layer.name)
    for operator in after:
        y = graph.add(operator, y, origin=layer.name)
    if p.mode == "AVG":
        return graph.add("Mul", y, number(context, 1 / prod(x.sizes[i] for i in p.axes)), origin=layer.name)
    return y


_WAYS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "SUM": ((), "ReduceSum", ()),
    "AVG": ((), "ReduceSum", ()),
    "SUMSQUARE": (("Mul",), "ReduceSum", ()),
    "L1": (("Abs",), "ReduceSum", ()),
    "L2": (("Mul",), "ReduceSum", ("Sqrt",)),
    "MAX": ((), "ReduceMax", ()),
    "MIN": (("Neg",), "ReduceMax", ("Neg",)),
}
"""What is done to the numbers before, how they are reduced, and what is done to the result."""


def _l2_normalize(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """X / √(Σ x² + ε), over all numbers of a sample."""
    p, graph, x = cast("L2Normalize", layer.parameters), context.graph, inputs[0]
    first = channel_axis(x)
    axes = tuple(range(first, first + len(x.sizes)))
    square = graph.add("Mul", x, x, origin=layer.name)
    total = graph.add("ReduceSum", square, axes=axes, keepdims=1, origin=layer.name)
    above = graph.add("Add", total, number(context, p.epsilon), origin=layer.name)
    return graph.add("Div", x, graph.add("Sqrt", above, origin=layer.name), origin=layer.name)


def _lrn(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Over a window of channels that lies evenly around each; one that holds all channels anyway is cut to what it holds."""
    p = cast("LRN", layer.parameters)
    if p.size % 2 == 0:
        raise ModelError(
            f"layer {layer.name!r} (lrn) has a window of {p.size} channels; an odd number is needed"
        )
    if not (p.alpha > 0 and p.beta > 0 and p.k > 0):
        raise ModelError(
            f"layer {layer.name!r} (lrn) has alpha {p.alpha:g}, beta {p.beta:g} and k {p.k:g}; positive numbers are needed"
        )
    x = as_image(context, inputs[0], layer)
    if is_batch_last(x):
        raise ModelError(f"layer {layer.name!r}: gradients cannot pass through lrn")
    size = min(p.size, 2 * x.sizes[0] - 1)
    return context.graph.add(
        "LRN",
        x,
        size=size,
        alpha=p.alpha * size / p.size,
        beta=p.beta,
        bias=p.k,
        origin=layer.name,
    )


LOWERINGS: dict[str, Lowering] = {"reduce": _reduce, "l2normalize": _l2_normalize, "lrn": _lrn}
