"""Reverse-mode differentiation over the graph: from one value back to the ones that are asked for.

Only nodes that lie between a wanted value and the target get a gradient, so what lies below the first trainable
layer costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph.ops import PRIMITIVES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finetuned.graph.ir import Graph
    from finetuned.graph.values import Node, Value


def gradients(graph: Graph, target: Value, seed: Value, wanted: Sequence[Value]) -> list[Value]:
    """Append the backward pass and return d(Σ seed · target)/dv for each wanted `v`.

    Args:
        graph: the graph; nodes are appended to it.
        target: what is differentiated, shape [N].
        seed: the weight of each row of `target`, shape [N].
        wanted: the values whose gradients are asked for.

    Raises:
        ModelError: a primitive on the way has no gradient (the layer is named), or a wanted value has no
            influence on the target.
    """
    forward = list(graph.nodes)
    dependent = _dependent(forward, wanted)
    arrived: dict[Value, Value] = {target: seed}
    for node in reversed(forward):
        dy = arrived.get(node.output)
        if dy is None or node.output not in dependent:
            continue
        for value, gradient in zip(node.inputs, _rule(graph, node, dy, dependent), strict=True):
            if gradient is not None and value in dependent:
                arrived[value] = _sum(graph, arrived.get(value), gradient, node.origin)
    return [_found(arrived, value) for value in wanted]


def _dependent(nodes: Iterable[Node], wanted: Sequence[Value]) -> frozenset[Value]:
    """Every value that changes when a wanted one does."""
    known = set(wanted)
    for node in nodes:
        if any(value in known for value in node.inputs):
            known.add(node.output)
    return frozenset(known)


def _rule(graph: Graph, node: Node, dy: Value, dependent: frozenset[Value]) -> tuple[Value | None, ...]:
    rule = PRIMITIVES[node.op].gradient
    if rule is None:
        raise ModelError(
            f"layer {node.origin!r}: gradients cannot pass through {node.op}; "
            "only layers between the first trainable one and the loss need to let them pass"
        )
    try:
        return rule(graph, node, dy, dependent)
    except ValueError as error:
        raise ModelError(f"layer {node.origin!r}: its gradient cannot be computed: {error}") from error


def _sum(graph: Graph, first: Value | None, second: Value, origin: str) -> Value:
    return second if first is None else graph.add("Add", first, second, origin=origin)


def _found(arrived: dict[Value, Value], value: Value) -> Value:
    try:
        return arrived[value]
    except KeyError:
        raise ModelError(f"{value.name} has no influence on the loss") from None
