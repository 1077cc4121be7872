"""The samples of a nearest-neighbours classifier, and how it answers by them: what an update grows and a prediction asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.rows import slices
from finetuned.update.nearest import Nearest
from finetuned.update.voting import vote

if TYPE_CHECKING:
    from finetuned.spec.neighbors import Neighbors

Array = NDArray[Any]

_AT_ONCE = 256
"""So many samples are answered together; what they ask of memory is a few numbers for each of their neighbours."""


class Stored:
    """Samples with their classes, in the order in which they came.

    Args:
        neighbors: the classifier, sound (`check`).
        count: how many neighbours vote; of fewer samples, all.
        threads: threads of a search; the answers do not depend on it.

    `labels` are those that there are, in the order in which they were met; classes are positions among them.
    """

    def __init__(self, neighbors: Neighbors, count: int, *, threads: int = 1) -> None:
        self._count, self._threads = count, threads
        self._inverse = neighbors.weighting == "inverseDistanceWeighting"
        self._default = neighbors.default_label
        self._known: dict[str | int, int] = {}
        self.classes: Array = self.classes_of(neighbors.labels)
        self._tree = neighbors.index == "singleKdTreeIndex"
        self._nearest = Nearest(neighbors.samples, threads=threads, tree=self._tree)

    def __len__(self) -> int:
        """Return how many samples there are."""
        return len(self._nearest)

    @property
    def labels(self) -> tuple[str | int, ...]:
        """All labels that were met."""
        return tuple(self._known)

    @property
    def samples(self) -> Array:
        """The samples, float32 [n, d]."""
        return self._nearest.samples

    def classes_of(self, labels: tuple[str | int, ...] | list[str | int]) -> Array:
        """Return the class of each label, int64; one that was not met before becomes the next."""
        for label in dict.fromkeys(labels):
            self._known.setdefault(label, len(self._known))
        return np.fromiter(map(self._known.__getitem__, labels), np.int64, len(labels))

    def add(self, rows: Array, classes: Array) -> None:
        """Store more samples."""
        if not len(rows):
            return
        self._nearest.add(rows)
        self.classes = np.concatenate([self.classes, classes])

    def keep(self, positions: Array) -> None:
        """Keep those at these positions, in this order; the others go."""
        if len(positions) < len(self):
            self._nearest = Nearest(self.samples[positions], threads=self._threads, tree=self._tree)
            self.classes = self.classes[positions]

    def answer(self, queries: Array) -> tuple[Array, Array]:
        """Return what the neighbours of each sample decide.

        Without a stored sample the answer is the default label, and nothing speaks for it: all shares are 0.

        Args:
            queries: float32 [m, d].

        Returns:
            winners: int64 [m], classes; -1 where the answer is a label that was never met.
            shares: float64 [m, labels], each label's part of the votes.
        """
        winners = np.full(
            len(queries), self._known.get(self._default, -1) if self._default is not None else -1
        )
        shares = np.zeros((len(queries), len(self._known)))
        for part in slices(len(queries) if len(self) else 0, 1, most=_AT_ONCE):
            positions, distances = self._nearest.nearest(queries[part], self._count)
            winners[part], shares[part] = vote(
                self.classes[positions], distances, len(self._known), inverse=self._inverse
            )
        return winners, shares
