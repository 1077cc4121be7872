"""From a model's inputs to the first blobs: shapes, pixels, and what is done to them before the first layer."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.values import BATCH, Array, Value
from finetuned.spec.model import ArrayType, Color, Feature, ImageType, Network, Preprocessing

if TYPE_CHECKING:
    from finetuned.graph.context import Context
    from finetuned.graph.ir import Graph


def declare(context: Context, network: Network, feature: Feature) -> None:
    """Declare a model input and put its blob (after preprocessing) into the context."""
    if isinstance(feature.type, ImageType):
        _declare_image(context, network, feature.name, feature.type)
    elif isinstance(feature.type, ArrayType):
        _declare_array(context, network, feature.name, feature.type)
    else:
        raise ModelError(f"input {feature.name!r} is neither an image nor a multi-array")


def _declare_array(context: Context, network: Network, name: str, type_: ArrayType) -> None:
    """Take an array as the file says, and hold it as a vector or an image."""
    held = (BATCH, *_size(name, type_.shape, exact=network.exact_shapes))
    value = context.graph.input(name, (BATCH, *type_.shape))
    if value.shape != held:
        value = context.graph.add("Reshape", value, shape=held, origin=name)
    context.blobs[name] = value


def _size(name: str, shape: tuple[int, ...], *, exact: bool) -> tuple[int, ...]:
    """Return [C] or [C, H, W].  EXACT shapes may have an axis of one in front: it counts samples, of which there is one."""
    front, size = ((), shape) if len(shape) % 2 or not exact else (shape[:1], shape[1:])
    if len(size) not in {1, 3} or front not in {(), (1,)} or any(each < 1 for each in size):
        allowed = "[C], [1, C], [C, H, W] or [1, C, H, W]" if exact else "[C] or [C, H, W]"
        mapping = "EXACT" if exact else "RANK5"
        raise ModelError(
            f"input {name!r} has shape {list(shape)}; with {mapping} shapes finetuned takes {allowed}"
        )
    return size


def _declare_image(context: Context, network: Network, name: str, type_: ImageType) -> None:
    """uint8 pixels 0…255 in the model's channel order, then scaler and bias, or the mean image."""
    graph = context.graph
    value = graph.add("Cast", graph.input(name, (BATCH, *type_.shape), "uint8"), origin=name)
    for step in network.preprocessing:
        if step.feature in {"", name}:
            value = _preprocess(graph, value, step, type_, name)
    context.blobs[name] = value


def _preprocess(graph: Graph, value: Value, step: Preprocessing, type_: ImageType, name: str) -> Value:
    if step.mean_image is not None:
        mean = _sized(step.mean_image, type_.shape, f"the mean image of input {name!r}")
        return graph.add("Sub", value, graph.constant(f"{name}.mean", mean), origin=name)
    if step.scale != 1.0:
        value = graph.add(
            "Mul", value, graph.constant(f"{name}.scale", np.float32(step.scale).reshape(1)), origin=name
        )
    rgb = (step.red_bias, step.green_bias, step.blue_bias)
    biases = {Color.rgb: rgb, Color.bgr: rgb[::-1], Color.grayscale: (step.gray_bias,)}[type_.color]
    if any(biases):
        bias = np.array(biases, dtype=np.float32).reshape(-1, 1, 1)
        value = graph.add("Add", value, graph.constant(f"{name}.bias", bias), origin=name)
    return value


def _sized(array: Array, shape: tuple[int, ...], what: str) -> Array:
    if array.size != prod(shape):
        raise ModelError(f"{what} has {array.size} numbers; {list(shape)} are expected")
    return array.reshape(shape)
