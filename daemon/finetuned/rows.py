"""Rows of numbers, one a sample, that need not fit into memory.

A few stay in memory.  More lie one after the other in a file without a name, which is gone with its process, however that
ends.  They are read from it, and not mapped: a mapped file counts as memory of whoever reads it, and a disk that fails
would end that process instead of being told.  The kernel keeps what is read often; a row costs about a microsecond more.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from itertools import repeat
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetuned import files
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = NDArray[Any]

IN_MEMORY = 16 << 20
"""So many bytes of rows may stay in memory; with more, all of them go to the disk."""
AT_ONCE = 1 << 20
"""So many bytes go through memory at once where all rows are looked at, one after the other."""
_ON_DISK = Path("/var/tmp")  # noqa: S108 - the file has no name, so nobody can have taken it
_NAMED = ("TMPDIR", "TEMP", "TMP")


class Rows(Protocol):
    """What is wanted of an array [N, …] in memory or of one on the disk, in NumPy's words."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, and the shape of one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: slice, /) -> Array:
        """Return consecutive rows."""

    def take(self, rows: Array, /, *, axis: int, out: Array, mode: Any) -> Array:  # noqa: ANN401 - a literal of NumPy's
        """Copy the rows of these numbers into `out` [len(rows), …], in this order; `axis` is 0, `mode` is "clip"."""


class Gathering:
    """Rows on their way in: `add` them, then take them all.

    Args:
        shape: that of one row.
        dtype: the type of their numbers.
        folder: where those go that are too many for memory; else TMPDIR, or /var/tmp, since /tmp is often memory.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: type[np.generic] = np.float32, folder: Path | None = None
    ) -> None:
        self._shape, self._dtype, self._folder = shape, np.dtype(dtype), folder
        self._size = prod(shape) * self._dtype.itemsize
        self._count = 0
        # Memory that nobody has written to is none yet.
        self._memory = np.empty((IN_MEMORY // max(self._size, 1), *shape), self._dtype)
        self._file: _File | None = None

    def __len__(self) -> int:
        """Return the number of rows that were added."""
        return self._count

    def add(self, rows: Array) -> None:
        """Add some [n, *shape]; HostError where the disk takes no more."""
        end = self._count + len(rows)
        if self._file is None and end > len(self._memory):
            self._file = _File(self._folder)
            self._file.write(self._memory[: self._count])
            self._memory = self._memory[:0].copy()
        if self._file is not None:
            self._file.write(np.ascontiguousarray(rows, dtype=self._dtype))
        else:
            self._memory[self._count : end] = rows
        self._count = end

    def rows(self) -> Rows:
        """Return all that was added."""
        if self._file is not None:
            return FiledRows(self._file, (self._count, *self._shape), self._dtype)
        return self._memory[: self._count]

    def mapped(self) -> Array:
        """Return all that was added as an array; what lies in the file is mapped from there, to be read only."""
        if self._file is None:
            return self._memory[: self._count]
        shape = (self._count, *self._shape)
        return np.frombuffer(self._file.mapped(self._count * self._size), self._dtype).reshape(shape)


class FiledRows:
    """Rows in a file, to be read."""

    def __init__(self, file: _File, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._size = prod(shape[1:]) * dtype.itemsize

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice, /) -> Array:
        """Return consecutive rows, as an array of one's own."""
        start, stop, _ = rows.indices(len(self))
        found = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self._file.read([found.data.cast("B")] if found.size else [], [start * self._size])
        return found

    def take(self, rows: Array, /, *, axis: int, out: Array, mode: object) -> Array:
        """Copy rows into `out`, as an array's own `take` does; HostError where the disk fails."""
        del axis, mode
        flat, size = out.data.cast("B"), self._size
        self._file.read(
            [flat[at : at + size] for at in range(0, len(rows) * size, size)], (rows * size).tolist()
        )
        return out


class _File:
    """A file without a name; it is closed when nobody holds it any more."""

    def __init__(self, folder: Path | None) -> None:
        with (
            files.host_errors("opening a file for the samples"),
            tempfile.TemporaryFile(dir=folder or _scratch()) as file,
        ):
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def write(self, part: Array) -> None:
        """Append."""
        left = part.data.cast("B") if part.size else memoryview(b"")
        with files.host_errors("writing the samples to the disk"):
            while left:
                left = left[os.write(self._descriptor, left) :]

    def mapped(self, size: int) -> mmap.mmap:
        """Return so many bytes as memory that is read from the disk when it is looked at."""
        with files.host_errors("mapping the samples"):
            return mmap.mmap(self._descriptor, size, prot=mmap.PROT_READ)

    def read(self, into: list[memoryview], places: list[int]) -> None:
        """Fill each memory from its place in the file on."""
        with files.host_errors("reading the samples from the disk"):
            # One call for each, as quickly as Python can.
            done = sum(map(os.preadv, repeat(self._descriptor), zip(into), places))
        if done != sum(map(len, into)):
            raise HostError("reading the samples from the disk failed: the file is too short")


def _scratch() -> Path | None:
    """Return a folder that is on a disk; None: that which the environment names, or Python finds."""
    named = any(os.environ.get(name) for name in _NAMED)
    return None if named or not os.access(_ON_DISK, os.W_OK) else _ON_DISK


def slices(count: int, size: int, *, most: int = 256, at_once: int = AT_ONCE) -> Iterator[slice]:
    """Yield the slices of `count` rows of `size` bytes that are looked at together: `at_once` bytes, `most` rows."""
    step = max(1, min(most, at_once // max(size, 1)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def row_bytes(rows: Rows) -> int:
    """Return the bytes of one row."""
    return prod(rows.shape[1:]) * rows.dtype.itemsize
