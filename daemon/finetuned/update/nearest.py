"""The nearest of stored samples, exactly: what k-NN asks of its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_TILE = 1 << 17
"""So many float64 are computed at a time."""


class Nearest:
    """Samples that grow, and the nearest of them.

    Args:
        samples: float32, [n, d]; not copied until more are added.
        threads: how many compute; the answer does not depend on it.
    """

    def __init__(self, samples: Array, *, threads: int = 1) -> None:
        self._memory = np.ascontiguousarray(samples, np.float32)
        self._n = len(samples)
        self.threads = threads

    def __len__(self) -> int:
        """Return how many samples are stored."""
        return self._n

    @property
    def samples(self) -> Array:
        """The samples in the order in which they came, float32, [n, d]: a view."""
        return self._memory[: self._n]

    def add(self, rows: Array) -> None:
        """Store more samples, float32, [m, d]; that costs the new ones, not the old ones (amortised)."""
        size = self._n + len(rows)
        if size > len(self._memory):
            memory = np.empty((max(size, len(self._memory) * 5 // 4), self._memory.shape[1]), np.float32)
            memory[: self._n] = self.samples
            self._memory = memory
        self._memory[self._n : size] = rows
        self._n = size

    def nearest(self, queries: Array, k: int) -> tuple[Array, Array]:
        """Return the k nearest of every query, nearest first, equally near ones in the order in which they came.

        Args:
            queries: float32, [m, d].
            k: how many; no more than there are samples are returned.

        Returns:
            positions: int64, [m, min(k, n)].
            distances: float64, [m, min(k, n)], squared Euclidean, of differences: 0 exactly where sample and query
                are the same.
        """
        k = min(k, self._n)
        positions = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k))
        for row, query in enumerate(np.asarray(queries, np.float32).astype(np.float64)):
            apart = self._apart(query)
            positions[row] = np.argsort(apart, kind="stable")[:k]
            distances[row] = apart[positions[row]]
        return positions, distances

    def _apart(self, query: Array) -> Array:
        step = max(1, _TILE // max(1, len(query)))
        tiles = [squared(self.samples[first : first + step], query) for first in range(0, self._n, step)]
        return np.concatenate([np.empty(0), *tiles])


def squared(samples: Array, query: Array) -> Array:
    """Return the squared distances, float64, [...], of samples [..., d] to a query [d] or [..., d] of float64."""
    apart = samples - query
    apart *= apart
    total: Array = np.add.reduce(apart, axis=-1)
    return total
