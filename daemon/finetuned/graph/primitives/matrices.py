"""Primitives on a matrix of one row per sample: the product of dense layers, and the losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from finetuned.graph.primitive import Gradients, Primitive, constant, same
from finetuned.graph.values import BATCH, Node, Shape, Value, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.ir import Graph


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────
def _gemm(a: Shape, b: Shape, *_: Shape, **transposed: int) -> Shape:
    rows, inner_a = a[::-1] if transposed.get("transA") else a
    inner_b, columns = b[::-1] if transposed.get("transB") else b
    if inner_a != inner_b:
        raise ValueError(f"{inner_a} inputs arrive, {inner_b} are expected")
    return (rows, columns)


def _per_sample(a: Shape, b: Shape) -> Shape:
    if a != b:
        raise ValueError("prediction and target differ in shape")
    return (a[0],)


def _linear(x: Shape, w: Shape, *_: Shape) -> Shape:
    return _gemm(x, w, transB=1)


# ── gradients ───────────────────────────────────────────────────────────────────────────────────
def _gemm_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    """Of y = A B + c, with A and B transposed or not: dA = dy Bᵀ, dB = Aᵀ dy, dc = Σ dy."""
    a, b, *biases = node.inputs
    trans_a, trans_b = node.attributes.get("transA", 0), node.attributes.get("transB", 0)
    da = db = None
    if a in wanted:
        da = (
            graph.add("Gemm", b, dy, transA=trans_b, transB=1, origin=node.origin)
            if trans_a
            else graph.add("Gemm", dy, b, transB=1 - trans_b, origin=node.origin)
        )
    if b in wanted:
        db = (
            graph.add("Gemm", dy, a, transA=1, transB=trans_a, origin=node.origin)
            if trans_b
            else graph.add("Gemm", a, dy, transA=1 - trans_a, origin=node.origin)
        )
    if not biases:
        return (da, db)
    dc = (
        graph.add("ReduceSum", dy, axes=(0,), keepdims=0, origin=node.origin) if biases[0] in wanted else None
    )
    return (da, db, dc)


def _linear_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    """Of y = x Wᵀ + b: dx = dy W, dW = dyᵀ x, db = Σ dy."""
    x, w, *biases = node.inputs
    dx = graph.add("Gemm", dy, w, origin=node.origin) if x in wanted else None
    dw = graph.add("Gemm", dy, x, transA=1, origin=node.origin) if w in wanted else None
    if not biases:
        return (dx, dw)
    db = (
        graph.add("ReduceSum", dy, axes=(0,), keepdims=0, origin=node.origin) if biases[0] in wanted else None
    )
    return (dx, dw, db)


def _cross_entropy_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """(softmax(z) - onehot) per sample, times the sample's weight dy."""
    logits, onehot = node.inputs
    p = graph.add("Softmax", logits, axis=1, origin=node.origin)
    return (_weighted(graph, graph.add("Sub", p, onehot, origin=node.origin), dy, node.origin), None)


def _squared_error_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """2 (ŷ - y) / elements per sample, times the sample's weight dy (COREML.md §3.2: no 1/2)."""
    prediction, target = node.inputs
    factor = graph.constant("2/elements", scalar(2.0 / float(np.prod(prediction.sizes))))
    difference = graph.add("Sub", prediction, target, origin=node.origin)
    return (_weighted(graph, graph.add("Mul", difference, factor, origin=node.origin), dy, node.origin), None)


def _softmax_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return y (dy - Σ dy y)."""
    axis, weighted = node.attributes["axis"], graph.add("Mul", dy, node.output, origin=node.origin)
    total = graph.add("ReduceSum", weighted, axes=(axis,), keepdims=1, origin=node.origin)
    shared = graph.add("Mul", node.output, total, origin=node.origin)
    return (graph.add("Sub", weighted, shared, origin=node.origin),)


def _weighted(graph: Graph, rows: Value, weights: Value, origin: str) -> Value:
    """Multiply every sample's row by its weight."""
    column = graph.add("Reshape", weights, shape=(BATCH,) + (1,) * len(rows.sizes), origin=origin)
    return graph.add("Mul", rows, column, origin=origin)


# ── emission ────────────────────────────────────────────────────────────────────────────────────
def _emit_linear(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """(W xᵀ + b)ᵀ: the second operand is what a product packs anew each time, and x is the smaller one."""
    x, w, *biases = inputs
    columns = f"{output}.columns"
    nodes, operands = [], [w, x]
    if biases:
        shape, column = f"{output}.shape", f"{output}.bias"
        nodes = [
            constant(np.array([-1, 1], dtype=np.int64), shape),
            helper.make_node("Reshape", [biases[0], shape], [column]),
        ]
        operands.append(column)
    return [
        *nodes,
        helper.make_node("Gemm", operands, [columns], transB=1),
        helper.make_node("Transpose", [columns], [output], perm=(1, 0)),
    ]


def _emit_cross_entropy(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """-log softmax(z)[target], through LogSoftmax: no log of an underflowed probability."""
    axes = f"{output}.axes"
    return [
        helper.make_node("LogSoftmax", [inputs[0]], [f"{output}.log"], axis=1),
        helper.make_node("Mul", [f"{output}.log", inputs[1]], [f"{output}.picked"]),
        constant(np.array([1], dtype=np.int64), axes),
        helper.make_node("ReduceSum", [f"{output}.picked", axes], [f"{output}.sum"], keepdims=0),
        helper.make_node("Neg", [f"{output}.sum"], [output]),
    ]


def _emit_squared_error(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """The mean over a sample's elements of (ŷ - y)²."""
    axes = list(range(1, len(node.inputs[0].shape)))
    return [
        helper.make_node("Sub", list(inputs), [f"{output}.difference"]),
        helper.make_node("Mul", [f"{output}.difference"] * 2, [f"{output}.square"]),
        helper.make_node("ReduceMean", [f"{output}.square"], [output], axes=axes, keepdims=0),
    ]


PRIMITIVES: dict[str, Primitive] = {
    "Gemm": Primitive(shape=_gemm, gradient=_gemm_gradient),
    "Linear": Primitive(shape=_linear, gradient=_linear_gradient, emit=_emit_linear),
    "CrossEntropy": Primitive(shape=_per_sample, gradient=_cross_entropy_gradient, emit=_emit_cross_entropy),
    "SquaredError": Primitive(shape=_per_sample, gradient=_squared_error_gradient, emit=_emit_squared_error),
    "Softmax": Primitive(shape=same, gradient=_softmax_gradient),
}
