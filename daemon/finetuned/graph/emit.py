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

_INNER = ":"
"""What the names of inner values begin with; repeated until no name of a model's begins so."""

_ELEMENT = {
    "float32": onnx.TensorProto.FLOAT,
    "uint8": onnx.TensorProto.UINT8,
}


def emit(graph: Graph) -> bytes:
    """Return the graph as a serialized ONNX model; inputs and outputs carry their own names."""
    names = _names(graph)
    nodes, used = _needed(graph.nodes, graph.outputs.values())
    wanted = _wanted(graph, names)
    body = _shared((made for node in nodes for made in _emitted(node, names)), wanted)
    body += [
        helper.make_node("Identity", [wanted.get(names[value], names[value])], [name])
        for name, value in graph.outputs.items()
        if wanted.get(names[value]) != name
    ]
    proto = helper.make_graph(
        body,
        "finetuned",
        [_declared(value.name, value) for value in used_inputs(graph)],
        [_declared(name, value) for name, value in graph.outputs.items()],
        [
            numpy_helper.from_array(array, names[value])
            for value, array in graph.constants.items()
            if value in used
        ],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _names(graph: Graph) -> dict[Value, str]:
    """Name every value: what is fed by its own name, anything else as nothing that is fed or wanted is called."""
    names = {value: value.name for value in graph.inputs}
    inner = _INNER
    while any(name.startswith(inner) for name in (*names.values(), *graph.outputs)):
        inner += _INNER
    return names | {
        value: f"{inner}{value.name}" for value in (*graph.constants, *(node.output for node in graph.nodes))
    }


def _wanted(graph: Graph, names: dict[Value, str]) -> dict[str, str]:
    """Return what is to be called otherwise: values that nodes make and somebody wants, the first time that he does."""
    made = {node.output for node in graph.nodes}
    wanted: dict[str, str] = {}
    for name, value in graph.outputs.items():
        if value in made:
            wanted.setdefault(names[value], name)
    return wanted


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
    inputs = [names[value] for value in node.inputs]
    output = names[node.output]
    custom = PRIMITIVES[node.op].emit
    if custom is not None:
        return custom(node, inputs, output)
    return [helper.make_node(node.op, inputs, [output], **node.attributes)]


def _shared(nodes: Iterable[onnx.NodeProto], wanted: dict[str, str]) -> list[onnx.NodeProto]:
    """Keep one of several nodes that make the same constant (layers alike have the same tables), and call what is wanted so."""
    kept: list[onnx.NodeProto] = []
    first: dict[bytes, str] = {}
    names = dict(wanted)
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [wanted.get(name, name) for name in node.output]
        if node.op_type == "Constant":
            content = sha256(node.attribute[0].SerializeToString()).digest()
            names[node.output[0]] = first.setdefault(content, node.output[0])
            if first[content] != node.output[0]:
                continue
        kept.append(node)
    return kept


def _declared(name: str, value: Value) -> Any:  # noqa: ANN401 - onnx has no usable types
    return helper.make_tensor_value_info(name, _ELEMENT[str(np.dtype(value.dtype))], list(value.shape))
