"""What the compiler's graph is made of: values with known shapes, and nodes that remember which layer they come from.

A shape's first entry is "N" where the value has one row per sample, so that one graph serves every batch size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Dimension = int | str
Shape = tuple[Dimension, ...]
Array = NDArray[Any]

BATCH = "N"

IMAGE_RANK = 4
"""Axes of a batch of images, [N, C, H, W]."""
VECTOR_RANK = 2
"""Axes of a batch of vectors, [N, C]."""
SEQUENCE_RANK = 5
"""Axes of a batch of sequences, [N, S, C, H, W]."""


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


def scalar(number: float) -> Array:
    """Return a 0-d float32 array."""
    return np.array(number, dtype=np.float32)
