"""Layers that work number by number: activations, sums, and what is done to each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.context import Context, Lowering, as_image
from finetuned.graph.values import IMAGE_RANK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.graph.values import Value
    from finetuned.spec.model import Activation, Add, Clip, Layer

_ACTIVATIONS: dict[str, tuple[str, Callable[[Activation], Mapping[str, float]]]] = {
    "ReLU": ("Relu", lambda _: {}),
    "sigmoid": ("Sigmoid", lambda _: {}),
    "tanh": ("Tanh", lambda _: {}),
    "leakyReLU": ("LeakyRelu", lambda a: {"alpha": a.alpha}),
    "ELU": ("Elu", lambda a: {"alpha": a.alpha}),
    "sigmoidHard": ("HardSigmoid", lambda a: {"alpha": a.alpha, "beta": a.beta}),
    "thresholdedReLU": ("ThresholdedRelu", lambda a: {"alpha": a.alpha}),
    "softsign": ("Softsign", lambda _: {}),
    "softplus": ("Softplus", lambda _: {}),
}


def _activation(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Activation", layer.parameters)
    x = inputs[0]
    if p.type in _ACTIVATIONS:
        operator, attributes = _ACTIVATIONS[p.type]
        return context.graph.add(operator, x, origin=layer.name, **attributes(p))
    if p.type == "linear":
        return _scaled(context, layer, x, p.alpha, p.beta)
    if p.type == "scaledTanh":
        inner = context.graph.add("Tanh", _scaled(context, layer, x, p.beta, 0.0), origin=layer.name)
        return _scaled(context, layer, inner, p.alpha, 0.0)
    raise ModelError(f"layer {layer.name!r}: the activation {p.type} cannot be run yet")


def _scaled(context: Context, layer: Layer, x: Value, factor: float, offset: float) -> Value:
    graph = context.graph
    product = graph.add("Mul", x, graph.constant("factor", np.float32(factor).reshape(1)), origin=layer.name)
    return graph.add(
        "Add", product, graph.constant("offset", np.float32(offset).reshape(1)), origin=layer.name
    )


def _clip(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Clip", layer.parameters)
    return context.graph.add("Clip", inputs[0], minimum=p.minimum, maximum=p.maximum, origin=layer.name)


def _add(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """The sum with broadcasting; a vector among images counts as [C, 1, 1]."""
    if any(len(value.shape) == IMAGE_RANK for value in inputs):
        inputs = [as_image(context, value, layer) for value in inputs]
    if len(inputs) == 1:
        alpha = context.graph.constant("alpha", np.float32(cast("Add", layer.parameters).alpha).reshape(1))
        return context.graph.add("Add", inputs[0], alpha, origin=layer.name)
    total = inputs[0]
    for value in inputs[1:]:
        total = context.graph.add("Add", total, value, origin=layer.name)
    return total


LOWERINGS: dict[str, Lowering] = {
    "activation": _activation,
    "add": _add,
    "clip": _clip,
}
