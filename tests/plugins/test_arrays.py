from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from finetuned.errors import SampleError
from finetuned.service.messages import InputSpec
from finetuned_plugins.arrays import Arrays
from service.samples import PICTURE, VECTOR, npy, png

MATRIX = InputSpec(name="x", shape=(2, 3))


def decoded(data: bytes, want: InputSpec) -> list[Any]:
    numbers: list[Any] = np.frombuffer(Arrays().decode(data, want), "<f4").reshape(want.shape).tolist()
    return numbers


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f8", "u1", "<i8", ">i2"])
def test_numbers_of_any_width_and_byte_order_become_float32(dtype: str) -> None:
    assert decoded(npy(np.array([1, 2, 3], dtype)), VECTOR) == [1.0, 2.0, 3.0]


def test_truth_values_become_zero_and_one() -> None:
    assert decoded(npy([True, False, True]), VECTOR) == [1.0, 0.0, 1.0]


def test_fortran_order_is_put_into_c_order() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert decoded(npy(array), MATRIX) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1, 1)])
def test_axes_of_length_one_may_be_there_or_not(shape: tuple[int, ...]) -> None:
    assert decoded(npy(np.arange(3.0).reshape(shape)), VECTOR) == [0, 1, 2]


BROKEN = {
    "too short": (npy([1.0, 2.0]), r"shape \[2\]; x has shape \[3\]"),
    "too many axes": (npy([[1.0, 2.0, 3.0]] * 2), r"shape \[2, 3\]"),
    "not a number": (npy([1.0, np.nan, 2.0]), "not finite"),
    "beyond float32": (npy([1.0, 1e300, 2.0]), "not finite"),
    "complex": (npy([1j, 2j, 3j]), "allowed are"),
    "text": (npy(["a", "b", "c"]), "allowed are"),
    "pickled": (npy([{}, {}, {}], allow_pickle=True), "allowed are"),
    "truncated": (npy([1.0, 2.0, 3.0])[:-1], "bytes of numbers"),
    "trailing bytes": (npy([1.0, 2.0, 3.0]) + b"x", "bytes of numbers"),
    "half a header": (npy([1.0])[:20], "header cannot be read"),
    "huge header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f", "header cannot be read"),
    "unknown version": (b"\x93NUMPY\x09\x00\x00\x00", "header cannot be read"),
    "a picture": (png(), "not a .npy file"),
    "empty": (b"", "not a .npy file"),
}


@pytest.mark.parametrize(("data", "complaint"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_good_array_is_refused_with_a_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(SampleError, match=complaint):
        decoded(data, VECTOR)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': 'secret', 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f4', 'fortran_order': 'secret', 'shape': (3,)}",
        "{'descr': [('secret', '<f4')], 'fortran_order': False, 'shape': (3,)}",
        "{'secret': 1}",
    ],
)
def test_a_refusal_repeats_nothing_of_the_file(header: str) -> None:
    file = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with pytest.raises(SampleError) as refused:
        decoded(file, VECTOR)
    assert "secret" not in str(refused.value)


def test_an_array_is_no_picture() -> None:
    with pytest.raises(SampleError, match="input image is a picture"):
        Arrays().decode(npy([1.0, 2.0, 3.0]), PICTURE)
