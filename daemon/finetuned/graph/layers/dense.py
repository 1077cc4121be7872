"""Fully connected layers, flattening, and softmax."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

from finetuned.graph.context import (
    Context,
    Lowering,
    as_vector,
    batch_first,
    channel_axis,
    is_batch_last,
    is_image,
)

if TYPE_CHECKING:
    from finetuned.graph.values import Value
    from finetuned.spec.model import Flatten, InnerProduct, Layer


def _inner_product(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("InnerProduct", layer.parameters)
    x = as_vector(context, inputs[0], layer)
    w = context.parameter(layer, "weights", p.weights, (p.output_channels, p.input_channels))
    operands = [x, w]
    if p.bias is not None:
        operands.append(context.parameter(layer, "biases", p.bias, (p.output_channels,)))
    return context.graph.add("Gemm", *operands, transB=1, origin=layer.name)


def _flatten(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Row-major over [C, H, W], or over [H, W, C] where the layer says so."""
    x = inputs[0]
    if is_image(x) and cast("Flatten", layer.parameters).channel_last:
        perm = (1, 2, 0, 3) if is_batch_last(x) else (0, 2, 3, 1)
        x = context.graph.add("Transpose", x, perm=perm, origin=layer.name)
    return batch_first(context, x, (prod(x.sizes),), layer.name)


def _softmax(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return context.graph.add("Softmax", inputs[0], axis=channel_axis(inputs[0]), origin=layer.name)


LOWERINGS: dict[str, Lowering] = {
    "flatten": _flatten,
    "innerProduct": _inner_product,
    "softmax": _softmax,
}
