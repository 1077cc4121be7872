"""Layers that work number by number: activations, functions, and what merges several blobs."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.context import Context, Lowering, as_image, stored
from finetuned.graph.layers.channels import along
from finetuned.graph.values import IMAGE_RANK, SEQUENCE_RANK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.graph.values import Value
    from finetuned.spec.kinds import Multiply, Unary
    from finetuned.spec.model import Activation, Add, Clip, Layer, Weights

_ACTIVATIONS: dict[str, tuple[str, Callable[[Activation], Mapping[str, float]]]] = {
    "ReLU": ("Relu", lambda _: {}),
    "sigmoid": ("Sigmoid", lambda _: {}),
    "tanh": ("Tanh", lambda _: {}),
    "leakyReLU": ("LeakyRelu", lambda a: {"alpha": a.alpha}),
    "sigmoidHard": ("HardSigmoid", lambda a: {"alpha": a.alpha, "beta": a.beta}),
    "thresholdedReLU": ("ThresholdedRelu", lambda a: {"alpha": a.alpha}),
    "softsign": ("Softsign", lambda _: {}),
    "softplus": ("Softplus", lambda _: {}),
}


# ── activations ─────────────────────────────────────────────────────────────────────────────────
def _activation(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p, x = cast("Activation", layer.parameters), inputs[0]
    if p.type in _ACTIVATIONS:
        operator, attributes = _ACTIVATIONS[p.type]
        return context.graph.add(operator, x, origin=layer.name, **attributes(p))
    return _COMPOSED[p.type](context, layer, p, x)


def _linear(context: Context, layer: Layer, p: Activation, x: Value) -> Value:
    return _scaled(context, layer, x, p.alpha, p.beta)


def _scaled_tanh(context: Context, layer: Layer, p: Activation, x: Value) -> Value:
    inner = context.graph.add("Tanh", _scaled(context, layer, x, p.beta), origin=layer.name)
    return _scaled(context, layer, inner, p.alpha)


def _elu(context: Context, layer: Layer, p: Activation, x: Value) -> Value:
    """max(x, 0) + alpha e^min(x, 0) - alpha: onnxruntime's own Elu takes twice the time, and has no gradient."""
    above, below = _halves(context, layer, x)
    power = context.graph.add("Exp", below, origin=layer.name)
    return context.graph.add(
        "Add", above, _scaled(context, layer, power, p.alpha, -p.alpha), origin=layer.name
    )


def _prelu(context: Context, layer: Layer, p: Activation, x: Value) -> Value:
    """max(x, 0) + slope · min(x, 0); a slope for each channel, or one for all."""
    above, below = _halves(context, layer, x)
    sloped = context.graph.add("Mul", below, _numbers(context, layer, x, p.alphas), origin=layer.name)
    return context.graph.add("Add", above, sloped, origin=layer.name)


def _halves(context: Context, layer: Layer, x: Value) -> tuple[Value, Value]:
    """Return max(x, 0) and min(x, 0)."""
    above = context.graph.add("Relu", x, origin=layer.name)
    return above, context.graph.add("Sub", x, above, origin=layer.name)


def _parametric_softplus(context: Context, layer: Layer, p: Activation, x: Value) -> Value:
    """Return alpha log(1 + e^(beta x))."""
    graph = context.graph
    steep = graph.add("Mul", x, _numbers(context, layer, x, p.betas), origin=layer.name)
    soft = graph.add("Softplus", steep, origin=layer.name)
    return graph.add("Mul", soft, _numbers(context, layer, x, p.alphas), origin=layer.name)


def _numbers(context: Context, layer: Layer, x: Value, weights: Weights | None) -> Value:
    """One number, or one for each channel, as they lie along x."""
    if weights is None or len(x.shape) == SEQUENCE_RANK:
        raise ModelError(
            f"layer {layer.name!r} (activation) has no numbers for the channels of {list(x.sizes)}"
        )
    channels = x.sizes[0]
    single = weights.encodings == ("floatValue",) and len(weights.data) == np.dtype("<f4").itemsize
    array = stored(layer, weights, (1,) if single else (channels,))
    return context.graph.constant(layer.name, along(x, array))


_COMPOSED: dict[str, Callable[[Context, Layer, Activation, Value], Value]] = {
    "linear": _linear,
    "scaledTanh": _scaled_tanh,
    "ELU": _elu,
    "PReLU": _prelu,
    "parametricSoftplus": _parametric_softplus,
}


# ── functions ───────────────────────────────────────────────────────────────────────────────────
def _scaled(context: Context, layer: Layer, x: Value, factor: float, offset: float = 0.0) -> Value:
    """Return factor · x + offset, without what changes nothing."""
    if factor != 1.0:
        x = context.graph.add("Mul", x, number(context, factor), origin=layer.name)
    return context.graph.add("Add", x, number(context, offset), origin=layer.name) if offset else x


def number(context: Context, value: float) -> Value:
    """Return a constant that broadcasts over anything."""
    return context.graph.constant("number", np.array([value], dtype=np.float32))


def _clip(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Clip", layer.parameters)
    return context.graph.add("Clip", inputs[0], minimum=p.minimum, maximum=p.maximum, origin=layer.name)


def _unary(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p, graph = cast("Unary", layer.parameters), context.graph
    x = _scaled(context, layer, inputs[0], p.scale, p.shift)
    if p.type in {"RSQRT", "INVERSE"}:
        x = graph.add("Add", x, number(context, p.epsilon), origin=layer.name)
        x = graph.add("Sqrt", x, origin=layer.name) if p.type == "RSQRT" else x
        return graph.add("Div", number(context, 1.0), x, origin=layer.name)
    operator, has_alpha = _FUNCTIONS[p.type]
    return graph.add(operator, x, *([number(context, p.alpha)] if has_alpha else []), origin=layer.name)


_FUNCTIONS = {
    "SQRT": ("Sqrt", False),
    "POWER": ("Pow", True),
    "EXP": ("Exp", False),
    "LOG": ("Log", False),
    "ABS": ("Abs", False),
    "THRESHOLD": ("Max", True),
}


# ── several blobs ───────────────────────────────────────────────────────────────────────────────
def _add(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    if len(inputs) == 1:
        return _scaled(context, layer, inputs[0], 1.0, cast("Add", layer.parameters).alpha)
    return _merged(context, layer, inputs, "Add")


def _multiply(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    if len(inputs) == 1:
        return _scaled(context, layer, inputs[0], cast("Multiply", layer.parameters).alpha)
    return _merged(context, layer, inputs, "Mul")


def _average(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return _scaled(context, layer, _merged(context, layer, inputs, "Add"), 1 / len(inputs))


def _max(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return _merged(context, layer, inputs, "Max")


def _min(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return _merged(context, layer, inputs, "Min")


def _broadcastable(operator: str) -> Lowering:
    """Return the rule of a layer that counts axes from the last one: right where all have as many."""

    def rule(context: Context, layer: Layer, inputs: list[Value]) -> Value:
        if len({len(value.shape) for value in inputs}) > 1:
            shapes = " and ".join(str(list(value.sizes)) for value in inputs)
            raise ModelError(f"layer {layer.name!r} ({layer.type}) merges {shapes}; as many axes are needed")
        return _merged(context, layer, inputs, operator)

    return rule


def _merged(context: Context, layer: Layer, inputs: list[Value], operator: str) -> Value:
    """Merge with broadcasting; a vector among images counts as [C, 1, 1]."""
    if any(len(value.shape) == IMAGE_RANK for value in inputs):
        inputs = [as_image(context, value, layer) for value in inputs]
    return reduce(lambda a, b: context.graph.add(operator, a, b, origin=layer.name), inputs)


LOWERINGS: dict[str, Lowering] = {
    "activation": _activation,
    "clip": _clip,
    "unary": _unary,
    "add": _add,
    "multiply": _multiply,
    "average": _average,
    "max": _max,
    "min": _min,
    "addBroadcastable": _broadcastable("Add"),
    "multiplyBroadcastable": _broadcastable("Mul"),
}
