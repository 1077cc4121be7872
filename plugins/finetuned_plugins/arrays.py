"""NumPy's `.npy` files, for models whose input is an array.  Nothing in them is ever unpickled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from finetuned import SampleError, hookimpl

if TYPE_CHECKING:
    import numpy as np

    from finetuned import Decoder, InputSpec

MAGIC = b"\x93NUMPY"
KINDS = "biuf"  # truth values, integers, floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a `.npy` file says of its array; the numbers begin at `offset`."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """The decoder for array inputs."""

    name: str = "arrays"
    suffixes: frozenset[str] = frozenset({".npy"})

    def decode(self, data: bytes, want: InputSpec) -> bytes:
        """Return float32, little-endian, in C order; axes of length 1 may be there or not."""
        if not data.startswith(MAGIC):
            raise SampleError("not a .npy file")
        if want.color:
            raise SampleError(f"an array, but the model's input {want.name} is a picture")
        header = _header(data)
        _check(header, want)
        return _numbers(data, header)


@hookimpl
def finetuned_decoders() -> list[Decoder]:
    """Bring the decoder for arrays."""
    return [Arrays()]


def _header(data: bytes) -> Header:
    """Read the header; NumPy refuses one over 10,000 bytes and evaluates literals only."""
    from numpy.lib import format as npy  # noqa: PLC0415 - only the decoder's process pays for it

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    stream = BytesIO(data)
    try:
        version = npy.read_magic(stream)
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # NumPy parses the header with Python's own parser
        # What NumPy says of it repeats what is in the file, and this sentence leaves the machine.
        raise SampleError("the .npy file's header cannot be read") from error
    return Header(shape=shape, fortran=fortran, dtype=dtype, offset=stream.tell())


def _check(header: Header, want: InputSpec) -> None:
    """Raise `SampleError` unless the array is numbers of the input's shape."""
    if header.dtype.kind not in KINDS:
        kind = "records" if header.dtype.names else str(header.dtype)
        raise SampleError(f"an array of {kind}; allowed are floats, integers and truth values")
    if _squeezed(header.shape) != _squeezed(want.shape):
        raise SampleError(f"an array of shape {list(header.shape)}; {want.name} has shape {list(want.shape)}")


def _squeezed(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _numbers(data: bytes, header: Header) -> bytes:
    """Convert the numbers; every one must be finite, in float32 too."""
    import numpy as np  # noqa: PLC0415 - only the decoder's process pays for it

    body = memoryview(data)[header.offset :]
    if len(body) != math.prod(header.shape) * header.dtype.itemsize:
        raise SampleError(
            f"the .npy file holds {len(body)} bytes of numbers, which is not what its header says"
        )
    array = np.frombuffer(body, header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
    with np.errstate(over="ignore"):  # what overflows is found in the next line
        numbers = array.astype("<f4")
    if not np.isfinite(numbers).all():
        raise SampleError("the array holds numbers that are not finite in float32")
    return numbers.tobytes(order="C")
