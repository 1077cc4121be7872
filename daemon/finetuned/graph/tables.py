"""Tables of positions: which pixels a window looks at, and which windows a pixel is seen by.

A table is int32 [J, K, P]: number `k` of window `p` is the sum of the positions `table[:, k, p]` of an image whose
positions are counted row by row; `NONE` stands for a zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int32]

NONE = -1
LARGEST = 1 << 24
"""Entries of one table (64 MiB; 3 × 3 windows over 1,300 × 1,300 pixels): a file that asks for more is broken, or means harm."""


def windows(rows: NDArray[np.int64], columns: NDArray[np.int64], width: int) -> Table:
    """Return the table [1, kH·kW, oH·oW] of windows over an image that is `width` wide.

    Args:
        rows: int64 [kH, oH], the row where each tap of each window lies, `NONE` outside of the image.
        columns: int64 [kW, oW], the same for columns.
        width: pixels of a row.

    Raises:
        ValueError: the table would be larger than `LARGEST`.
    """
    check(rows.size * columns.size)
    starts, offsets = (rows * width).astype(np.int32), columns.astype(np.int32)
    wide: Table = starts[:, None, :, None] + offsets[None, :, None, :]
    outside = (rows == NONE)[:, None, :, None] | (columns == NONE)[None, :, None, :]
    wide[outside] = NONE
    return wide.reshape(1, len(rows) * len(columns), -1)


def inverse(table: Table, positions: int) -> Table:
    """Return [J, 1, positions]: for each position the places k·P + p of the table where it stands.

    Raises:
        ValueError: the table would be larger than `LARGEST`.
    """
    check(positions)
    places = np.arange(table[0].size, dtype=np.int32)
    flat = table.reshape(len(table), -1)
    used = flat != NONE
    at, place = flat[used], np.broadcast_to(places, flat.shape)[used]
    order = np.argsort(at, kind="stable")
    at, place = at[order], place[order]
    counts = np.bincount(at, minlength=positions)
    deepest = max(int(counts.max(initial=0)), 1)
    check(deepest * positions)
    result = np.full((deepest, positions), NONE, dtype=np.int32)
    rank = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    result[rank, at] = place
    return result.reshape(deepest, 1, positions)


def summed(table: Table) -> Table:
    """Return [J·K, 1, P]: what stands in one window becomes one sum."""
    return table.reshape(-1, 1, table.shape[-1])


def check(entries: int) -> None:
    """Refuse, by a ValueError, a table of more than `LARGEST` entries."""
    if entries > LARGEST:
        raise ValueError(
            f"a table of {entries} positions is needed; {LARGEST} are allowed: take a smaller input, or freeze the layer"
        )
