"""What is known of stored samples before anybody asks, and what follows: how wrong float32 may order them.

‖x‖² − 2 x·q orders the samples x as their distances to a query q do.  The bound on its rounding is the usual one of sums of
products in any order (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), with the largest norm there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CROWD = 1 << 8
"""Where so many candidates stand for each of a query's k, rounding tells too little."""
_AT_ONCE = 1 << 19
"""So many numbers are held at a time."""
_HALF_ULP, _HALF_ULP_64, _TINY = 2.0**-24, 2.0**-53, 1e-35
_LOST = 1e-16
"""So long a query may be though all its squares are 0."""
_LARGE = 1e15
"""Squares of larger norms, times what rounding multiplies them with, are no business of float32."""


class Known:
    """The squared norms of the samples, the largest norm, and the middle from which they are taken."""

    def __init__(self) -> None:
        self.norms = np.empty(0, np.float32)
        self.center: Array | None = None
        self._count = 0
        self._largest = 0.0

    def slack(self, reach: float | Array, width: int) -> Any:  # noqa: ANN401 - as reach is
        """Return by how much two scores may be in the wrong order, of queries that are so long (`length`)."""
        far = self._largest + reach
        single = (width + 8) * _HALF_ULP * 1.01 * (self._largest**2 + 2 * self._largest * reach)
        if self.center is not None:
            single += 8 * _HALF_ULP * far**2  # the subtraction rounds, too
        double = (width + 8) * _HALF_ULP_64 * far**2
        return 2 * (single + double + width * _TINY)

    def length(self, squares: Any, width: int) -> Any:  # noqa: ANN401 - a number or an array
        """Return how long queries of these squares, summed in float32 or better, may be."""
        return squares**0.5 * (1 + width * _HALF_ULP) + _LOST

    def is_told(self, reach: float) -> bool:
        """Say whether float32 holds what is computed of queries that are no longer."""
        return reach < _LARGE and self._largest < _LARGE

    def learn(self, samples: Array) -> None:
        """Compute the norms of the samples that came since."""
        if self._count == len(samples):
            return
        if not self._count:
            self.center = _center(samples)
        if len(samples) > len(self.norms):
            size = len(samples) if not self._count else max(len(samples), len(self.norms) * 5 // 4)
            norms = np.empty(size, np.float32)
            norms[: self._count] = self.norms[: self._count]
            self.norms = norms
        step = max(1, _AT_ONCE // max(1, samples.shape[1]))
        for first in range(self._count, len(samples), step):
            tile = self.centered(samples[first : first + step]).astype(np.float64)
            squares = np.einsum("nd,nd->n", tile, tile)
            self._largest = float(np.maximum(self._largest, np.sqrt(np.max(squares))))
            with np.errstate(over="ignore"):
                self.norms[first : first + len(tile)] = squares
        self._count = len(samples)

    def centered(self, tile: Array) -> Array:
        """Return these rows as seen from the middle; themselves, where that is 0."""
        if self.center is None:
            return tile
        with np.errstate(invalid="ignore", over="ignore"):
            moved: Array = tile - self.center
        return moved


def _center(samples: Array) -> Array | None:
    """Return what the samples lie around, float32, [d], where that is far from 0 for their spread; else None."""
    some = samples[:: max(1, len(samples) // 1024)].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        middle = some.mean(axis=0).astype(np.float32)
        spread = np.square(some - middle).sum(axis=1).max()
        return middle if np.square(some).sum(axis=1).max() > 16 * spread else None
