"""Primitives that order and sum numbers without changing them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from finetuned.graph.primitive import Gradients, Primitive, constant
from finetuned.graph.values import BATCH, Node, Shape, Value

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


# ── gradients ───────────────────────────────────────────────────────────────────────────────────
def _reshape_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    return (graph.add("Reshape", dy, shape=node.inputs[0].shape, origin=node.origin),)


def _transpose_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    inverse = tuple(int(i) for i in np.argsort(node.attributes["perm"]))
    return (graph.add("Transpose", dy, perm=inverse, origin=node.origin),)


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


PRIMITIVES: dict[str, Primitive] = {
    "Reshape": Primitive(shape=_reshape, gradient=_reshape_gradient, emit=_emit_reshape),
    "Transpose": Primitive(shape=_transpose, gradient=_transpose_gradient),
    "ReduceSum": Primitive(shape=_reduced, emit=_emit_reduce("ReduceSum")),
}
