"""Layers that work with one number per channel: batch normalisation, scale, bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.context import Context, Lowering, is_batch_last, is_image, stored

if TYPE_CHECKING:
    from finetuned.graph.values import Array, Value
    from finetuned.spec.kinds import Batchnorm, Bias, Scale
    from finetuned.spec.model import Layer


def _batchnorm(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """Return factor · x + offset, both computed in float64: gamma / √(variance + ε), and beta - mean · factor."""
    p, x = cast("Batchnorm", layer.parameters), inputs[0]
    if p.mean is None or p.variance is None:
        raise ModelError(
            f"layer {layer.name!r} (batchnorm) takes mean and variance from what arrives (computeMeanVar, "
            "instanceNormalization), which finetuned does not run; export the network with its running averages"
        )
    gamma, beta, mean, variance = (
        stored(layer, each, (p.channels,)).astype(np.float64)
        for each in (p.gamma, p.beta, p.mean, p.variance)
    )
    if not (variance + p.epsilon > 0).all():
        raise ModelError(f"layer {layer.name!r} (batchnorm) has a variance that is not positive")
    factor = gamma / np.sqrt(variance + p.epsilon)
    scaled = _applied(context, layer, "Mul", x, factor)
    return _applied(context, layer, "Add", scaled, beta - mean * factor)


def _scale(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Scale", layer.parameters)
    y = _applied(context, layer, "Mul", inputs[0], stored(layer, p.scale, p.shape))
    return y if p.bias is None else _applied(context, layer, "Add", y, stored(layer, p.bias, p.bias_shape))


def _bias(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Bias", layer.parameters)
    return _applied(context, layer, "Add", inputs[0], stored(layer, p.bias, p.shape))


# ── parts ───────────────────────────────────────────────────────────────────────────────────────
def _applied(context: Context, layer: Layer, op: str, x: Value, numbers: Array) -> Value:
    """Return x `op` numbers, which are [1], [C], [1, H, W] or [C, H, W] and lie along x's axes."""
    graph = context.graph
    constant = graph.constant(layer.name, along(x, np.asarray(numbers, dtype=np.float32)))
    y = graph.add(op, x, constant, origin=layer.name)
    if y.shape != x.shape:
        raise ModelError(
            f"layer {layer.name!r} ({layer.type}) has numbers for {list(numbers.shape)} where {list(x.sizes)} arrives"
        )
    return y


def along(x: Value, numbers: Array) -> Array:
    """Return numbers of the shape [1], [C], [1, H, W] or [C, H, W] as they broadcast over `x`."""
    if not is_image(x):
        return numbers.reshape(-1)
    spread = numbers.reshape(-1, 1, 1) if numbers.ndim == 1 else numbers
    return spread[..., None] if is_batch_last(x) else spread


LOWERINGS: dict[str, Lowering] = {"batchnorm": _batchnorm, "scale": _scale, "bias": _bias}
