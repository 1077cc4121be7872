"""From Core ML layers to primitives: one small function per layer type, in one table.

How shapes are held.  Core ML's RANK5 tensors are [S, B, C, H, W]; a network that trains has S = 1, so here a blob is
[N, C, H, W], or [N, C] where it is a vector (H = W = 1).  What wants the other form reshapes, which copies nothing.
Sources of the formulas: NeuralNetwork.proto, and COREML.md §3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.values import BATCH, IMAGE_RANK, VECTOR_RANK, Array, Shape, Value
from finetuned.spec import codec
from finetuned.spec.model import (
    Activation,
    Add,
    ArrayType,
    Clip,
    Color,
    Convolution,
    Feature,
    Flatten,
    ImageType,
    InnerProduct,
    Layer,
    Network,
    Padding,
    Pooling,
    Preprocessing,
    Weights,
)

if TYPE_CHECKING:
    from finetuned.graph.ir import Graph


@dataclass(slots=True)
class Context:
    """What a lowering function works on: the graph, the blobs so far, and which layers' weights are fed.

    `trainable` maps the names of layers whose weights are inputs of the graph (`<layer>.weights`, `<layer>.biases`)
    to nothing but themselves; every other layer's weights become constants.
    """

    graph: Graph
    blobs: dict[str, Value] = field(default_factory=dict)
    fed_layers: frozenset[str] = frozenset()
    fed: dict[str, Value] = field(default_factory=dict)

    def blob(self, name: str, layer: Layer) -> Value:
        """Return a blob that an earlier layer (or an input) made."""
        try:
            return self.blobs[name]
        except KeyError:
            raise ModelError(f"layer {layer.name!r} reads {name!r}, which nothing before it makes") from None

    def parameter(self, layer: Layer, key: str, weights: Weights, shape: tuple[int, ...]) -> Value:
        """Return a layer's weights: an input of the graph where they are trained, else a constant."""
        name = f"{layer.name}.{key}"
        if layer.name in self.fed_layers:
            if name not in self.fed:
                self.fed[name] = self.graph.input(name, shape)
            return self.fed[name]
        return self.graph.constant(name, codec.array(weights, shape))


Lowering = Callable[[Context, Layer, list[Value]], Value]


def lower(context: Context, layers: tuple[Layer, ...]) -> None:
    """Append the layers to the context's graph; `context.blobs` then holds every output.

    Raises:
        ModelError: a layer is of a type that is not supported, or does not fit what arrives.
    """
    for layer in layers:
        rule = LOWERINGS.get(layer.type)
        if rule is None:
            raise ModelError(
                f"layer {layer.name!r} is of type {layer.type}, which finetuned cannot run; it runs {', '.join(sorted(LOWERINGS))}"
            )
        most = MOST_INPUTS.get(layer.type, 1)
        if len(layer.outputs) != 1 or not 1 <= len(layer.inputs) <= most:
            raise ModelError(
                f"layer {layer.name!r} ({layer.type}) has {len(layer.inputs)} inputs and {len(layer.outputs)} outputs"
            )
        if layer.outputs[0] in context.blobs:
            raise ModelError(f"layer {layer.name!r} makes {layer.outputs[0]!r}, which is there already")
        inputs = [context.blob(name, layer) for name in layer.inputs]
        context.blobs[layer.outputs[0]] = rule(context, layer, inputs)


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────
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


# ── forms ───────────────────────────────────────────────────────────────────────────────────────
def _as_map(context: Context, value: Value, layer: Layer) -> Value:
    """[N, C] → [N, C, 1, 1]."""
    if len(value.shape) == IMAGE_RANK:
        return value
    return context.graph.add("Reshape", value, shape=(*value.sizes, 1, 1), origin=layer.name)


def _as_vector(context: Context, value: Value, layer: Layer) -> Value:
    """[N, C, H, W] → [N, C·H·W], row-major (NeuralNetwork.proto, InnerProductLayerParams)."""
    if len(value.shape) == VECTOR_RANK:
        return value
    return context.graph.add("Reshape", value, shape=(prod(value.sizes),), origin=layer.name)


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _inner_product(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("InnerProduct", layer.parameters)
    x = _as_vector(context, inputs[0], layer)
    w = context.parameter(layer, "weights", p.weights, (p.output_channels, p.input_channels))
    operands = [x, w]
    if p.bias is not None:
        operands.append(context.parameter(layer, "biases", p.bias, (p.output_channels,)))
    return context.graph.add("Gemm", *operands, transB=1, origin=layer.name)


def _convolution(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Convolution", layer.parameters)
    if p.deconvolution:
        raise ModelError(f"layer {layer.name!r} is a deconvolution, which finetuned cannot run yet")
    x = _as_map(context, inputs[0], layer)
    shape = (p.output_channels, p.kernel_channels, *p.kernel)
    operands = [x, context.parameter(layer, "weights", p.weights, shape)]
    if p.bias is not None:
        operands.append(context.parameter(layer, "biases", p.bias, (p.output_channels,)))
    return context.graph.add(
        "Conv",
        *operands,
        strides=p.stride,
        dilations=p.dilation,
        group=p.groups,
        pads=pads(p.padding, x.sizes[1:], p.kernel, p.stride, p.dilation),
        origin=layer.name,
    )


def pads(
    padding: Padding,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Return ONNX pads (top, left, bottom, right).

    `same`: out = ⌈in / stride⌉; of an odd amount the bigger half lies at the bottom right, or at the top left where the
    file says so (NeuralNetwork.proto, SamePadding).  `includeLastPixel`: out = ⌈(in + 2 pad - kernel) / stride⌉ + 1, less
    one where the last window would start in the padding.
    """
    ends = [
        _AXIS_PADS[padding.mode](padding, axis, *one)
        for axis, one in enumerate(zip(size, kernel, stride, dilation, strict=True))
    ]
    return (*(begin for begin, _ in ends), *(end for _, end in ends))


def _same_pads(
    padding: Padding, _: int, size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    small, big = total // 2, total - total // 2
    return (big, small) if padding.top_left_heavy else (small, big)


def _valid_pads(padding: Padding, axis: int, *_: int) -> tuple[int, int]:
    return padding.amounts[axis]


def _last_pixel_pads(
    padding: Padding, axis: int, size: int, kernel: int, stride: int, _: int
) -> tuple[int, int]:
    pad = padding.amounts[axis][0]
    out = -(-(size + 2 * pad - kernel) // stride) + 1
    if any(amount for amount, _ in padding.amounts) and (out - 1) * stride >= size + pad:
        out -= 1
    return pad, max((out - 1) * stride + kernel - size - pad, 0)


_AXIS_PADS: dict[str, Callable[..., tuple[int, int]]] = {
    "valid": _valid_pads,
    "same": _same_pads,
    "includeLastPixel": _last_pixel_pads,
}
_POOLS = {"MAX": "MaxPool", "AVERAGE": "AveragePool", "L2": "LpPool"}


def _pooling(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Pooling", layer.parameters)
    x = _as_map(context, inputs[0], layer)
    operator = _POOLS[p.type]
    extra: dict[str, Any] = {"p": 2} if operator == "LpPool" else {}
    if p.global_pooling:
        return context.graph.add(f"Global{operator}", x, origin=layer.name, **extra)
    if operator == "AveragePool":
        if p.padding.mode == "includeLastPixel" and not p.exclude_padding:
            raise ModelError(
                f"layer {layer.name!r}: average pooling that includes the last pixel and counts the padding cannot be run yet"
            )
        extra = {"count_include_pad": int(not p.exclude_padding)}
    return context.graph.add(
        operator,
        x,
        kernel_shape=p.kernel,
        strides=p.stride,
        pads=pads(p.padding, x.sizes[1:], p.kernel, p.stride, (1, 1)),
        origin=layer.name,
        **extra,
    )


def _flatten(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    x = inputs[0]
    if len(x.shape) == IMAGE_RANK and cast("Flatten", layer.parameters).channel_last:
        x = context.graph.add("Transpose", x, perm=(0, 2, 3, 1), origin=layer.name)
    return context.graph.add("Reshape", x, shape=(prod(x.sizes),), origin=layer.name)


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


def _softmax(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    return context.graph.add("Softmax", inputs[0], axis=1, origin=layer.name)


def _clip(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Clip", layer.parameters)
    return context.graph.add("Clip", inputs[0], minimum=p.minimum, maximum=p.maximum, origin=layer.name)


def _add(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    """The sum with broadcasting; a vector among images counts as [C, 1, 1]."""
    if any(len(value.shape) == IMAGE_RANK for value in inputs):
        inputs = [_as_map(context, value, layer) for value in inputs]
    if len(inputs) == 1:
        alpha = context.graph.constant("alpha", np.float32(cast("Add", layer.parameters).alpha).reshape(1))
        return context.graph.add("Add", inputs[0], alpha, origin=layer.name)
    total = inputs[0]
    for value in inputs[1:]:
        total = context.graph.add("Add", total, value, origin=layer.name)
    return total


MOST_INPUTS = {"add": 1000}
"""Types that take more than one input; a convolution's second input (its weights) is not supported."""

LOWERINGS: dict[str, Lowering] = {
    "activation": _activation,
    "add": _add,
    "clip": _clip,
    "convolution": _convolution,
    "flatten": _flatten,
    "innerProduct": _inner_product,
    "pooling": _pooling,
    "softmax": _softmax,
}
