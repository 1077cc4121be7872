"""The compiler's own graph, while it is built.

Shapes are computed when a node is added: a layer that cannot be lowered fails there, with its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.ops import PRIMITIVES
from finetuned.graph.values import Node, Value

if TYPE_CHECKING:
    from finetuned.graph.values import Array, Shape

LARGEST = 1 << 28
"""Numbers of one sample in one value (1 GiB): a file that asks for more is broken, or means harm."""
MOST_PLACES = 1 << 26
"""Entries of all tables of positions together (256 MiB): the emitted model holds them, and is copied a few times."""


@dataclass(slots=True)
class Graph:
    """A graph under construction: `add` appends a primitive of `ops.PRIMITIVES` and returns its value.

    `places` counts the entries of the nodes' tables.
    """

    inputs: list[Value] = field(default_factory=list)
    constants: dict[Value, Array] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    places: int = 0

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> Value:
        """Declare something that is fed."""
        value = Value(name=name, shape=shape, dtype=dtype)
        self.inputs.append(value)
        return value

    def maker(self, value: Value) -> Node | None:
        """Return the node that makes `value`; inputs and constants have none."""
        return next((node for node in reversed(self.nodes) if node.output is value), None)

    def constant(self, name: str, array: Array) -> Value:
        """Put an array into the graph (float32 stays as it is; no copy is made)."""
        value = Value(name=f"{name}#{len(self.constants)}", shape=tuple(array.shape), dtype=str(array.dtype))
        self.constants[value] = array
        return value

    def add(self, op: str, *inputs: Value, origin: str = "", **attributes: Any) -> Value:  # noqa: ANN401 - each primitive has its own
        """Append the primitive `op` and return its output.

        Raises:
            ModelError: the shapes do not fit, or it is all too much; the message names the layer.
        """
        try:
            shape = PRIMITIVES[op].shape(*(v.shape for v in inputs), **attributes)
        except (ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(str(list(v.shape)) for v in inputs)
            raise ModelError(f"layer {origin!r}: {op} cannot take {shapes}: {error}") from error
        value = Value(name=f"{origin or op}/{len(self.nodes)}", shape=shape)
        if prod(value.sizes) > LARGEST:
            raise ModelError(
                f"layer {origin!r}: {op} makes {list(shape)}, more than {LARGEST} numbers a sample"
            )
        self.places += sum(each.size for each in attributes.values() if isinstance(each, np.ndarray))
        if self.places > MOST_PLACES:
            raise ModelError(
                f"layer {origin!r}: up to here windows look at {self.places} places, more than {MOST_PLACES}; "
                "take a smaller input, or freeze the layers with windows"
            )
        self.nodes.append(Node(op=op, inputs=inputs, attributes=attributes, output=value, origin=origin))
        return value
