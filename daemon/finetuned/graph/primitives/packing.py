"""Primitives that put several rows of numbers into one, and take one apart again: how several blobs are fed as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from finetuned.graph.primitive import Primitive, constant
from finetuned.graph.values import VECTOR_RANK, Node, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence


def _packed(*shapes: Shape) -> Shape:
    if any(len(shape) != VECTOR_RANK or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError("one row per sample is expected of each")
    return (shapes[0][0], sum(int(shape[1]) for shape in shapes))


def _part(a: Shape, *, start: int, stop: int) -> Shape:
    if len(a) != VECTOR_RANK or not 0 <= start < stop <= int(a[1]):
        raise ValueError(f"there are no columns {start} to {stop}")
    return (a[0], stop - start)


def _emit_pack(_: Node, inputs: Sequence[str], output: str) -> list[Any]:
    return [helper.make_node("Concat", list(inputs), [output], axis=1)]


def _emit_part(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Return the columns from `start` up to `stop`, exclusive."""
    ends = {"start": node.attributes["start"], "stop": node.attributes["stop"], "axis": 1}
    names = {part: f"{output}.{part}" for part in ends}
    made = [constant(np.array([number], dtype=np.int64), names[part]) for part, number in ends.items()]
    return [*made, helper.make_node("Slice", [inputs[0], *names.values()], [output])]


PRIMITIVES: dict[str, Primitive] = {
    "Pack": Primitive(shape=_packed, emit=_emit_pack),
    "Part": Primitive(shape=_part, emit=_emit_part),
}
