"""Two rewritings that save passes over the largest blobs of a convolutional network, and change no result.

* The greatest of a ReLU is the ReLU of the greatest: the same number is the first of the greatest wherever a gradient passes
  at all, and the ReLU has a window's worth less to do.
* A convolution whose windows are pooled without overlap makes its pixels in the pooling's order at once: nothing is
  gathered a second time.

What is rewritten stays in the graph for whoever else reads it; what nobody reads is never emitted.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from finetuned.graph import tables
from finetuned.graph.values import BATCH

if TYPE_CHECKING:
    from finetuned.graph.ir import Graph
    from finetuned.graph.tables import Table
    from finetuned.graph.values import Node, Value

Pair = tuple[int, int]


def before_relu(graph: Graph, value: Value) -> Value:
    """Return what the ReLU that made `value` was made from, or `value` itself."""
    node = graph.maker(value)
    return node.inputs[0] if node is not None and node.op == "Relu" else value


def places(graph: Graph, value: Value, table: Table, size: Pair, origin: str) -> Value:
    """Return the places [C·K, *size, N] of windows over `value` by `table` [1, K, P]."""
    product = graph.maker(value)
    columns = graph.maker(product.inputs[1]) if product is not None and product.op == "Product" else None
    if product is None or columns is None or not _can_be_ordered(value, columns, table):
        return graph.add("Collect", value, table=table, size=size, origin=origin)
    window, count = table.shape[1:]
    ordered: Table = columns.attributes["table"][:, :, table.reshape(-1)]
    made = graph.add("Collect", *columns.inputs, table=ordered, size=(window, count), origin=product.origin)
    weights, _, *bias = product.inputs
    pixels = graph.add("Product", weights, made, *bias, origin=product.origin, **product.attributes)
    return graph.add("Reshape", pixels, shape=(pixels.sizes[0] * window, *size, BATCH), origin=origin)


def _can_be_ordered(value: Value, columns: Node, table: Table) -> bool:
    """Whether it is columns that are multiplied, and the windows ask for no pixel twice and for none outside."""
    return (
        columns.op == "Collect"
        and len(columns.attributes["table"]) == 1
        and table.size <= prod(value.sizes[1:])
        and bool((table != tables.NONE).all())
    )
