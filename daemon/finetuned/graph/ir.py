"""The compiler's own graph: values with known shapes, nodes that remember which layer they come from.

A shape's first entry is "N" where the value has one row per sample, so that one graph serves every batch size.
Shapes are computed when a node is added: a layer that cannot be lowered fails there, with its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetuned.errors import ModelError

Dimension = int | str
Shape = tuple[Dimension, ...]
Array = NDArray[Any]

BATCH = "N"

IMAGE_RANK = 4
"""Axes of a batch of images, [N, C, H, W]."""
VECTOR_RANK = 2
"""Axes of a batch of vectors, [N, C]."""
LARGEST = 1 << 28
"""Numbers of one sample in one value (1 GiB): a file that asks for more is broken, or means harm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Value:
    """A tensor in the graph; identity is what counts, two values are never equal."""

    name: str
    shape: Shape
    dtype: str = "float32"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape without the batch axis, as integers."""
        return tuple(d for d in self.shape if isinstance(d, int))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One primitive at work; `origin` is the Core ML layer that it was made for."""

    op: str
    inputs: tuple[Value, ...]
    attributes: dict[str, Any]
    output: Value
    origin: str


@dataclass(slots=True)
class Graph:
    """A graph under construction: `add` appends a primitive of `ops.PRIMITIVES` and returns its value."""

    inputs: list[Value] = field(default_factory=list)
    constants: dict[Value, Array] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)

    def input(self, name: str, shape: Shape, dtype: str = "float32") -> Value:
        """Declare something that is fed."""
        value = Value(name=name, shape=shape, dtype=dtype)
        self.inputs.append(value)
        return value

    def constant(self, name: str, array: Array) -> Value:
        """Put an array into the graph (float32 stays as it is; no copy is made)."""
        value = Value(name=f"{name}#{len(self.constants)}", shape=tuple(array.shape), dtype=str(array.dtype))
        self.constants[value] = array
        return value

    def add(self, op: str, *inputs: Value, origin: str = "", **attributes: Any) -> Value:  # noqa: ANN401 - each primitive has its own
        """Append the primitive `op` and return its output.

        Raises:
            ModelError: the shapes do not fit; the message names the layer.
        """
        from finetuned.graph.ops import PRIMITIVES  # noqa: PLC0415 - ops is written in terms of this module

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
        self.nodes.append(Node(op=op, inputs=inputs, attributes=attributes, output=value, origin=origin))
        return value


def scalar(number: float) -> Array:
    """Return a 0-d float32 array."""
    return np.array(number, dtype=np.float32)
