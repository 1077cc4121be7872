"""The primitives, one row each: shape rule, gradient rule, emission.

Names and attributes are ONNX's (operator set 17), so that most rows emit themselves; `Step`, `CrossEntropy` and
`SquaredError` are ours.  Gradients are written in the same primitives.  A row without a gradient ends a path
of back-propagation; the compiler says so with the layer's name.

The gradient rule gets the graph, the node and the gradient of the node's output, and returns one gradient per
input (None: not asked for, or none).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from finetuned.graph.values import BATCH, IMAGE_RANK, Array, Dimension, Node, Shape, Value, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finetuned.graph.ir import Graph

Gradients = tuple[Value | None, ...]

_NOTHING = 2e-38
"""Nearly the smallest normal float32: to add it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """A row of the table; `emit` returns ONNX nodes, or None where the ONNX operator has the row's name."""

    shape: Callable[..., Shape]
    gradient: Callable[[Graph, Node, Value, frozenset[Value]], Gradients] | None = None
    emit: Callable[[Node, Sequence[str], str], list[Any]] | None = None


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────
def _same(first: Shape, *_: Shape, **__: object) -> Shape:
    return first


def _broadcast(*shapes: Shape, **_: object) -> Shape:
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(_common(dimensions) for dimensions in zip(*padded, strict=True))


def _common(dimensions: tuple[Dimension, ...]) -> Dimension:
    distinct = {d for d in dimensions if d != 1}
    if len(distinct) > 1:
        raise ValueError(f"sizes {sorted(map(str, distinct))} do not fit each other")
    return distinct.pop() if distinct else 1


def _gemm(a: Shape, b: Shape, *_: Shape, **transposed: int) -> Shape:
    rows, inner_a = a[::-1] if transposed.get("transA") else a
    inner_b, columns = b[::-1] if transposed.get("transB") else b
    if inner_a != inner_b:
        raise ValueError(f"{inner_a} inputs arrive, {inner_b} are expected")
    return (rows, columns)


def _reshape(a: Shape, *, shape: tuple[int, ...]) -> Shape:
    if prod(int(d) for d in a[1:]) != prod(shape):
        raise ValueError(f"{list(shape)} holds another count of numbers")
    return (BATCH, *shape)


def _transpose(a: Shape, *, perm: tuple[int, ...]) -> Shape:
    return tuple(a[i] for i in perm)


def _reduced(a: Shape, *, axes: tuple[int, ...], keepdims: int) -> Shape:
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(a))
    return tuple(d for i, d in enumerate(a) if i not in axes)


def _window(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    out = (size + pads - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise ValueError(f"a kernel of {kernel} does not fit into {size} with {pads} of padding")
    return out


def _spatial(
    a: Shape,
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Shape:
    half = len(pads) // 2
    return tuple(
        _window(int(size), k, s, d, pads[i] + pads[i + half])
        for i, (size, k, s, d) in enumerate(zip(a[2:], kernel, strides, dilations, strict=True))
    )


def _conv(
    x: Shape,
    w: Shape,
    *_: Shape,
    group: int,
    **window: Sequence[int],
) -> Shape:
    if len(x) != IMAGE_RANK:
        raise ValueError("an image [C, H, W] is expected")
    if x[1] != int(w[1]) * group:
        raise ValueError(f"{x[1]} channels arrive, {int(w[1]) * group} are expected")
    if int(w[0]) % group:
        raise ValueError(f"{group} groups cannot share {w[0]} output channels")
    return (x[0], w[0], *_spatial(x, [int(k) for k in w[2:]], **window))


def _pool(
    x: Shape, *, kernel_shape: Sequence[int], strides: Sequence[int], pads: Sequence[int], **_: object
) -> Shape:
    if len(x) != IMAGE_RANK:
        raise ValueError("an image [C, H, W] is expected")
    return (*x[:2], *_spatial(x, kernel_shape, strides=strides, pads=pads, dilations=(1, 1)))


def _global(x: Shape, **_: object) -> Shape:
    return (*x[:2], *(1 for _ in x[2:]))


def _per_sample(a: Shape, b: Shape) -> Shape:
    if a != b:
        raise ValueError("prediction and target differ in shape")
    return (a[0],)


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


def _relu_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Pass dy where y > 0, else 0 (0 at the kink itself)."""
    return (graph.add("Mul", dy, graph.add("Step", node.output, origin=node.origin), origin=node.origin),)


def _sigmoid_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy y (1 - y)."""
    slope = graph.add("Mul", dy, node.output, origin=node.origin)
    return (
        graph.add("Sub", slope, graph.add("Mul", slope, node.output, origin=node.origin), origin=node.origin),
    )


def _tanh_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy (1 - y²)."""
    square = graph.add("Mul", node.output, node.output, origin=node.origin)
    return (graph.add("Sub", dy, graph.add("Mul", dy, square, origin=node.origin), origin=node.origin),)


def _reshape_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    return (graph.add("Reshape", dy, shape=node.inputs[0].sizes, origin=node.origin),)


def _transpose_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    inverse = tuple(int(i) for i in np.argsort(node.attributes["perm"]))
    return (graph.add("Transpose", dy, perm=inverse, origin=node.origin),)


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


def _weighted(graph: Graph, rows: Value, weights: Value, origin: str) -> Value:
    """Multiply every sample's row by its weight."""
    column = graph.add("Reshape", weights, shape=(1,) * len(rows.sizes), origin=origin)
    return graph.add("Mul", rows, column, origin=origin)


# ── emission ────────────────────────────────────────────────────────────────────────────────────
def _emit_step(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """1 where x > 0, else 0, in one vectorised pass: `Greater` and `Where` are slow on the CPU provider."""
    return [_hard_sigmoid(inputs, output, alpha=1e38, beta=0.0)]


def _emit_hard_sigmoid(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    return [
        _hard_sigmoid(
            inputs, output, alpha=float(node.attributes["alpha"]), beta=float(node.attributes["beta"])
        )
    ]


def _hard_sigmoid(inputs: Sequence[str], output: str, *, alpha: float, beta: float) -> Any:  # noqa: ANN401 - a node
    """Return clip(alpha x + beta, 0, 1).

    OpenVINO takes an attribute that is 0 for one that is not there, and a default for it (beta: 0.5): so a nothing
    stands for it that changes no float32 above 1e-30, and below 0 is clipped away.
    """
    return helper.make_node(
        "HardSigmoid", list(inputs), [output], alpha=alpha or _NOTHING, beta=beta or -_NOTHING
    )


def _emit_thresholded_relu(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Return x where x >= alpha, else 0; ONNX's own operator says > (NeuralNetwork.proto says >=)."""
    alpha, zero, kept = (f"{output}.{part}" for part in ("alpha", "zero", "kept"))
    return [
        _constant(scalar(node.attributes["alpha"]), alpha),
        _constant(scalar(0.0), zero),
        helper.make_node("GreaterOrEqual", [inputs[0], alpha], [kept]),
        helper.make_node("Where", [kept, inputs[0], zero], [output]),
    ]


def _emit_reshape(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    shape = np.array((-1, *node.attributes["shape"]), dtype=np.int64)
    return [
        _constant(shape, f"{output}.shape"),
        helper.make_node("Reshape", [inputs[0], f"{output}.shape"], [output]),
    ]


def _emit_reduce(operator: str) -> Callable[[Node, Sequence[str], str], list[Any]]:
    def emit(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
        axes = np.array(node.attributes["axes"], dtype=np.int64)
        keep = node.attributes["keepdims"]
        return [
            _constant(axes, f"{output}.axes"),
            helper.make_node(operator, [inputs[0], f"{output}.axes"], [output], keepdims=keep),
        ]

    return emit


def _emit_clip(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    low, high = f"{output}.low", f"{output}.high"
    return [
        _constant(scalar(node.attributes["minimum"]), low),
        _constant(scalar(node.attributes["maximum"]), high),
        helper.make_node("Clip", [inputs[0], low, high], [output]),
    ]


def _emit_cross_entropy(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """-log softmax(z)[target], through LogSoftmax: no log of an underflowed probability."""
    axes = f"{output}.axes"
    return [
        helper.make_node("LogSoftmax", [inputs[0]], [f"{output}.log"], axis=1),
        helper.make_node("Mul", [f"{output}.log", inputs[1]], [f"{output}.picked"]),
        _constant(np.array([1], dtype=np.int64), axes),
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


def _emit_cast(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    return [helper.make_node("Cast", list(inputs), [output], to=onnx.TensorProto.FLOAT)]


def _constant(array: Array, name: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))


PRIMITIVES: dict[str, Primitive] = {
    "Gemm": Primitive(shape=_gemm, gradient=_gemm_gradient),
    "Relu": Primitive(shape=_same, gradient=_relu_gradient),
    "Sigmoid": Primitive(shape=_same, gradient=_sigmoid_gradient),
    "Tanh": Primitive(shape=_same, gradient=_tanh_gradient),
    "Reshape": Primitive(shape=_reshape, gradient=_reshape_gradient, emit=_emit_reshape),
    "Transpose": Primitive(shape=_transpose, gradient=_transpose_gradient),
    "CrossEntropy": Primitive(shape=_per_sample, gradient=_cross_entropy_gradient, emit=_emit_cross_entropy),
    "SquaredError": Primitive(shape=_per_sample, gradient=_squared_error_gradient, emit=_emit_squared_error),
    "Step": Primitive(shape=_same, emit=_emit_step),
    "Softmax": Primitive(shape=_same),
    "Add": Primitive(shape=_broadcast),
    "Sub": Primitive(shape=_broadcast),
    "Mul": Primitive(shape=_broadcast),
    "ReduceSum": Primitive(shape=_reduced, emit=_emit_reduce("ReduceSum")),
    "Clip": Primitive(shape=_same, emit=_emit_clip),
    "Cast": Primitive(shape=_same, emit=_emit_cast),
    "Conv": Primitive(shape=_conv),
    "MaxPool": Primitive(shape=_pool),
    "AveragePool": Primitive(shape=_pool),
    "LpPool": Primitive(shape=_pool),
    "GlobalMaxPool": Primitive(shape=_global),
    "GlobalAveragePool": Primitive(shape=_global),
    "GlobalLpPool": Primitive(shape=_global),
    # Activations that only run forward (Core ML lets no gradient through them).
    "LeakyRelu": Primitive(shape=_same),
    "Elu": Primitive(shape=_same),
    "HardSigmoid": Primitive(shape=_same, emit=_emit_hard_sigmoid),
    "ThresholdedRelu": Primitive(shape=_same, emit=_emit_thresholded_relu),
    "Softplus": Primitive(shape=_same),
    "Softsign": Primitive(shape=_same),
}
