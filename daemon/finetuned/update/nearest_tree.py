"""Which samples may be among the nearest, by a k-d tree, where there are few dimensions and many samples.

The tree is pykdtree's: it reads the samples where they are, in float32, and keeps no more than their order beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from finetuned.update.nearest_exact import Pairs

Array = NDArray[Any]

_DEEP = dict.fromkeys(range(1, 6), 3000) | {6: 5000, 7: 10_000, 8: 30_000, 9: 100_000, 10: 100_000}
"""From so many samples on the tree is faster than the filter, by dimensions; with more dimensions it never is."""
_PATIENCE = 256
"""So many queries are answered by other means before a tree is built anew, or that was not asked for."""
_BEHIND = 64
"""So many samples may have come since the tree was built: every query is compared with all of them."""
_MORE = 4
"""So many more than k are asked of the tree: where even these may be as near as the k-th, so may others."""
_MOST = 1 << 6
"""So many at most: trees are for few."""
_ROUNDING, _TINY = 6e-5, 1e-35
"""Two of the tree's squared distances are in the right order where they differ by more than this, of themselves or at all."""
_LARGE = 1e15
"""Squares of smaller numbers are no trouble to float32."""
_SHARE = 100
"""pykdtree gives a thread so many queries at a time, and has no other way to say how many threads there are."""


class Tree:
    """A k-d tree of the samples that there were when it was built.

    Args:
        threads: how many threads search.
        eager: build it at the first search.
    """

    def __init__(self, *, threads: int, eager: bool) -> None:
        self._at_once = _SHARE * threads
        self._patience = 0 if eager else _PATIENCE
        self._tree: Any = None
        self._held = 0
        self._address = 0

    def candidates(self, samples: Array, queries: Array, k: int) -> Pairs | None:
        """Return rows of queries and positions of samples, among them the k nearest of every query.

        None where there is no tree, or where it cannot tell.
        """
        if not self._is_ready(samples, len(queries)):
            return None
        if k + _MORE > _MOST or not np.all(np.abs(queries) < _LARGE):
            return None
        apart, positions = self._asked(queries, k + _MORE)
        limit = apart[:, k - 1 : k] * (1 + _ROUNDING) + _TINY
        if not np.all(apart[:, -1:] > limit):
            return None
        rows, ranks = np.nonzero(apart <= limit)
        late = np.arange(self._held, len(samples))
        every = np.arange(len(queries))
        return (
            np.concatenate([rows, np.repeat(every, len(late))]),
            np.concatenate([positions[rows, ranks].astype(np.int64), np.tile(late, len(queries))]),
        )

    def _asked(self, queries: Array, k: int) -> tuple[Array, Array]:
        parts = [
            self._tree.query(queries[first : first + self._at_once], k=k, sqr_dists=True)
            for first in range(0, len(queries), self._at_once)
        ]
        apart = np.concatenate([part[0].reshape(-1, k) for part in parts])
        return apart.astype(np.float64), np.concatenate([part[1].reshape(-1, k) for part in parts])

    def _is_ready(self, samples: Array, asked: int) -> bool:
        """Say whether there is a tree of almost these samples; build it where it is time to."""
        if len(samples) < _DEEP.get(samples.shape[1], len(samples) + 1):
            return False
        if self._address != samples.ctypes.data:  # they have moved: the old memory is not held any longer
            self._tree = None
        if self._tree is not None and len(samples) - self._held <= _BEHIND:
            return True
        self._patience -= asked
        if self._patience > 0:
            return False
        return self._is_built(samples)

    def _is_built(self, samples: Array) -> bool:
        self._patience = _PATIENCE
        if not max(abs(float(samples.min())), abs(float(samples.max()))) < _LARGE:
            return False
        from pykdtree.kdtree import KDTree  # noqa: PLC0415 - only who has so many samples of so few numbers needs it

        self._tree = KDTree(samples)
        self._held = len(samples)
        self._address = samples.ctypes.data
        return True
