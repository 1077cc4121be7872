"""The nearest of stored samples, exactly: what k-NN asks of its memory.

Distances are computed in float64, of differences, and only of candidates; who is one is found out by other means
(`nearest_filter`, `nearest_tree`), with bounds on what those means round, so that the answer is that of computing all of
them, to the last bit, whatever the means, the threads and the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetuned.update.nearest_exact import chosen, scanned
from finetuned.update.nearest_filter import BATCH, Filter
from finetuned.update.nearest_tree import Tree

Array = NDArray[Any]

_SMALL = 1 << 15
"""So few differences are computed at once: all that could spare them takes longer."""


class Nearest:
    """Samples that grow, and the nearest of them.

    Args:
        samples: float32, [n, d]; not copied until more are added.
        threads: how many compute; the answer does not depend on it.
        tree: build a k-d tree at once where it helps; otherwise that waits until it is worth it.
    """

    def __init__(self, samples: Array, *, threads: int = 1, tree: bool = False) -> None:
        self._memory = np.ascontiguousarray(samples, np.float32)
        self._n = len(samples)
        self._filter = Filter(threads)
        self._tree = Tree(threads=threads, eager=tree)

    def __len__(self) -> int:
        """Return how many samples are stored."""
        return self._n

    @property
    def samples(self) -> Array:
        """The samples in the order in which they came, float32, [n, d]: a view."""
        return self._memory[: self._n]

    def add(self, rows: Array) -> None:
        """Store more samples, float32, [m, d]; that costs the new ones, not the old ones (amortised)."""
        self._memory = appended(self._memory, self._n, rows)
        self._n += len(rows)

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
        queries = np.ascontiguousarray(queries, np.float32)
        k = min(k, self._n)
        if not k or not queries.size or (len(queries) > 1 and self._n * queries.size <= _SMALL):
            return scanned(self.samples, queries, k)
        if len(queries) <= BATCH:
            return self._of_batch(queries, k)
        parts = [self._of_batch(queries[first : first + BATCH], k) for first in range(0, len(queries), BATCH)]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _of_batch(self, queries: Array, k: int) -> tuple[Array, Array]:
        samples = self.samples
        candidates = self._tree.candidates(samples, queries, k)
        if candidates is None:
            candidates = self._filter.candidates(samples, queries, k)
        if candidates is None:
            return scanned(samples, queries, k)
        return chosen(samples, queries, k, candidates)


def appended(memory: Array, used: int, rows: Array) -> Array:
    """Return a memory whose first `used` rows are followed by these: the same, or where it is full a larger one."""
    if used + len(rows) > len(memory):
        larger = np.empty((max(used + len(rows), len(memory) * 5 // 4), *memory.shape[1:]), memory.dtype)
        larger[:used] = memory[:used]
        memory = larger
    memory[used : used + len(rows)] = rows
    return memory
