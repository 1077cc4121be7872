"""Primitives that work number by number, with broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

from finetuned.graph.primitive import Gradients, Primitive, constant, same
from finetuned.graph.values import Dimension, Node, Shape, Value, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.ir import Graph

_NOTHING = 2e-38
"""Nearly the smallest normal float32: to add it changes nothing."""

_SMALL, _LARGE = 1e-19, 3e38
"""The root of the smallest normal float32, below which a square is not to be trusted; nearly the largest one."""


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────
def _broadcast(*shapes: Shape, **_: object) -> Shape:
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + s for s in shapes]
    return tuple(_common(dimensions) for dimensions in zip(*padded, strict=True))


def _common(dimensions: tuple[Dimension, ...]) -> Dimension:
    distinct = {d for d in dimensions if d != 1}
    if len(distinct) > 1:
        raise ValueError(f"sizes {sorted(map(str, distinct))} do not fit each other")
    return distinct.pop() if distinct else 1


# ── gradients ───────────────────────────────────────────────────────────────────────────────────
def _add_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    return tuple(
        reduced_to(graph, dy, each.shape, node.origin) if each in wanted else None for each in node.inputs
    )


def _sub_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    first, second = node.inputs
    da = reduced_to(graph, dy, first.shape, node.origin) if first in wanted else None
    if second not in wanted:
        return (da, None)
    negative = graph.add("Neg", dy, origin=node.origin)
    return (da, reduced_to(graph, negative, second.shape, node.origin))


def _mul_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    """Of y = a b: da = dy b, db = dy a, summed where they were broadcast."""
    first, second = node.inputs
    pairs = ((first, second), (second, first))
    return tuple(
        reduced_to(graph, graph.add("Mul", dy, other, origin=node.origin), each.shape, node.origin)
        if each in wanted
        else None
        for each, other in pairs
    )


def _sqrt_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy / (2 y); at y = 0, where there is none, a large number: the square below it makes 0 of it."""
    below = graph.add("Clip", node.output, minimum=_SMALL, maximum=_LARGE, origin=node.origin)
    half = graph.add("Mul", dy, graph.constant("half", scalar(0.5)), origin=node.origin)
    return (graph.add("Div", half, below, origin=node.origin),)


def reduced_to(graph: Graph, value: Value, shape: Shape, origin: str) -> Value:
    """Sum over the axes along which something of `shape` was broadcast."""
    lead = len(value.shape) - len(shape)
    axes = tuple(i for i, size in enumerate(value.shape) if i < lead or (shape[i - lead] == 1 and size != 1))
    if not axes:
        return value
    total = graph.add("ReduceSum", value, axes=axes, keepdims=0, origin=origin)
    return total if total.shape == shape else graph.add("Reshape", total, shape=shape, origin=origin)


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


def _leaky_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy where x > 0, else alpha dy (alpha dy at the kink itself)."""
    alpha = node.attributes["alpha"]
    step = graph.add("Step", node.inputs[0], origin=node.origin)
    slope = _linear(graph, step, 1.0 - alpha, alpha, node.origin)
    return (graph.add("Mul", dy, slope, origin=node.origin),)


def _exp_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy y."""
    return (graph.add("Mul", dy, node.output, origin=node.origin),)


def _softplus_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy sigmoid(x)."""
    slope = graph.add("Sigmoid", node.inputs[0], origin=node.origin)
    return (graph.add("Mul", dy, slope, origin=node.origin),)


def _clip_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Return dy where x was kept, also at the very ends (as PyTorch's clamp), else 0."""
    kept = graph.add("Kept", node.inputs[0], node.output, origin=node.origin)
    return (graph.add("Mul", dy, kept, origin=node.origin),)


def _linear(graph: Graph, x: Value, factor: float, offset: float, origin: str) -> Value:
    """Return factor · x + offset."""
    if factor != 1.0:
        x = graph.add("Mul", x, graph.constant("factor", scalar(factor)), origin=origin)
    return graph.add("Add", x, graph.constant("offset", scalar(offset)), origin=origin)


# ── emission ────────────────────────────────────────────────────────────────────────────────────
def _emit_step(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """1 where x > 0, else 0, in one vectorised pass: `Greater` and `Where` are slow on the CPU provider."""
    return [_hard_sigmoid(inputs, output, alpha=1e38, beta=0.0)]


def _emit_softplus(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """max(x, 0) + log(1 + e^-|x|): the operator of that name takes nine times as long."""
    names = {
        part: f"{output}.{part}" for part in ("distance", "falling", "power", "one", "sum", "log", "above")
    }
    return [
        helper.make_node("Abs", [inputs[0]], [names["distance"]]),
        helper.make_node("Neg", [names["distance"]], [names["falling"]]),
        helper.make_node("Exp", [names["falling"]], [names["power"]]),
        constant(scalar(1.0), names["one"]),
        helper.make_node("Add", [names["power"], names["one"]], [names["sum"]]),
        helper.make_node("Log", [names["sum"]], [names["log"]]),
        helper.make_node("Relu", [inputs[0]], [names["above"]]),
        helper.make_node("Add", [names["above"], names["log"]], [output]),
    ]


def _emit_kept(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """1 where both are equal, else 0: HardSigmoid(1 - 1e38 |x - y|)."""
    difference, distance = f"{output}.difference", f"{output}.distance"
    return [
        helper.make_node("Sub", list(inputs), [difference]),
        helper.make_node("Abs", [difference], [distance]),
        _hard_sigmoid([distance], output, alpha=-1e38, beta=1.0),
    ]


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


def _emit_sigmoid(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """1 / (1 + e^-x): onnxruntime's own is right to 1e-7 of 1 only, so that the slope of what is small was mostly wrong."""
    negative, power, one, below = (f"{output}.{part}" for part in ("negative", "power", "one", "below"))
    return [
        helper.make_node("Neg", list(inputs), [negative]),
        helper.make_node("Exp", [negative], [power]),
        constant(scalar(1.0), one),
        helper.make_node("Add", [power, one], [below]),
        helper.make_node("Reciprocal", [below], [output]),
    ]


def _emit_thresholded_relu(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Return x where x >= alpha, else 0; ONNX's own operator says > (NeuralNetwork.proto says >=)."""
    alpha, zero, kept = (f"{output}.{part}" for part in ("alpha", "zero", "kept"))
    return [
        constant(scalar(node.attributes["alpha"]), alpha),
        constant(scalar(0.0), zero),
        helper.make_node("GreaterOrEqual", [inputs[0], alpha], [kept]),
        helper.make_node("Where", [kept, inputs[0], zero], [output]),
    ]


def _emit_clip(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    low, high = f"{output}.low", f"{output}.high"
    return [
        constant(scalar(node.attributes["minimum"]), low),
        constant(scalar(node.attributes["maximum"]), high),
        helper.make_node("Clip", [inputs[0], low, high], [output]),
    ]


def _emit_cast(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    return [helper.make_node("Cast", list(inputs), [output], to=onnx.TensorProto.FLOAT)]


PRIMITIVES: dict[str, Primitive] = {
    "Relu": Primitive(shape=same, gradient=_relu_gradient),
    "Sigmoid": Primitive(shape=same, gradient=_sigmoid_gradient, emit=_emit_sigmoid),
    "Tanh": Primitive(shape=same, gradient=_tanh_gradient),
    "Step": Primitive(shape=same, emit=_emit_step),
    "Add": Primitive(shape=_broadcast, gradient=_add_gradient),
    "Sub": Primitive(shape=_broadcast, gradient=_sub_gradient),
    "Mul": Primitive(shape=_broadcast, gradient=_mul_gradient),
    "Div": Primitive(shape=_broadcast),
    "Neg": Primitive(shape=same),
    "Sqrt": Primitive(shape=same, gradient=_sqrt_gradient),
    "Clip": Primitive(shape=same, gradient=_clip_gradient, emit=_emit_clip),
    "Kept": Primitive(shape=same, emit=_emit_kept),
    "Cast": Primitive(shape=same, emit=_emit_cast),
    "LeakyRelu": Primitive(shape=same, gradient=_leaky_gradient),
    "Softplus": Primitive(shape=same, gradient=_softplus_gradient, emit=_emit_softplus),
    "Exp": Primitive(shape=same, gradient=_exp_gradient),
    # What only runs forward.
    "Max": Primitive(shape=_broadcast),
    "Min": Primitive(shape=_broadcast),
    "Pow": Primitive(shape=_broadcast),
    "Log": Primitive(shape=same),
    "Abs": Primitive(shape=same),
    "LRN": Primitive(shape=same),
    "HardSigmoid": Primitive(shape=same, emit=_emit_hard_sigmoid),
    "ThresholdedRelu": Primitive(shape=same, emit=_emit_thresholded_relu),
    "Softsign": Primitive(shape=same),
}
