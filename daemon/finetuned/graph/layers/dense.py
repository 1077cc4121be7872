"""Fully connected layers, and softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from finetuned.graph.context import Context, Lowering, as_vector, channel_axis

if TYPE_CHECKING:
    from finetuned.graph.values import Value
    from finetuned.spec.model import InnerProduct, Layer


def _inner_product(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("InnerProduct", layer.parameters)
    x = as_vector(context, inputs[0], layer)
    w = context.parameter(layer, "weights", p.weights, (p.output_channels, p.input_channels))
    operands = [x, w]
    if p.bias is not None:
        operands.append(context.parameter(layer, "biases", p.bias, (p.output_channels,)))
    # OpenVINO's result is wrong where one constant is an operand of a Gemm as it is and of another transposed.
    if context.trains:
        return context.graph.add("Linear", *operands, origin=layer.name)
    # Constant weights are packed once.
    return context.graph.add("Gemm", *operands, transB=1, origin=layer.name)


def _softmax(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return context.graph.add("Softmax", inputs[0], axis=channel_axis(inputs[0]), origin=layer.name)


LOWERINGS: dict[str, Lowering] = {
    "innerProduct": _inner_product,
    "softmax": _softmax,
}
