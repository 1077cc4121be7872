"""How good a model is, added up part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetuned.graph import packing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from finetuned.graph.goals import Goal
    from finetuned.update.features import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How good the model is: `accuracy` of a classifier, `error` (mean absolute) of a regressor, None of nothing.

    Nearest neighbours have no loss.
    """

    samples: int
    loss: float | None = None
    accuracy: float | None = None
    error: float | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over samples; `distance` is the sum over each sample's mean absolute error.

    Of several losses, the accuracy is that of the first cross entropy, and the error that over the numbers of all others.
    """

    goals: Sequence[Goal]
    samples: int = 0
    loss: float = 0.0
    hits: int = 0
    distance: float = 0.0

    def add(self, predictions: Array, losses: Array, targets: Array) -> None:
        """Add some samples; predictions and targets [n, …] as the programs take them: classes are one-hot."""
        count = len(targets)
        self.samples += count
        self.loss += float(losses.sum(dtype=np.float64))
        said, true = predictions.reshape(count, -1), targets.reshape(count, -1)
        if self._classes is not None:
            chances = said[:, self._classes]
            hit = chances.argmax(axis=1) == true[:, self._classes].argmax(axis=1)
            self.hits += int((hit & np.isfinite(chances).all(axis=1)).sum())  # what is no number is no answer
        if numbers := self._numbers:
            with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is told, as it is
                distances = np.concatenate([np.abs(said[:, n] - true[:, n]) for n in numbers], axis=1)
                self.distance += float(distances.mean(dtype=np.float64)) * count

    def measure(self) -> Measure:
        """Return the means."""
        return Measure(
            samples=self.samples,
            loss=self.loss / self.samples,
            accuracy=self.hits / self.samples if self._classes is not None else None,
            error=self.distance / self.samples if self._numbers else None,
        )

    @property
    def _classes(self) -> slice | None:
        """Where the classes lie of which the hits are counted."""
        return next((place for goal, place in self._placed() if goal.has_classes), None)

    @property
    def _numbers(self) -> list[slice]:
        """Where the numbers lie that are compared as such."""
        return [place for goal, place in self._placed() if not goal.has_classes]

    def _placed(self) -> Iterator[tuple[Goal, slice]]:
        return zip(self.goals, packing.places([goal.shape for goal in self.goals]), strict=True)
