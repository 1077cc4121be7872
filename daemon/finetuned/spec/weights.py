"""The numbers of one `WeightParams`: read from the file, and decoded to float32 when asked for.

Quantised weights follow NeuralNetwork.proto and coremltools' `quantization_utils`: n-bit numbers stand one
after the other from the highest bit down; linear is `scale · q + bias`, a table is `table[q]`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet

from finetuned.errors import ModelError
from finetuned.spec.model import Convolution, FloatArray, InnerProduct, Quantization, Weights

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from numpy.typing import NDArray

    from finetuned.spec import coreml_pb2 as pb

ENCODINGS = ("floatValue", "float16Value", "rawValue", "int8RawValue")
MOST_BITS = 8


# ── from the file ───────────────────────────────────────────────────────────────────────────────
def packed(message: Message, name: str) -> bytes:
    """Return the payload of a packed list of float32, which coreml.proto declares as bytes."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    unknown = UnknownFieldSet(message)
    if any(unknown[i].field_number == number for i in range(len(unknown))):
        raise ModelError(
            f"{name} is written unpacked, which finetuned does not read; "
            "load the model with coremltools and save it again, which packs it",
        )
    payload: bytes = getattr(message, name)
    if len(payload) % 4:
        raise ModelError(f"{name} holds {len(payload)} bytes, which are not whole float32 numbers")
    return payload


def floats(message: Message, name: str) -> FloatArray:
    """Return a packed list of float32 as a read-only array."""
    return np.frombuffer(packed(message, name), "<f4")


def read(message: pb.WeightParams) -> Weights:
    """Return the weights as the file has them, undecoded."""
    packed(message, "floatValue")
    filled = tuple(name for name in ENCODINGS if getattr(message, name))
    return Weights(
        data=getattr(message, filled[0]) if filled else b"",
        encodings=filled,
        quantization=_quantization(message.quantization) if message.HasField("quantization") else None,
        updatable=message.isUpdatable,
    )


def _quantization(message: pb.QuantizationParams) -> Quantization:
    match message.WhichOneof("QuantizationType"):
        case "linearQuantization":
            linear = message.linearQuantization
            scale, bias = floats(linear, "scale"), floats(linear, "bias")
            return Quantization(bits=message.numberOfBits, scale=scale, bias=bias)
        case "lookupTableQuantization":
            table = floats(message.lookupTableQuantization, "floatValue")
            return Quantization(bits=message.numberOfBits, table=table)
        case _:
            return Quantization(bits=message.numberOfBits)


def weight_shape(parameters: InnerProduct | Convolution) -> tuple[int, ...]:
    """Return the shape of a layer's weights: [C_out, C_in], or a convolution's four dimensions."""
    if isinstance(parameters, InnerProduct):
        return (parameters.output_channels, parameters.input_channels)
    outputs, inputs = parameters.output_channels, parameters.kernel_channels
    if parameters.deconvolution:
        return (inputs, outputs // parameters.groups, *parameters.kernel)
    return (outputs, inputs, *parameters.kernel)


# ── to float32 ──────────────────────────────────────────────────────────────────────────────────
def array(weights: Weights, shape: tuple[int, ...], *, axis: int = 0) -> FloatArray:
    """Decode to a read-only float32 array of `shape`; ModelError when the lengths do not fit.

    `axis` is the output channels' axis, along which scale and bias may differ (1 for a deconvolution).
    """
    if len(weights.encodings) != 1:
        raise ModelError(f"weights must have one encoding, found {', '.join(weights.encodings) or 'none'}")
    size = math.prod(shape)
    match weights.encodings[0]:
        case "floatValue":
            flat = _exact(weights.data, "<f4", size)
        case "float16Value":
            flat = _exact(weights.data, "<f2", size)
        case "rawValue":
            return _frozen(_dequantized(weights, shape, axis))
        case other:
            raise _unread(other)
    return _frozen(flat.astype(np.float32, copy=False).reshape(shape))


def finite(weights: Weights, shape: tuple[int, ...] | None, *, axis: int = 0) -> bool:
    """Tell whether all numbers are finite, at the cost of a look: quantised ones are not decoded.

    ModelError when the lengths do not fit `shape`; without one, as many numbers as there are fit.
    """
    if len(weights.encodings) != 1:
        raise ModelError(f"weights must have one encoding, found {', '.join(weights.encodings) or 'none'}")
    match weights.encodings[0]:
        case "floatValue":
            return _all_finite(weights.data, "<f4", shape)
        case "float16Value":
            return _all_finite(weights.data, "<f2", shape)
        case "rawValue":
            return _finite_codes(weights, shape, axis)
        case other:
            raise _unread(other)


def _unread(encoding: str) -> ModelError:
    return ModelError(f"weights in {encoding} are for int8 × int8 products, which finetuned cannot run")


def _all_finite(data: bytes, dtype: str, shape: tuple[int, ...] | None) -> bool:
    width = np.dtype(dtype).itemsize
    flat = _exact(data, dtype, len(data) // width if shape is None else math.prod(shape))
    return bool(np.isfinite(flat).all())


def _finite_codes(weights: Weights, shape: tuple[int, ...] | None, axis: int) -> bool:
    quantization = _quantization_of(weights)
    if shape is not None:
        _check_codes(weights.data, quantization.bits, math.prod(shape))
    if quantization.table is not None:
        _check_table(quantization)
        return bool(np.isfinite(quantization.table).all())
    if shape is None or quantization.scale is None or quantization.bias is None:
        return True
    scale = _per_channel(quantization.scale, "scale", shape, axis)
    bias = _per_channel(quantization.bias, "bias", shape, axis)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(
            np.isfinite(np.abs(scale) * np.float32((1 << quantization.bits) - 1) + np.abs(bias)).all()
        )


def _frozen(values: FloatArray) -> FloatArray:
    values.flags.writeable = False
    return values


def _exact(data: bytes, dtype: str, size: int) -> NDArray[np.floating]:
    width = np.dtype(dtype).itemsize
    if len(data) != size * width:
        raise ModelError(f"weights hold {len(data) // width} numbers where the layer needs {size}")
    return np.frombuffer(data, dtype)


def _dequantized(weights: Weights, shape: tuple[int, ...], axis: int) -> FloatArray:
    quantization = _quantization_of(weights)
    codes = _unpacked(weights.data, quantization.bits, math.prod(shape))
    if quantization.table is not None:
        return _looked_up(codes, quantization).reshape(shape)
    return _linear(codes.reshape(shape), quantization, axis)


def _quantization_of(weights: Weights) -> Quantization:
    if weights.quantization is None:
        raise ModelError("weights in rawValue need quantization parameters, and there are none")
    return weights.quantization


def _unpacked(data: bytes, bits: int, size: int) -> NDArray[np.uint8]:
    """Return `size` numbers of `bits` bits each; eight bits are bytes, fewer are packed highest bit first."""
    _check_codes(data, bits, size)
    if bits == MOST_BITS:
        return np.frombuffer(data, np.uint8)
    stream = np.unpackbits(np.frombuffer(data, np.uint8), count=size * bits).reshape(size, bits)
    codes = np.zeros(size, np.uint8)
    for bit in range(bits):
        np.left_shift(codes, 1, out=codes)
        np.bitwise_or(codes, stream[:, bit], out=codes)
    return codes


def _check_codes(data: bytes, bits: int, size: int) -> None:
    if not 1 <= bits <= MOST_BITS:
        raise ModelError(f"weights are quantised to {bits} bits; 1 to {MOST_BITS} are allowed")
    needed = -(-size * bits // 8)
    if len(data) != needed:
        raise ModelError(
            f"rawValue holds {len(data)} bytes where {size} numbers of {bits} bits need {needed}"
        )


def _check_table(quantization: Quantization) -> FloatArray:
    table = quantization.table
    if table is None or table.size != 1 << quantization.bits:
        found = 0 if table is None else table.size
        raise ModelError(
            f"the lookup table has {found} entries where {quantization.bits} bits need {1 << quantization.bits}",
        )
    return table


def _looked_up(codes: NDArray[np.uint8], quantization: Quantization) -> FloatArray:
    return np.asarray(_check_table(quantization)[codes], np.float32)


def _linear(codes: NDArray[np.uint8], quantization: Quantization, axis: int) -> FloatArray:
    if quantization.scale is None or quantization.bias is None:
        raise ModelError("quantised weights have neither scale and bias nor a lookup table")
    scale = _per_channel(quantization.scale, "scale", codes.shape, axis)
    bias = _per_channel(quantization.bias, "bias", codes.shape, axis)
    return np.asarray(codes * scale + bias, np.float32)


def _per_channel(values: FloatArray, name: str, shape: tuple[int, ...], axis: int) -> FloatArray:
    """Shape `values` (one, or one a channel) so that it broadcasts along `axis`."""
    channels = shape[axis] if shape else 1
    if values.size not in {1, channels}:
        raise ModelError(f"quantisation has {values.size} {name} values; 1 or {channels} are allowed")
    spread = [1] * max(len(shape), 1)
    spread[axis if values.size > 1 else 0] = values.size
    return values.reshape(spread)
