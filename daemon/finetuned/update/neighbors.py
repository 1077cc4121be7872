"""The update of a nearest-neighbours classifier: the new samples are stored, and that is all (COREML.md §4).

There is no loss, no epoch, no mini-batch, and nothing to go on from: a checkpoint says that it begins at the beginning.
What is stored, and in which order, depends on the model, the samples in their order and the `Growth` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.errors import CheckpointError, SampleError
from finetuned.labels import ALLOWED, is_label
from finetuned.parameters import label_of
from finetuned.rows import row_bytes, slices
from finetuned.spec import codec
from finetuned.update.checkpoint import Position, Snapshot
from finetuned.update.devices import CPU
from finetuned.update.features import inputs_of, values_of
from finetuned.update.growth import Growth, kept, newcomers
from finetuned.update.identity import identity_of
from finetuned.update.measuring import Measure
from finetuned.update.parameters import neighbors_of
from finetuned.update.refusing import refuse
from finetuned.update.stored import Stored
from finetuned.update.weighting import weights_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from finetuned.parameters import Number
    from finetuned.rows import Rows
    from finetuned.spec.model import Model
    from finetuned.update.features import Array, Encoded
    from finetuned.update.network import Epoch, MiniBatch
    from finetuned.update.sessions import Move


class NeighborsUpdate:
    """One update of a nearest-neighbours classifier.

    Args:
        model: an updatable one.
        parameters: those in force: `numberOfNeighbors`, by which it is measured; the file keeps its own.
        threads: threads of a search; no part of the identity, for the answers do not depend on it.
        growth: how far it may grow.
        loss_weights: none: there is no loss.

    `labels` are the stored ones and those that were met in targets since.

    Raises:
        ModelError: the model cannot be updated; the message holds every reason.
        ParameterError: a weight of a loss.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, Number],
        *,
        threads: int = 1,
        growth: Growth | None = None,
        loss_weights: Mapping[str, object] | None = None,
    ) -> None:
        refuse(model)
        weights_of(model, loss_weights or {})
        self.model = model
        self.departures: tuple[str, ...] = ()
        self.parameters = dict(parameters)
        self.position = Position()
        self.device = CPU
        self._found = neighbors_of(model)
        self._growth = growth or Growth()
        self._threads = threads
        self._stored = self._fresh()

    def _fresh(self) -> Stored:
        return Stored(self._found, int(self.parameters["numberOfNeighbors"]), threads=self._threads)

    # ── what goes in ────────────────────────────────────────────────────────────────────────────
    @property
    def inputs(self) -> tuple[str, ...]:
        """The one input."""
        return tuple(feature.name for feature in self.model.description.inputs)

    @property
    def target(self) -> str:
        """The training input that holds the label."""
        return self.model.description.predicted_feature

    @property
    def labels(self) -> tuple[str | int, ...]:
        """The stored labels, and those that were met since."""
        return self._stored.labels

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """As many numbers as there are dimensions."""
        return (self._found.dimensions,)

    @property
    def frozen(self) -> bool:
        """Nothing is run: features are what goes in."""
        return False

    def features_of(self, inputs: Mapping[str, Array], /) -> Array:
        """Return the input as rows, float32 [N, dimensions]; SampleError where a number is infinite or NaN."""
        (array,) = inputs_of(self.model, inputs).values()
        return array.reshape(len(array), -1)

    def targets_of(self, data: Mapping[str, Any], folder: Path | None = None, *, first: int = 0) -> Rows:
        """Return the classes of the labels, int64 [N]; a label that is new becomes the next class.

        Raises:
            SampleError: there are none, or one is not of the model's type; of it only the place is told.
        """
        del folder
        if self.target not in data:
            raise SampleError(
                f"the target {self.target!r} is missing; there is {', '.join(map(repr, data)) or 'nothing'}"
            )
        read = _text if self._found.kind == "string" else _number
        known = frozenset(self.labels)
        labels = [
            value if isinstance(value, str) and value in known else read(value, first + place)
            for place, value in enumerate(values_of(data[self.target]))
        ]
        return self._stored.classes_of(labels)

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    @property
    def learning_rate(self) -> float | None:
        """There is none."""
        return None

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        raise ValueError(f"nearest neighbours have no learningRate to set to {rate}")

    @property
    def epochs(self) -> int:
        """There are none."""
        return 0

    def batches(self, samples: int) -> int:
        """There are none."""
        del samples
        return 0

    def steps(self, data: Encoded, start: Position | None = None) -> Generator[MiniBatch | Epoch, None, None]:
        """Store the samples, once it is driven; it yields nothing.

        Raises:
            SampleError: there is none.
            CheckpointError: there is no such position.
        """
        if not len(data):
            raise SampleError("there is no sample to train on")
        _check_beginning(start or Position())
        return self._run(data)

    def _run(self, data: Encoded) -> Generator[MiniBatch | Epoch, None, None]:
        self._store(data)
        yield from ()

    def _store(self, data: Encoded) -> None:
        stored, classes = self._stored, data.targets[:]
        new = np.ones(len(data), bool)
        if not self._growth.duplicates:
            new = newcomers(stored.samples, stored.classes, data.features, classes)
        for part in slices(len(data), row_bytes(data.features), most=len(data)):
            stored.add(data.features[part][new[part]], classes[part][new[part]])
        stored.keep(kept(stored.classes, self._growth))

    # ── where ───────────────────────────────────────────────────────────────────────────────────
    def accelerate(self, *, accelerated: bool) -> None:
        """The CPU searches, whatever is wanted."""

    def news(self) -> list[Move]:
        """There is none."""
        return []

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────
    def identity(self, data: Encoded) -> str:
        """Return a digest of all that the result depends on."""
        growth = self._growth
        rest = {
            "labels": list(self.labels),
            "growth": [growth.most, growth.policy, growth.duplicates],
            **self.parameters,
        }
        return identity_of(self.model.data, data, rest, threads=1)

    def snapshot(self) -> Snapshot:
        """Return the beginning: there is nothing between it and the end."""
        return Snapshot(position=Position(), learning_rate=0.0, arrays={})

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to the beginning; CheckpointError where it is not that of such an update."""
        _check_beginning(snapshot.position)
        if snapshot.arrays:
            raise CheckpointError("it holds arrays, and nearest neighbours have none")
        labels, self._stored = list(self.labels), self._fresh()
        self._stored.classes_of(labels)  # targets that were encoded count by them

    # ── what comes out ──────────────────────────────────────────────────────────────────────────
    def measure(self, data: Encoded) -> Measure:
        """Return the accuracy with what is stored by now; a sample that is stored is its own nearest neighbour."""
        if not len(data):
            raise SampleError("there is no sample to measure on")
        hits = 0
        for part in slices(len(data), row_bytes(data.features), most=len(data)):
            winners, _ = self._stored.answer(data.features[part])
            hits += int((winners == data.targets[part]).sum())
        return Measure(samples=len(data), accuracy=hits / len(data))

    def encode(self, whole: Model | None = None) -> bytes:
        """Return the model file with what is stored by now; every other byte stays."""
        labels = self.labels
        each = [labels[place] for place in self._stored.classes.tolist()]
        return codec.encode_neighbors(whole or self.model, self._stored.samples, each)


def _check_beginning(position: Position) -> None:
    if position != Position():
        raise CheckpointError(f"nearest neighbours have no epoch {position.epoch}, step {position.step}")


def _text(value: object, place: int) -> str:
    """Return a label that is a text; of any other only the place is told, for it is what a sample holds."""
    if not isinstance(value, str):
        raise SampleError(f"the label of sample {place} (counted from 0) is no text; the model's labels are")
    if not is_label(value):
        raise SampleError(f"the label of sample {place} (counted from 0) is no label; allowed: {ALLOWED}")
    return str(value)


def _number(value: object, place: int) -> int:
    """Return a label that is a whole number, or the digits of one, as `_text` does."""
    number = label_of(value)
    if number is None:
        raise SampleError(
            f"the label of sample {place} (counted from 0) is no whole number of 64 bits; the model's labels are"
        )
    return number
