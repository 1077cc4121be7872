"""How the nearest samples decide: pure functions of their classes and distances (COREML.md §4).

Uniform: each neighbour has one vote.  Inverse distance: one of the *squared* Euclidean distance, the only one that the
format knows; where samples lie at distance 0, these alone vote, one vote each.  The class with most votes wins; of several
with as many, that of the nearest neighbour, and of equally near ones that of the sample stored first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def vote(classes: Array, distances: Array, count: int, *, inverse: bool) -> tuple[Array, Array]:
    """Return what the neighbours decide.

    Args:
        classes: int64 [m, k], those of the neighbours of each of m samples, nearest first, stored first first; k ≥ 1.
        distances: float64 [m, k], squared.
        count: the number of classes.
        inverse: by inverse distance.

    Returns:
        winners: int64 [m].
        shares: float64 [m, count], each class's part of the votes; they sum to 1.
    """
    votes = _inverse(distances) if inverse else np.ones_like(distances)
    rows = np.arange(len(classes))[:, None]
    flat = (rows * count + classes).ravel()
    totals = np.bincount(flat, weights=votes.ravel(), minlength=len(classes) * count)
    totals = totals.reshape(len(classes), count)
    # Of the neighbours whose class has most votes, the first.
    at_neighbors = np.take_along_axis(totals, classes, axis=1)
    first = (at_neighbors == totals.max(axis=1, keepdims=True)).argmax(axis=1)
    return classes[rows[:, 0], first], totals / totals.sum(axis=1, keepdims=True)


def _inverse(distances: Array) -> Array:
    """Return 1 / distance; where there is a distance of 0, 1 for it and 0 for others."""
    exact = distances == 0
    votes = np.divide(1.0, distances, out=np.zeros_like(distances), where=~exact)
    return np.where(exact.any(axis=1, keepdims=True), exact, votes)
