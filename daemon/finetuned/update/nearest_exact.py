"""Distances as they are told: differences in float64, and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Pairs = tuple[Array, Array]
"""Candidates: rows of queries and positions of samples, int64, [p] each, in any order, none of them twice."""

_SCANNED, _TILE = 1 << 17, 1 << 15
"""So many differences are held at a time: of candidates, as many as stay in the cache."""


def squared(samples: Array, queries: Array) -> Array:
    """Return the squared distances, float64, [...], of samples and queries, float32, [..., d].

    Every one is the pairwise sum of NumPy along the last axis, whose order depends on nothing but d.
    """
    apart = np.subtract(samples, queries, dtype=np.float64)
    apart *= apart
    total: Array = np.add.reduce(apart, axis=-1)
    return total


def scanned(samples: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """Return positions and distances, [m, k], of the k nearest by computing all: slow, and right for any numbers."""
    m, width = len(queries), max(1, samples.shape[1])
    step = max(k, _SCANNED // (width * max(1, m)), 1)
    positions, distances = np.empty((m, 0), np.int64), np.empty((m, 0))
    for first in range(0, len(samples), step):
        tile = samples[first : first + step]
        there = np.broadcast_to(np.arange(first, first + len(tile)), (m, len(tile)))
        positions = np.concatenate([positions, there], axis=1)
        with np.errstate(invalid="ignore"):  # infinite samples, infinitely far from nothing
            apart = squared(tile[None], queries[:, None])
        distances = np.concatenate([distances, apart], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        positions = np.take_along_axis(positions, order, 1)
        distances = np.take_along_axis(distances, order, 1)
    return positions, distances


def chosen(samples: Array, queries: Array, k: int, candidates: Pairs) -> tuple[Array, Array]:
    """Return positions and distances, [m, k], of the k nearest candidates of every query, finite, of which it has k at least."""
    rows, positions = candidates
    step = max(1, _TILE // max(1, samples.shape[1]))
    if len(queries) == 1 and len(rows) <= step:  # what is asked most often, and each call counts
        apart = squared(samples.take(positions, 0), queries)
        order = np.lexsort((positions, apart))[:k]
        return positions[order][None], apart[order][None]
    apart = np.empty(len(rows))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        apart[part] = squared(samples.take(positions[part], 0), queries.take(rows[part], 0))
    order = np.lexsort((positions, apart, rows))
    begins = np.searchsorted(rows[order], np.arange(len(queries)))
    best = order[begins[:, None] + np.arange(k)]
    return positions[best], apart[best]
