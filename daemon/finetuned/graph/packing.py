"""Several values as one: what is kept, fed and returned for a sample is one array of numbers, however many blobs it holds.

A single value stays as it is.  Several are flattened, row-major, and stand one after the other: [N, Σ numbers].
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from typing import TYPE_CHECKING

from finetuned.graph.values import BATCH, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.ir import Graph

Sizes = tuple[int, ...]


def shape_of(sizes: Sequence[Sizes]) -> Sizes:
    """Return the shape of a sample's numbers, given the shapes of its parts."""
    return sizes[0] if len(sizes) == 1 else (sum(map(prod, sizes)),)


def places(sizes: Sequence[Sizes]) -> list[slice]:
    """Return where each part's numbers lie."""
    ends = accumulate(map(prod, sizes), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def packed(graph: Graph, values: Sequence[Value], origin: str) -> Value:
    """Return the values, [N, …] each, as one."""
    if len(values) == 1:
        return values[0]
    rows = [graph.add("Reshape", v, shape=(BATCH, prod(v.sizes)), origin=origin) for v in values]
    return graph.add("Concat", *rows, axis=1, origin=origin)


def unpacked(graph: Graph, value: Value, sizes: Sequence[Sizes], origin: str) -> list[Value]:
    """Return the parts of what was packed, [N, *size] each; what is packed is fed, and wants no gradient."""
    if len(sizes) == 1:
        return [value]
    parts = [
        graph.add("Slice", value, axis=1, start=p.start, stop=p.stop, origin=origin) for p in places(sizes)
    ]
    return [
        graph.add("Reshape", part, shape=(BATCH, *size), origin=origin)
        for part, size in zip(parts, sizes, strict=True)
    ]
