"""Primitives on images [C, H, W, N], the batch last: everything that trains in space.

All that looks at other positions is one primitive, `Collect`: sums of positions by a constant table (`tables`), whose
gradient is a `Collect` by the inverse table.  The columns of a convolution, its gradient, a deconvolution, a mean, a
nearest-neighbour upsampling and a zero padding are tables, nothing more.  What mixes channels is one other, `Product`.

With the batch last a table moves runs of N numbers, weights lie as in the file, and a group of channels is a matrix.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from finetuned.graph import tables
from finetuned.graph.primitive import Gradients, Primitive, constant
from finetuned.graph.values import BATCH, Node, Shape, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.ir import Graph
    from finetuned.graph.tables import Table


_ONE_BEHIND = np.array([0, 0, 0, 0, 1, 0], dtype=np.int64)
"""ONNX's pads of [C, P, N]: one position behind the last."""


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────
def _channels(a: Shape) -> tuple[int, tuple[int, ...]]:
    """The channels and the size of an image."""
    if a[-1] != BATCH or len(a) < 2:  # noqa: PLR2004 - channels and batch
        raise ValueError("an image with the batch last is expected")
    channels, *size = (int(d) for d in a[:-1])
    return channels, tuple(size)


def _collect(a: Shape, *, table: Table, size: tuple[int, ...]) -> Shape:
    channels, _ = _channels(a)
    if table.shape[-1] != prod(size):
        raise ValueError(f"a table of {table.shape[-1]} windows does not make {list(size)}")
    return (channels * table.shape[1], *size, BATCH)


def _product(w: Shape, x: Shape, *_: Shape, groups: int = 1, transposed: int = 0) -> Shape:
    rows, inner = int(w[0]), prod(int(d) for d in w[1:]) * groups
    channels, size = _channels(x)
    expected, made = (rows, inner) if transposed else (inner, rows)
    if channels != expected:
        raise ValueError(f"{channels} inputs arrive, {expected} are expected")
    if rows % groups:
        raise ValueError(f"{groups} groups cannot share {rows} channels")
    return (made, *size, BATCH)


def _outer(_: Shape, __: Shape, *, shape: tuple[int, ...], groups: int = 1) -> Shape:
    del groups
    return shape


def _zero_behind(a: Shape) -> Shape:
    channels, size = _channels(a)
    return (channels, prod(size) + 1, BATCH)


def _window_max(cols: Shape, *, window: int) -> Shape:
    channels, size = _channels(cols)
    return (channels // window, *size, BATCH)


def _spread(cols: Shape, *_: Shape, window: int) -> Shape:
    del window
    return cols


# ── gradients ───────────────────────────────────────────────────────────────────────────────────
def _collect_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """Each position gets the sum over the windows that look at it."""
    (x,) = node.inputs
    channels, *size = x.sizes
    back = tables.inverse(node.attributes["table"], prod(size))
    dy, back = _with_a_zero(graph, dy, back)
    places = graph.add("Reshape", dy, shape=(channels, prod(dy.sizes) // channels, BATCH), origin=node.origin)
    return (graph.add("Collect", places, table=back, size=tuple(size), origin=node.origin),)


def _with_a_zero(graph: Graph, dy: Value, table: Table) -> tuple[Value, Table]:
    """Let the product that made `dy` make a zero for each `NONE` of the table: a nought more goes in.

    Else `Collect` adds the zeros to its input, which is a copy of the largest blob there is.
    """
    product = graph.maker(dy)
    if product is None or product.op != "Product" or not (table == tables.NONE).any():
        return dy, table
    w, g, *bias = product.inputs
    if bias:  # which would be added to the nought
        return dy, table
    columns = prod(g.sizes[1:])
    wide = graph.add("ZeroBehind", g, origin=product.origin)
    moved = table + table // columns
    return (
        graph.add("Product", w, wide, origin=product.origin, **product.attributes),
        np.where(table == tables.NONE, np.int32(columns), moved).astype(np.int32),
    )


def _product_gradient(graph: Graph, node: Node, dy: Value, wanted: frozenset[Value]) -> Gradients:
    """Of y = W x + b: dW = dy xᵀ, dx = Wᵀ dy, db = Σ dy; of y = Wᵀ x: dW = x dyᵀ, dx = W dy."""
    w, x, *biases = node.inputs
    groups, transposed = node.attributes.get("groups", 1), node.attributes.get("transposed", 0)
    dw = dx = db = None
    if w in wanted:
        rows, inner = (x, dy) if transposed else (dy, x)
        dw = graph.add("Outer", rows, inner, shape=w.sizes, groups=groups, origin=node.origin)
    if x in wanted:
        dx = graph.add("Product", w, dy, groups=groups, transposed=1 - transposed, origin=node.origin)
    if biases and biases[0] in wanted:
        db = graph.add("ReduceSum", dy, axes=tuple(range(1, len(dy.shape))), keepdims=0, origin=node.origin)
    return (dw, dx, db)[: len(node.inputs)]


def _window_max_gradient(graph: Graph, node: Node, dy: Value, _: frozenset[Value]) -> Gradients:
    """The first of the greatest of each window gets dy, also where several are equal."""
    (cols,) = node.inputs
    window = node.attributes["window"]
    return (graph.add("FirstGreatest", cols, node.output, dy, window=window, origin=node.origin),)


# ── emission ────────────────────────────────────────────────────────────────────────────────────
def _reshaped(name: str, shape: Sequence[int], made: str) -> list[Any]:
    return [
        constant(np.array(shape, dtype=np.int64), f"{made}.shape"),
        helper.make_node("Reshape", [name, f"{made}.shape"], [made]),
    ]


def _emit_collect(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    table: Table = node.attributes["table"]
    channels, *size = node.inputs[0].sizes
    positions, deep = prod(size), len(table)
    nodes = _reshaped(inputs[0], (channels, positions, -1), f"{output}.flat")
    last = f"{output}.flat"
    if not np.array_equal(table.reshape(-1), np.arange(positions)):
        nodes += _gathered(last, table, positions, output)
        last = f"{output}.gathered"
    if deep > 1:
        nodes += _reshaped(last, (channels, deep, table[0].size, -1), f"{output}.deep")
        nodes += _summed(f"{output}.deep", 1, f"{output}.sum")
        last = f"{output}.sum"
    return nodes + _reshaped(last, (*node.output.sizes, -1), output)


def _emit_zero_behind(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    channels, count = node.output.sizes
    return [
        *_reshaped(inputs[0], (channels, count - 1, -1), f"{output}.flat"),
        constant(_ONE_BEHIND, f"{output}.pads"),
        helper.make_node("Pad", [f"{output}.flat", f"{output}.pads"], [output]),
    ]


def _gathered(flat: str, table: Table, positions: int, output: str) -> list[Any]:
    """Gather along the positions; what lies outside is a position behind the last, which holds zeros."""
    outside = table == tables.NONE
    nodes = []
    if outside.any():
        pads = constant(_ONE_BEHIND, f"{output}.pads")
        nodes = [pads, helper.make_node("Pad", [flat, f"{output}.pads"], [f"{output}.padded"])]
        flat = f"{output}.padded"
    index = np.where(outside, np.int32(positions), table).reshape(-1)
    return [
        *nodes,
        constant(index, f"{output}.index"),
        helper.make_node("Gather", [flat, f"{output}.index"], [f"{output}.gathered"], axis=1),
    ]


def _summed(name: str, axis: int, made: str) -> list[Any]:
    return [
        constant(np.array([axis], dtype=np.int64), f"{made}.axes"),
        helper.make_node("ReduceSum", [name, f"{made}.axes"], [made], keepdims=0),
    ]


def _emit_product(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    w, _ = node.inputs[:2]
    groups, transposed = node.attributes.get("groups", 1), node.attributes.get("transposed", 0)
    emit = _emit_one if groups == 1 else _emit_grouped
    nodes = emit(list(inputs), groups, (w.sizes[0], prod(w.sizes[1:])), transposed, f"{output}.flat")
    return nodes + _reshaped(f"{output}.flat", (*node.output.sizes, -1), output)


def _emit_one(inputs: list[str], _: int, matrix: tuple[int, int], transposed: int, made: str) -> list[Any]:
    rows, inner = matrix
    nodes = _reshaped(inputs[0], matrix, f"{made}.w")
    nodes += _reshaped(inputs[1], (rows if transposed else inner, -1), f"{made}.x")
    operands = [f"{made}.w", f"{made}.x"]
    if len(inputs) > 2:  # noqa: PLR2004 - a bias
        nodes += _reshaped(inputs[2], (-1, 1), f"{made}.b")
        operands.append(f"{made}.b")
    return [*nodes, helper.make_node("Gemm", operands, [made], transA=transposed)]


def _emit_grouped(
    inputs: list[str], groups: int, matrix: tuple[int, int], transposed: int, made: str
) -> list[Any]:
    rows, inner = matrix[0] // groups, matrix[1]
    nodes = _reshaped(inputs[0], (groups, rows, inner), f"{made}.w")
    nodes += _reshaped(inputs[1], (groups, rows if transposed else inner, -1), f"{made}.x")
    w = f"{made}.w"
    if transposed:
        nodes.append(helper.make_node("Transpose", [w], [f"{made}.wt"], perm=(0, 2, 1)))
        w = f"{made}.wt"
    if len(inputs) == 2:  # noqa: PLR2004 - no bias
        return [*nodes, helper.make_node("MatMul", [w, f"{made}.x"], [made])]
    nodes += _reshaped(inputs[2], (groups, -1, 1), f"{made}.b")
    nodes.append(helper.make_node("MatMul", [w, f"{made}.x"], [f"{made}.wx"]))
    return [*nodes, helper.make_node("Add", [f"{made}.wx", f"{made}.b"], [made])]


def _emit_outer(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    shape, groups = node.attributes["shape"], node.attributes.get("groups", 1)
    rows, inner = shape[0] // groups, prod(shape[1:])
    lead = () if groups == 1 else (groups,)
    nodes = _reshaped(inputs[0], (*lead, rows, -1), f"{output}.a")
    nodes += _reshaped(inputs[1], (*lead, inner, -1), f"{output}.b")
    a, b, flat = (f"{output}.{part}" for part in ("a", "b", "flat"))
    if groups == 1:
        nodes.append(helper.make_node("Gemm", [a, b], [flat], transB=1))
    else:
        nodes.append(helper.make_node("Transpose", [b], [f"{output}.bt"], perm=(0, 2, 1)))
        nodes.append(helper.make_node("MatMul", [a, f"{output}.bt"], [flat]))
    return nodes + _reshaped(flat, shape, output)


def _emit_window_max(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    window = node.attributes["window"]
    channels, *size = node.output.sizes
    wide = (channels, window, prod(size), -1)
    return [
        *_reshaped(inputs[0], wide, f"{output}.wide"),
        helper.make_node("ReduceMax", [f"{output}.wide"], [f"{output}.max"], axes=[1], keepdims=0),
        *_reshaped(f"{output}.max", (*node.output.sizes, -1), output),
    ]


def _emit_first_greatest(node: Node, inputs: Sequence[str], output: str) -> list[Any]:
    """Dy where a number is the first of its window that equals the maximum, else 0.

    HardSigmoid(1e38 (x - max) + 1) is 1 where they are equal, else 0, in one vectorised pass; of these the first is the one
    with none before it.
    """
    window = node.attributes["window"]
    channels, *size = node.inputs[1].sizes
    names = {
        part: f"{output}.{part}"
        for part in ("x", "y", "dy", "below", "top", "axis", "before", "left", "first", "all")
    }
    wide, narrow = (channels, window, prod(size), -1), (channels, 1, prod(size), -1)
    one = {"alpha": 1e38, "beta": 1.0}
    return [
        *_reshaped(inputs[0], wide, names["x"]),
        *_reshaped(inputs[1], narrow, names["y"]),
        *_reshaped(inputs[2], narrow, names["dy"]),
        helper.make_node("Sub", [names["x"], names["y"]], [names["below"]]),
        helper.make_node("HardSigmoid", [names["below"]], [names["top"]], **one),
        constant(np.array(1, dtype=np.int64), names["axis"]),
        helper.make_node("CumSum", [names["top"], names["axis"]], [names["before"]], exclusive=1),
        helper.make_node("Sub", [names["top"], names["before"]], [names["left"]]),
        helper.make_node("Relu", [names["left"]], [names["first"]]),
        helper.make_node("Mul", [names["first"], names["dy"]], [names["all"]]),
        *_reshaped(names["all"], (*node.output.sizes, -1), output),
    ]


PRIMITIVES: dict[str, Primitive] = {
    "Collect": Primitive(shape=_collect, gradient=_collect_gradient, emit=_emit_collect),
    "Product": Primitive(shape=_product, gradient=_product_gradient, emit=_emit_product),
    "ZeroBehind": Primitive(shape=_zero_behind, emit=_emit_zero_behind),
    "Outer": Primitive(shape=_outer, emit=_emit_outer),
    "WindowMax": Primitive(shape=_window_max, gradient=_window_max_gradient, emit=_emit_window_max),
    "FirstGreatest": Primitive(shape=_spread, emit=_emit_first_greatest),
}
