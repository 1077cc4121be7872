"""Convolutions and deconvolutions.

What only runs uses onnxruntime's own operators.  What trains is made of columns: each window's numbers as one column, by a
table of positions, and the weights times that matrix; a deconvolution is the way back.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, cast

from finetuned.graph import frames, tables
from finetuned.graph.context import Context, Lowering, as_image, blamed, is_batch_last
from finetuned.graph.values import BATCH, Value
from finetuned.spec.codec import weight_shape

if TYPE_CHECKING:
    from finetuned.graph.frames import Frame
    from finetuned.spec.model import Convolution, Layer


def _convolution(context: Context, layer: Layer, inputs: list[Value]) -> Value:
    p = cast("Convolution", layer.parameters)
    x = as_image(context, inputs[0], layer)
    channels, rows, columns = x.sizes
    with blamed(layer):
        _check_channels(p, channels)
        frame = (frames.deconvolution if p.deconvolution else frames.convolution)(p, (rows, columns))
    axis = int(p.deconvolution)
    operands = [x, context.parameter(layer, "weights", p.weights, weight_shape(p), axis=axis)]
    if p.bias is not None:
        operands.append(context.parameter(layer, "biases", p.bias, (p.output_channels,)))
    if not is_batch_last(x):
        return _run(context, layer, p, frame, operands)
    return (_transposed if p.deconvolution else _trained)(context, layer, p, frame, operands)


def _check_channels(p: Convolution, channels: int) -> None:
    expected = p.kernel_channels * (1 if p.deconvolution else p.groups)
    if channels != expected:
        raise ValueError(f"{channels} channels arrive, {expected} are expected")
    if channels % p.groups or p.output_channels % p.groups:
        raise ValueError(
            f"{p.groups} groups cannot share {channels} channels and {p.output_channels} outputs"
        )


def _run(context: Context, layer: Layer, p: Convolution, frame: Frame, operands: list[Value]) -> Value:
    window = {"strides": p.stride, "dilations": p.dilation, "group": p.groups}
    if not p.deconvolution:
        return context.graph.add("Conv", *operands, **window, pads=frame.pads, origin=layer.name)
    # What is wanted beyond the whole extent ONNX calls output padding, and never a negative cut.
    cut, beyond = [max(end, 0) for end in frame.each("end")], [max(-end, 0) for end in frame.each("end")]
    return context.graph.add(
        "ConvTranspose",
        *operands,
        **window,
        pads=(*frame.each("begin"), *cut),
        output_padding=tuple(beyond),
        origin=layer.name,
    )


def _trained(context: Context, layer: Layer, p: Convolution, frame: Frame, operands: list[Value]) -> Value:
    """Y = W · columns + b."""
    x, *parameters = operands
    with blamed(layer):
        columns = context.graph.add(
            "Collect", x, table=frame.table(), size=frame.each("out"), origin=layer.name
        )
    w, *bias = parameters
    return context.graph.add("Product", w, columns, *bias, groups=p.groups, origin=layer.name)


def _transposed(context: Context, layer: Layer, p: Convolution, frame: Frame, operands: list[Value]) -> Value:
    """Y = the sum, at each position, of the places of Wᵀ · x that fall there, + b."""
    graph, (x, w, *bias) = context.graph, operands
    places = graph.add("Product", w, x, groups=p.groups, transposed=1, origin=layer.name)
    channels = p.output_channels
    flat = graph.add(
        "Reshape",
        places,
        shape=(channels, places.sizes[0] // channels * prod(x.sizes[1:]), BATCH),
        origin=layer.name,
    )
    with blamed(layer):
        back = tables.inverse(frame.table(), prod(frame.each("size")))
    y = graph.add("Collect", flat, table=back, size=frame.each("size"), origin=layer.name)
    if not bias:
        return y
    column = graph.add("Reshape", bias[0], shape=(channels, 1, 1, 1), origin=layer.name)
    return graph.add("Add", y, column, origin=layer.name)


LOWERINGS: dict[str, Lowering] = {"convolution": _convolution}
