"""How good a model is, added up part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from finetuned.update.features import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How good the model is: `accuracy` of a classifier, `error` (mean absolute) of a regressor, None of nothing."""

    samples: int
    loss: float
    accuracy: float | None = None
    error: float | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over samples; `distance` is the sum over each sample's mean absolute error."""

    samples: int = 0
    loss: float = 0.0
    hits: int = 0
    distance: float = 0.0
    classes: bool = False

    def add(self, predictions: Array, losses: Array, targets: Array) -> None:
        """Add some samples; their targets are class indices (int64) or numbers."""
        count = len(targets)
        self.samples += count
        self.loss += float(losses.sum(dtype=np.float64))
        self.classes = targets.dtype == np.int64
        if self.classes:
            self.hits += int((predictions.reshape(count, -1).argmax(axis=1) == targets).sum())
            return
        with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is told, as it is
            self.distance += float(np.abs(predictions - targets).mean(dtype=np.float64)) * count

    def measure(self) -> Measure:
        """Return the means."""
        loss = self.loss / self.samples
        if self.classes:
            return Measure(samples=self.samples, loss=loss, accuracy=self.hits / self.samples)
        return Measure(samples=self.samples, loss=loss, error=self.distance / self.samples)
