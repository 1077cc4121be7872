"""The numbers of a layer in its message: read as float32, written as float32, marked as trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import layers, weights
from finetuned.spec.model import Convolution, FloatArray, InnerProduct
from finetuned.spec.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message


def read(entry: pb.NeuralNetworkLayer) -> tuple[FloatArray, FloatArray | None]:
    """Return weights and bias of a fully connected layer or a convolution, decoded exactly to float32.

    Raises:
        ModelError: the numbers are not there, or in an encoding that finetuned does not read.
    """
    parameters = layers.layer(entry).parameters
    if not isinstance(parameters, InnerProduct | Convolution):
        raise ModelError(f"the layer {quoted(entry.name)} has no weights that could be trained")
    transposed = isinstance(parameters, Convolution) and parameters.deconvolution
    try:
        shape = weights.weight_shape(parameters)
        values = weights.array(parameters.weights, shape, axis=int(transposed))
        bias = parameters.bias
        return values, None if bias is None else weights.array(bias, (parameters.output_channels,))
    except ModelError as error:
        raise ModelError(f"the weights of the layer {quoted(entry.name)} cannot be read: {error}") from error


def write(entry: pb.NeuralNetworkLayer, values: FloatArray, bias: FloatArray | None) -> None:
    """Write weights and bias of a layer as float32; its marks stay."""
    params = entry.innerProduct if entry.HasField("innerProduct") else entry.convolution
    _fill(params.weights, values)
    if bias is not None:
        params.hasBias = True
        _fill(params.bias, bias)


def _fill(message: pb.WeightParams, values: FloatArray) -> None:
    updatable = message.isUpdatable
    message.Clear()
    message.floatValue = np.ascontiguousarray(values, "<f4").tobytes()
    message.isUpdatable = updatable


def mark(entry: pb.NeuralNetworkLayer) -> None:
    """Mark a layer as trained, with weights in float32, which is what can be trained."""
    values, bias = read(entry)
    write(entry, values, bias)
    if entry.HasField("innerProduct"):
        entry.innerProduct.int8DynamicQuantize = False
    entry.isUpdatable = True
    params = entry.innerProduct if entry.HasField("innerProduct") else entry.convolution
    params.weights.isUpdatable = True
    if params.hasBias:
        params.bias.isUpdatable = True


def unmark(entries: Iterable[pb.NeuralNetworkLayer]) -> None:
    """Take every mark away."""
    for entry in entries:
        entry.isUpdatable = False
        for message in _weights(entry):
            message.isUpdatable = False


def widen_float16(entries: Iterable[pb.NeuralNetworkLayer]) -> None:
    """Write float16 weights as float32, which loses nothing: an updatable network may hold none."""
    for entry in entries:
        for message in _weights(entry):
            if message.float16Value and len(message.float16Value) % 2 == 0:
                values = np.frombuffer(message.float16Value, "<f2").astype(np.float32)
                message.float16Value = b""
                message.floatValue = values.tobytes()


def _weights(message: Message) -> Iterator[pb.WeightParams]:
    """Yield all weights below a message."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for each in value if field.is_repeated else (value,):
            if isinstance(each, pb.WeightParams):
                yield each
            else:
                yield from _weights(each)
