"""From the compiler's graph to the bytes of an ONNX model.

Only what the outputs need is emitted.  Operator set 17 and IR version 8 are old enough for every onnxruntime that
finetuned allows.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from finetuned.graph.ops import PRIMITIVES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finetuned.graph.ir import Graph
    from finetuned.graph.values import Node, Value

OPSET = 17
IR_VERSION = 8

_ELEMENT = {
    "float32": onnx.TensorProto.FLOAT,
    "uint8": onnx.TensorProto.UINT8,
}


def emit(graph: Graph) -> bytes:
    """Return the graph as a serialized ONNX model; inputs and outputs carry their own names."""
    # What is fed, or a constant, keeps its own name; and a value that is an output twice has one name.
    renamed = {value: value.name for value in (*graph.inputs, *graph.constants)}
    for name, value in graph.outputs.items():
        renamed.setdefault(value, name)
    nodes, used = _needed(graph.nodes, graph.outputs.values())
    body = _shared(made for node in nodes for made in _emitted(node, renamed))
    body += [
        helper.make_node("Identity", [renamed[value]], [name])
        for name, value in graph.outputs.items()
        if renamed[value] != name
    ]
    proto = helper.make_graph(
        body,
        "finetuned",
        [_declared(value.name, value) for value in used_inputs(graph)],
        [_declared(name, value) for name, value in graph.outputs.items()],
        [
            numpy_helper.from_array(array, value.name)
            for value, array in graph.constants.items()
            if value in used
        ],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def used_inputs(graph: Graph) -> list[Value]:
    """Return the inputs that an output depends on: the emitted model has no others."""
    _, used = _needed(graph.nodes, graph.outputs.values())
    return [value for value in graph.inputs if value in used]


def _needed(nodes: list[Node], outputs: Iterable[Value]) -> tuple[list[Node], set[Value]]:
    """The nodes that an output depends on, in order, and every value that they and the outputs are made from."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if node.output in wanted:
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1], wanted


def _emitted(node: Node, names: dict[Value, str]) -> list[Any]:
    inputs = [_name(value, names) for value in node.inputs]
    output = _name(node.output, names)
    custom = PRIMITIVES[node.op].emit
    if custom is not None:
        return custom(node, inputs, output)
    return [helper.make_node(node.op, inputs, [output], **node.attributes)]


def _shared(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Keep one of several nodes that make the same constant: layers alike have the same tables."""
    kept: list[onnx.NodeProto] = []
    first: dict[bytes, str] = {}
    names: dict[str, str] = {}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        if node.op_type == "Constant":
            content = sha256(node.attribute[0].SerializeToString()).digest()
            names[node.output[0]] = first.setdefault(content, node.output[0])
            if first[content] != node.output[0]:
                continue
        kept.append(node)
    return kept


def _name(value: Value, names: dict[Value, str]) -> str:
    return names.get(value, value.name)


def _declared(name: str, value: Value) -> Any:  # noqa: ANN401 - onnx has no usable types
    return helper.make_tensor_value_info(name, _ELEMENT[str(np.dtype(value.dtype))], list(value.shape))
