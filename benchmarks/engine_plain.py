"""A Core ML network as the ordinary ONNX graph that an exporter would write: NCHW, one operator for a layer.

The yardstick for the frozen part (run by a plain onnxruntime session) and the graph that onnx-ad derives gradients of.  It shares
nothing with finetuned's compiler but the file's reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from finetuned.spec import codec
from finetuned.spec.model import Convolution, ImageType, InnerProduct, Layer, Model, Pooling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OPSET = 17
LOSS, LABELS = "loss", "labels"


@dataclass(slots=True)
class Plain:
    """A graph under construction; `fed` are the trained weights, which are inputs where `feeds` says so."""

    feeds: bool
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    fed: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def weights(self, layer: Layer, key: str, weights: Any, shape: tuple[int, ...]) -> str:  # noqa: ANN401 - the codec's
        """Declare a layer's weights; return their name."""
        name = f"{layer.name}.{key}"
        if layer.updatable and self.feeds:
            self.fed[name] = shape
        else:
            self.constant(name, codec.array(weights, shape))
        return name

    def constant(self, name: str, array: Any) -> str:  # noqa: ANN401 - a NumPy array
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:  # noqa: ANN401 - each has its own
        """Add an operator."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _dense(plain: Plain, layer: Layer) -> None:
    p: InnerProduct = layer.parameters  # type: ignore[assignment]
    operands = [plain.weights(layer, "weights", p.weights, (p.output_channels, p.input_channels))]
    if p.bias is not None:
        operands.append(plain.weights(layer, "biases", p.bias, (p.output_channels,)))
    plain.add("Gemm", [layer.inputs[0], *operands], layer.outputs[0], transB=1)


def _convolution(plain: Plain, layer: Layer) -> None:
    p: Convolution = layer.parameters  # type: ignore[assignment]
    shape = (p.output_channels, p.kernel_channels, *p.kernel)
    operands = [plain.weights(layer, "weights", p.weights, shape)]
    if p.bias is not None:
        operands.append(plain.weights(layer, "biases", p.bias, (p.output_channels,)))
    padding: dict[str, Any] = {}
    if p.padding.mode == "same":  # onnx-ad wants it in numbers, which a stride would make depend on the size
        ends = [(k - 1) // 2 for k in p.kernel]
        padding = {"pads": [*ends, *ends]} if p.stride == (1, 1) else {"auto_pad": "SAME_UPPER"}
    plain.add(
        "Conv", [layer.inputs[0], *operands], layer.outputs[0], strides=p.stride, group=p.groups, **padding
    )


def _pooling(plain: Plain, layer: Layer) -> None:
    p: Pooling = layer.parameters  # type: ignore[assignment]
    if p.global_pooling:
        plain.add("GlobalAveragePool", layer.inputs, layer.outputs[0])
    else:
        plain.add("MaxPool", layer.inputs, layer.outputs[0], kernel_shape=p.kernel, strides=p.stride)


def _clip(plain: Plain, layer: Layer) -> None:
    limits = [
        plain.constant(f"{layer.name}.{key}", np.float32(getattr(layer.parameters, key)))
        for key in ("minimum", "maximum")
    ]
    plain.add("Clip", [layer.inputs[0], *limits], layer.outputs[0])


def _flatten(plain: Plain, layer: Layer) -> None:
    blob = layer.inputs[0]
    if layer.parameters.channel_last:  # type: ignore[union-attr]
        blob = plain.add("Transpose", [blob], f"{layer.name}.moved", perm=(0, 2, 3, 1))
    plain.add("Flatten", [blob], layer.outputs[0])


RULES: dict[str, Callable[[Plain, Layer], None]] = {
    "activation": lambda plain, layer: _named(plain, layer, "Relu"),
    "add": lambda plain, layer: _named(plain, layer, "Add"),
    "clip": _clip,
    "convolution": _convolution,
    "flatten": _flatten,
    "innerProduct": _dense,
    "pooling": _pooling,
}


def _named(plain: Plain, layer: Layer, op: str) -> None:
    plain.add(op, layer.inputs, layer.outputs[0])


# ── graphs ──────────────────────────────────────────────────────────────────────────────────────
def features_model(model: Model, layers: Iterable[Layer], blob: str) -> bytes:
    """Return the frozen layers, from the picture's bytes to `blob`."""
    plain = Plain(feeds=False)
    feature = model.description.inputs[0]
    assert isinstance(feature.type, ImageType) and model.network is not None  # noqa: S101, PT018 - one model is meant
    step = model.network.preprocessing[0]
    bias = np.array([step.red_bias, step.green_bias, step.blue_bias], np.float32).reshape(-1, 1, 1)
    cast = plain.add("Cast", ["picture"], "picture.cast", to=TensorProto.FLOAT)
    scaled = plain.add("Mul", [cast, plain.constant("scale", np.float32(step.scale))], "picture.scaled")
    plain.add("Add", [scaled, plain.constant("bias", bias)], feature.name)
    for layer in layers:
        RULES[layer.type](plain, layer)
    declared = helper.make_tensor_value_info("picture", TensorProto.UINT8, ["N", *feature.type.shape])
    return _model(plain, [declared], [helper.make_tensor_value_info(blob, TensorProto.FLOAT, None)])


def loss_model(model: Model, shape: tuple[int, ...], batch: int) -> tuple[onnx.ModelProto, list[str]]:
    """Return features, labels [batch] and weights → mean cross entropy [1], and the names of the weights."""
    plain = Plain(feeds=True)
    assert model.network is not None  # noqa: S101 - every task has one
    *layers, softmax = model.network.layers
    for layer in layers:
        RULES[layer.type](plain, layer)
    plain.add("SoftmaxCrossEntropyLoss", [softmax.inputs[0], LABELS], "loss.scalar")
    plain.add("Reshape", ["loss.scalar", plain.constant("one", np.array([1], np.int64))], LOSS)
    source = model.description.inputs[0].name
    inputs = [
        helper.make_tensor_value_info(source, TensorProto.FLOAT, [batch, *shape]),
        helper.make_tensor_value_info(LABELS, TensorProto.INT64, [batch]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in plain.fed.items()),
    ]
    outputs = [helper.make_tensor_value_info(LOSS, TensorProto.FLOAT, [1])]
    return onnx.load_from_string(_model(plain, inputs, outputs)), list(plain.fed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One matrix product of a step, in the layout in which its operands lie there anyway."""

    a: tuple[int, int]
    b: tuple[int, int]
    transposed_a: bool = False
    transposed_b: bool = False
    forward: bool = False


def gemms_model(
    products: list[Product],
) -> tuple[bytes, dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """Return a model of these products alone, and the shapes of its feeds and results."""
    plain = Plain(feeds=False)
    feeds: dict[str, tuple[int, int]] = {}
    results: dict[str, tuple[int, int]] = {}
    for number, product in enumerate(products):
        pair = {f"a{number}": product.a, f"b{number}": product.b}
        flags = {"transA": int(product.transposed_a), "transB": int(product.transposed_b)}
        result = plain.add("Gemm", pair, f"c{number}", **flags)
        feeds |= pair
        results[result] = (product.a[product.transposed_a], product.b[not product.transposed_b])
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in each.items()]
        for each in (feeds, results)
    )
    return _model(plain, inputs, outputs), feeds, results


def _model(plain: Plain, inputs: list[Any], outputs: list[Any]) -> bytes:
    graph = helper.make_graph(plain.nodes, "plain", inputs, outputs, plain.constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(made.SerializeToString())
