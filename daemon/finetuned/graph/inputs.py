"""From a model's inputs to the first blobs: shapes, pixels, and what is done to them before the first layer."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.values import BATCH, Array, Shape, Value
from finetuned.spec.model import ArrayType, Color, Feature, ImageType, Network, Preprocessing

if TYPE_CHECKING:
    from finetuned.graph.context import Context
    from finetuned.graph.ir import Graph


def declare(context: Context, network: Network, feature: Feature) -> None:
    """Declare a model input and put its blob (after preprocessing) into the context."""
    if isinstance(feature.type, ImageType):
        _declare_image(context, network, feature.name, feature.type)
    elif isinstance(feature.type, ArrayType):
        context.blobs[feature.name] = context.graph.input(
            feature.name, _array_shape(network, feature.name, feature.type)
        )
    else:
        raise ModelError(f"input {feature.name!r} is neither an image nor a multi-array")


def _array_shape(network: Network, name: str, type_: ArrayType) -> Shape:
    """RANK5: [C] or [C, H, W] only.  EXACT: a vector means the same; more axes have no batch axis to spare."""
    allowed = (1,) if network.exact_shapes else (1, 3)
    if len(type_.shape) not in allowed or any(size < 1 for size in type_.shape):
        mapping = "EXACT" if network.exact_shapes else "RANK5"
        raise ModelError(
            f"input {name!r} has shape {list(type_.shape)}; with {mapping} shapes finetuned takes rank {' or '.join(map(str, allowed))}"
        )
    return (BATCH, *type_.shape)


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
