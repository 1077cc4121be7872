"""Builders for the tests of ingestion: pictures, arrays, and what a model wants of them."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from finetuned.service.messages import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PICTURE = InputSpec(name="image", shape=(3, 4, 6), color="RGB")
GRAY = InputSpec(name="image", shape=(1, 4, 4), color="GRAYSCALE")
VECTOR = InputSpec(name="x", shape=(3,))


def png(color: tuple[int, int, int] | int = (255, 0, 0), size: tuple[int, int] = (6, 4)) -> bytes:
    """Return a picture of one colour."""
    stream = BytesIO()
    Image.new("RGB" if isinstance(color, tuple) else "L", size, color).save(stream, "PNG")
    return stream.getvalue()


def numbered(number: int) -> bytes:
    """Return a small picture whose content is told from all others by its number."""
    return png((number % 256, number // 256 % 256, number // 65536))


def bomb(side: int) -> bytes:
    """Return a PNG of a few kB that claims to be `side` × `side` pixels."""
    rows = zlib.compress(bytes(1000))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def npy(array: NDArray[Any] | list[Any], *, allow_pickle: bool = False) -> bytes:
    """Return an array as a `.npy` file."""
    stream = BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=allow_pickle)
    return stream.getvalue()


class HandClock:
    """A monotonic clock that the test moves, until it is let go."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        self._let_go_at: float | None = None

    def __call__(self) -> float:
        """Return the time that the test has set, and what has passed since the clock was let go."""
        self.looks += 1
        return self.now + (0.0 if self._let_go_at is None else time.monotonic() - self._let_go_at)

    def let_go(self) -> None:
        """Go on by itself from now on."""
        self._let_go_at = time.monotonic()

    async def looked_at(self) -> None:
        """Wait until whoever goes by this clock has looked at it a few times."""
        before = self.looks
        await until(lambda: self.looks > before + 5)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that has no event of its own; fail after a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the condition is another process's or the disk's
            await asyncio.sleep(0.02)
