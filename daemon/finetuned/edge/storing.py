"""What an update of nearest neighbours does to the samples that the model holds, counted for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetuned.edge.wording import counted
from finetuned.update.growth import newcomers

if TYPE_CHECKING:
    from finetuned.update.features import Encoded
    from finetuned.update.growth import Growth
    from finetuned.update.updater import Updater


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """Samples: `given` to the update, of which so many are `known` to the model, which holds `before` and then `after`."""

    given: int
    known: int
    before: int
    after: int

    @property
    def dropped(self) -> int:
        """How many went, since the model may not hold more."""
        return self.before + self.given - self.known - self.after

    @property
    def sentence(self) -> str:
        """Say it."""
        known = f", {self.known} of {self.given} were there already" if self.known else ""
        dropped = f", {self.dropped} given up (--max-samples)" if self.dropped else ""
        new = counted(self.given - self.known, "sample")
        return f"{new} stored{known}{dropped}; the model holds {self.after}"


def storing(update: Updater, training: Encoded, growth: Growth) -> Storing | None:
    """Return what `update` is about to do; None where the model holds no samples."""
    held = update.model.learner.neighbors
    if held is None:
        return None
    places = {label: place for place, label in enumerate(update.labels)}
    classes = np.array([places[label] for label in held.labels], np.int64)
    new = np.ones(len(training), bool)
    if not growth.duplicates:
        new = newcomers(held.samples, classes, training.features, training.targets[:])
    whole = len(classes) + int(new.sum())
    return Storing(
        given=len(training),
        known=int((~new).sum()),
        before=len(classes),
        after=min(whole, growth.most or whole),
    )
