"""The arrays of an `.npz`, row by row: NumPy itself reads one as a whole.  Nothing is ever unpickled."""

from __future__ import annotations

import io
import zipfile
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

from finetuned.errors import SampleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

SUFFIX = ".npy"


class Column:
    """One array, its first axis the samples; they are read in order."""

    def __init__(self, file: IO[bytes]) -> None:
        from numpy.lib import format as npy  # noqa: PLC0415 - the daemon imports this room

        try:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, fortran, self.dtype = header(file)
        except ValueError:
            # NumPy's own words quote what it read.
            raise ValueError("an array in it has no sound header") from None
        if self.dtype.hasobject:
            raise ValueError("it holds objects")
        self._file = _in_order(file, self.shape, self.dtype) if fortran else file

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.shape[0] if self.shape else 0

    def read(self, count: int) -> NDArray[Any]:
        """Return the next `count` samples."""
        import numpy as np  # noqa: PLC0415 - the daemon imports this room

        rows = np.empty((count, *self.shape[1:]), self.dtype)
        data = self._file.read(rows.nbytes)
        if len(data) != rows.nbytes:
            raise ValueError("it is cut off")
        return np.frombuffer(data, self.dtype).reshape(rows.shape) if data else rows


class Archive:
    """An open `.npz`."""

    def __init__(self, path: Path, file: zipfile.ZipFile, stack: ExitStack) -> None:
        self._path, self._file, self._stack = path, file, stack
        self.names = [name.removesuffix(SUFFIX) for name in file.namelist()]

    def column(self, name: str) -> Column:
        """Open one of its arrays."""
        found = name if name in self._file.namelist() else name + SUFFIX
        return Column(self._stack.enter_context(self._file.open(found)))


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an `.npz`; whatever is wrong with it, while it is read too, is a `SampleError`."""
    try:
        with ExitStack() as stack:
            yield Archive(path, stack.enter_context(zipfile.ZipFile(path)), stack)
    except (OSError, SampleError):
        raise
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise SampleError(f"{path} is no readable .npz without objects: {error}") from error


def _in_order(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> IO[bytes]:
    """Return the numbers of an array that lies column by column, which only the whole of it can tell row by row."""
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    whole = np.frombuffer(file.read(), dtype).reshape(shape, order="F")
    return io.BytesIO(whole.tobytes())
