"""Primitives that order, join, cut, look up and sum numbers without changing them."""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from finetuned.graph.primitive import Gradients, Primitive, constant
from finetuned.graph.values import BATCH, Node, Shape, Value, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finetuned.graph.ir import Graph


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────
def _reshape(a: Shape, *, shape: Shape) -> Shape:
    """`shape` holds the batch where it lies."""
    counts = [prod(d for d in each if isinstance(d, int)) for each in (a, shape)]
    if counts[0] != counts[1] or (BATCH in a) != (BATCH in shape):
        raise ValueError(f"{list(shape)} holds another count of numbers")
    return shape


def _transpose(a: Shape, *, perm: tuple[int, ...]) -> Shape:
    return tuple(a[i] for i in perm)


def _reduced(a: Shape, *, axes: tuple[int, ...], keepdims: int) -> Shape:
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(a))
    return tuple(d for i, d in enumerate(a) if i not in axes)


def _joined(*shapes: Shape, axis: int) -> Shape:
    first, *others = shapes
    if any(len(each) != len(first) for each in others):
        raise ValueError("all must have as many axes")
    for at, found in enumerate(zip(*shapes, strict=True)):
        if at != axis and len(set(found)) > 1:
            raise ValueError(f"sizes {sorted(map(str, set(found)))} of axis {at} do not fit each other")
    total = sum(int(each[axis]) for each in shapes)
    return tuple(total if at == axis else size for at, size in enumerate(first))


def _cut(a: Shape, *, axis: int, start: int, stop: int, step: int = 1) -> Shape:
    if not 0 <= start < stop <= int(a[axis]):
        raise ValueError(f"{start} to {stop} does not lie in {a[axis]}")
    count = len(range(start, stop, step))
    return tuple(count if at == axis else size for at, size in enumerate(a))


def _looked_up(index: Shape, rows: Shape) -> Shape:
    return (*index, rows[1])


def _padded(a: Shape, *, mode: str, amounts: Sequence[tuple[int, int]], value: float) -> Shape:
    del mode, value
    return (*a[:2], *(int(size) + sum(ends) for size, ends in zip(a[2:], amounts, strict=True)))


def _enlarged(a: Shape, *, factors: tuple[int, int]) -> Shape:
    return (*a[:2], *(int(size) * factor for size, factor in zip(a[2:], factors, strict=True)))


# ── gradients ───────────────────────────────────────────────────────────────────────────────────
def _reshape_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    return (graph.add("Reshape", dy, shape=node.inputs[0].shape, origin=node.origin),)


def _transpose_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    inverse = tuple(int(i) for i in np.argsort(node.attributes["perm"]))
    return (graph.add("Transpose", dy, perm=inverse, origin=node.origin),)


def _concat_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    """Each input gets its own piece."""
    axis = node.attributes["axis"]
    ends = accumulate((int(x.shape[axis]) for x in node.inputs), initial=0)
    return tuple(
        graph.add("Slice", dy, axis=axis, start=start, stop=stop, origin=node.origin) if x in wanted else None
        for x, (start, stop) in zip(node.inputs, pairwise(ends), strict=True)
    )


# ── emission ────────────────────────────────────────────────────────────────────────────────────
def _emit_reshape(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    shape = np.array([-1 if d == BATCH else d for d in node.attributes["shape"]], dtype=np.int64)
    return [
        constant(shape, f"{output}.shape"),
        helper.make_node("Reshape", [inputs[0], f"{output}.shape"], [output]),
    ]


def _emit_reduce(operator: str) -> Callable[[Node, Sequence[str], str], list[Any]]:
    def emit(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
        axes = np.array(node.attributes["axes"], dtype=np.int64)
        keep = node.attributes["keepdims"]
        return [
            constant(axes, f"{output}.axes"),
            helper.make_node(operator, [inputs[0], f"{output}.axes"], [output], keepdims=keep),
        ]

    return emit


def _emit_slice(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    ends = {name: node.attributes.get(name, 1) for name in ("start", "stop", "axis", "step")}
    made = [constant(np.array([at], dtype=np.int64), f"{output}.{name}") for name, at in ends.items()]
    return [*made, helper.make_node("Slice", [inputs[0], *(f"{output}.{name}" for name in ends)], [output])]


def _emit_pad(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Around the pixels of [N, C, H, W]; `mode` is Core ML's word."""
    mode = {"constant": "constant", "reflection": "reflect", "replication": "edge"}[node.attributes["mode"]]
    (top, bottom), (left, right) = node.attributes["amounts"]
    ends = np.array([0, 0, top, left, 0, 0, bottom, right], dtype=np.int64)
    return [
        constant(ends, f"{output}.ends"),
        constant(scalar(node.attributes["value"]), f"{output}.value"),
        helper.make_node("Pad", [inputs[0], f"{output}.ends", f"{output}.value"], [output], mode=mode),
    ]


def _emit_enlarge(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Every pixel of [N, C, H, W] becomes a block of equal ones."""
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = np.array([1, 1, *node.attributes["factors"]], dtype=np.float32)
    return [
        constant(scales, f"{output}.scales"),
        helper.make_node("Resize", [inputs[0], "", f"{output}.scales"], [output], **how),
    ]


def _emit_reduce_max(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Its axes are an attribute in this operator set."""
    return [helper.make_node("ReduceMax", list(inputs), [output], **node.attributes)]


def _emit_lookup(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Row x + 1; the first one, of what is nothing, for every x that is not a whole number of a row.

    Whatever the cast makes of a fraction, of what is too large or of NaN: it is then another number than x.
    """
    x, last = inputs[0], int(node.inputs[1].shape[0]) - 2
    bounds = {f"{output}.{name}": at for name, at in (("first", 0), ("last", last), ("one", 1))}
    low, high, one = bounds
    whole, held, again, same, known, after, row = (
        f"{output}.{name}" for name in ("whole", "held", "again", "same", "known", "after", "row")
    )
    return [
        *(constant(np.array(at, dtype=np.int64), name) for name, at in bounds.items()),
        helper.make_node("Cast", [x], [whole], to=TensorProto.INT64),
        helper.make_node("Clip", [whole, low, high], [held]),
        helper.make_node("Cast", [held], [again], to=TensorProto.FLOAT),
        helper.make_node("Equal", [again, x], [same]),
        helper.make_node("Cast", [same], [known], to=TensorProto.INT64),
        helper.make_node("Add", [held, one], [after]),
        helper.make_node("Mul", [after, known], [row]),
        helper.make_node("Gather", [inputs[1], row], [output], axis=0),
    ]


PRIMITIVES: dict[str, Primitive] = {
    "Reshape": Primitive(shape=_reshape, gradient=_reshape_gradient, emit=_emit_reshape),
    "Transpose": Primitive(shape=_transpose, gradient=_transpose_gradient),
    "Concat": Primitive(shape=_joined, gradient=_concat_gradient),
    "Slice": Primitive(shape=_cut, emit=_emit_slice),
    "Lookup": Primitive(shape=_looked_up, emit=_emit_lookup),
    "Pad": Primitive(shape=_padded, emit=_emit_pad),
    "Enlarge": Primitive(shape=_enlarged, emit=_emit_enlarge),
    "ReduceMax": Primitive(shape=_reduced, emit=_emit_reduce_max),
    "ReduceSum": Primitive(shape=_reduced, emit=_emit_reduce("ReduceSum")),
}
