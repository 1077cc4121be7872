"""Weights to float32, against coremltools' own dequantisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from builders import random_weights
from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import weights
from finetuned.spec.model import Quantization, Weights


def floats(values: Any) -> bytes:  # noqa: ANN401 - whatever NumPy takes
    return np.asarray(values, "<f4").tobytes()


def quantized(data: bytes, **parameters: Any) -> Weights:  # noqa: ANN401 - Quantization's fields
    return Weights(data=data, encodings=("rawValue",), quantization=Quantization(**parameters))


def test_float32_is_a_view_of_the_file_that_nobody_can_write_to() -> None:
    data = floats([1, 2, 3, 4, 5, 6])
    values = weights.array(Weights(data=data, encodings=("floatValue",)), (2, 3))
    assert values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert np.shares_memory(values, np.frombuffer(data, np.uint8))
    assert not values.flags.writeable


def test_float16_becomes_float32() -> None:
    stored = Weights(data=np.asarray([0.5, -2], "<f2").tobytes(), encodings=("float16Value",))
    assert weights.array(stored, (2,)).tolist() == [0.5, -2]


def test_fewer_bits_than_eight_stand_highest_bit_first() -> None:
    one = np.ones(1, np.float32)
    stored = quantized(bytes([0b101_001_11, 0b0_0000000]), bits=3, scale=one, bias=0 * one)
    assert weights.array(stored, (3,)).tolist() == [5, 1, 6]


# How coremltools calls the mode, the weights' shape, and the axis of the output channels.
MODES = [
    ("_linear_quantization", (3, 5), 0),
    ("_linear_quantization", (3, 2, 3, 3), 1),
    ("_lookup_table_quantization_linear", (3, 5), 0),
]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("mode", MODES, ids=["linear", "deconvolution", "table"])
def test_what_coremltools_quantised_is_read_as_coremltools_reads_it(
    quantization: Any,  # noqa: ANN401
    apple: Any,  # noqa: ANN401
    bits: int,
    mode: tuple[str, tuple[int, ...], int],
) -> None:
    name, shape, axis = mode
    theirs = apple.NeuralNetwork__pb2.WeightParams()
    theirs.floatValue.extend(random_weights(*shape).ravel())
    quantization._quantize_wp_field(theirs, bits, name, shape, axis)  # noqa: SLF001 - the independent oracle
    ours = weights.read(pb.WeightParams.FromString(theirs.SerializeToString()))
    quantization._dequantize_wp(theirs, shape, axis)  # noqa: SLF001
    expected = np.reshape(theirs.floatValue, shape)
    np.testing.assert_allclose(weights.array(ours, shape, axis=axis), expected, rtol=0, atol=1e-6)


def test_one_scale_serves_all_channels() -> None:
    stored = quantized(
        bytes([0, 1, 2, 3]), bits=8, scale=np.asarray([2], np.float32), bias=np.asarray([10, 20], np.float32)
    )
    assert weights.array(stored, (2, 2)).tolist() == [[10, 12], [24, 26]]


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(("stored", "complaint"), [
    (Weights(), "found none"),
    (Weights(data=b"1234", encodings=("floatValue", "rawValue")), "one encoding, found floatValue, rawValue"),
    (Weights(data=floats([1]), encodings=("floatValue",)), "hold 1 numbers where the layer needs 2"),
    (Weights(data=b"12", encodings=("float16Value",)), "hold 1 numbers where the layer needs 2"),
    (Weights(data=b"12", encodings=("rawValue",)), "need quantization parameters"),
    (Weights(data=b"12", encodings=("int8RawValue",)), "cannot run"),
    (quantized(b"123", bits=8, scale=ONE, bias=ONE), "holds 3 bytes where 2 numbers of 8 bits need 2"),
    (quantized(b"12", bits=0, scale=ONE, bias=ONE), "0 bits; 1 to 8"),
    (quantized(b"12", bits=9, scale=ONE, bias=ONE), "9 bits; 1 to 8"),
    (quantized(b"12", bits=8), "neither scale and bias nor a lookup table"),
    (quantized(b"12", bits=8, scale=np.ones(3, np.float32), bias=ONE), "3 scale values; 1 or 2"),
    (quantized(b"1", bits=2, table=np.ones(3, np.float32)), "3 entries where 2 bits need 4"),
])  # fmt: skip
def test_weights_that_contradict_themselves_are_refused(stored: Weights, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        weights.array(stored, (2,))


def test_unpacked_floats_are_refused_with_a_way_out() -> None:
    unpacked = bytes([0x0D, *floats([1.5]), 0x0D, *floats([2.5])])
    with pytest.raises(ModelError, match="floatValue is written unpacked"):
        weights.read(pb.WeightParams.FromString(unpacked))


def test_half_a_float_is_refused() -> None:
    with pytest.raises(ModelError, match="not whole float32 numbers"):
        weights.read(pb.WeightParams(floatValue=b"12345"))
