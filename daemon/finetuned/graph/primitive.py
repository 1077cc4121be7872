"""What a primitive of the compiler is: how its shape follows, how gradients pass it, and how it is written in ONNX.

The gradient rule gets the graph, the node, the gradient of the node's output and the values whose gradients are wanted, and
returns one gradient per input (None: not asked for, or none).  Gradients are written in the same primitives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from finetuned.graph.ir import Graph
    from finetuned.graph.values import Array, Node, Shape, Value

Gradients = tuple["Value | None", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """A row of the table; `emit` returns ONNX nodes, or None where the ONNX operator has the row's name."""

    shape: Callable[..., Shape]
    gradient: Callable[[Graph, Node, Value, frozenset[Value]], Gradients] | None = None
    emit: Callable[[Node, Sequence[str], str], list[Any]] | None = None


def same(first: Shape, *_: Shape, **__: object) -> Shape:
    """Return the shape of the first input: that of whatever works number by number."""
    return first


def constant(array: Array, name: str) -> onnx.NodeProto:
    """Return a node that makes an array."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))
