"""Which samples may be among the nearest of one query: the memory is read once, and little else is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.update.nearest_known import CROWD

if TYPE_CHECKING:
    from finetuned.update.nearest_known import Known

Array = NDArray[Any]

_TILE = 1 << 16
"""So many scores are held at a time."""
_CENTERED = 1 << 19
"""So many numbers of the samples, where these have to be moved first."""
_GROUP, _FEW = 32, 1 << 11
"""Of more scores than those few the least of each such group is looked at, for the k-th of these is no less than that of all."""


def near(known: Known, samples: Array, query: Array, k: int) -> Array | None:
    """Return positions of samples, int64, ascending, among them the k nearest of a query, float32, [d]; k ≤ n.

    None where float32 does not tell enough (see `nearest_filter`).
    """
    n, width = samples.shape
    wide = query.astype(np.float64)
    reach = known.length(float(wide.dot(wide)), width)
    if not known.is_told(reach):
        return None
    slack, feed = known.slack(reach, width), query * -2
    step = _TILE if known.center is None else max(_FEW, _CENTERED // width)
    held = np.empty(min(n, step), np.float32)
    best, limit = held[:0], np.float32(np.inf)
    found: list[tuple[Array, Array]] = []
    crowd = 0
    for first in range(0, n, step):
        tile = known.centered(samples[first : first + step])
        scores = tile.dot(feed, out=held[: len(tile)])
        scores += known.norms[first : first + step]
        best = _merged(best, _least(scores, k), k)
        limit = _limit(best, k, slack)
        there = (scores <= limit).nonzero()[0]
        found.append((there + first, scores[there]))
        crowd += len(there)
        if crowd > CROWD * (k + len(found)):
            return None
    if len(found) == 1:
        return found[0][0]
    positions, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept: Array = positions[score <= limit]
    return kept


def _least(scores: Array, k: int) -> Array:
    """Return scores of which the k-th is no less than the k-th of all."""
    groups = len(scores) // _GROUP
    if groups < max(k, _FEW // _GROUP):
        return scores
    least: Array = np.minimum.reduce(scores[: groups * _GROUP].reshape(_GROUP, groups), axis=0)
    return least


def _merged(best: Array, least: Array, k: int) -> Array:
    """Return the k least of both, the k-th of them last."""
    both = np.concatenate([best, least]) if len(best) else least
    return np.partition(both, k - 1)[:k] if len(both) >= k else both.copy()


def _limit(best: Array, k: int, slack: float) -> np.float32:
    """Return the greatest score of a candidate: of fewer than k any."""
    if len(best) < k:
        return np.float32(np.inf)
    limit = float(best[-1]) + slack
    return np.float32(limit + abs(limit) * 2.0**-23)
