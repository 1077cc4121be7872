"""The update of a pipeline: the models before the last are run, once for each sample, and the last one learns."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from finetuned.update.features import inputs_of
from finetuned.update.front import Front, staged

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from finetuned.parameters import Number
    from finetuned.rows import Rows
    from finetuned.spec.model import Model
    from finetuned.update.checkpoint import Position, Snapshot
    from finetuned.update.features import Array, Encoded
    from finetuned.update.measuring import Measure
    from finetuned.update.network import Epoch, MiniBatch
    from finetuned.update.sessions import Move
    from finetuned.update.updater import Updater


class PipelineUpdate:
    """One update of a pipeline's last model, by that model's own updater.

    Args:
        model: an updatable pipeline.
        last: the updater of its last model.
        threads: threads of one run of a model before it.
        devices: where to run them, the most wanted first.
        accelerated: False: on the CPU, until `accelerate` says otherwise.

    Raises:
        ModelError: a model before the last cannot be run.
    """

    def __init__(
        self, model: Model, last: Updater, *, threads: int, devices: Sequence[str], accelerated: bool
    ) -> None:
        self.model = model
        self._last = last
        wanted = [feature for feature in last.model.description.inputs if feature.name in last.inputs]
        stages, self.inputs = staged(model, len(model.models) - 1, wanted)
        self._front = Front(stages, threads=threads, devices=devices, accelerated=accelerated)
        self.departures = last.departures

    # ── what goes in ────────────────────────────────────────────────────────────────────────────
    @property
    def target(self) -> str:
        """The last model's."""
        return self._last.target

    @property
    def labels(self) -> tuple[str | int, ...]:
        """The last model's."""
        return self._last.labels

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The last model's."""
        return self._last.feature_shape

    @property
    def frozen(self) -> bool:
        """Whether any model, or the frozen part of the last one, is run."""
        return len(self._front) > 0 or self._last.frozen

    def features_of(self, inputs: Mapping[str, Array], /) -> Array:
        """Run the models before the last, and what is frozen of that."""
        return self._last.features_of(self._front.run(inputs_of(self.model, inputs, needed=self.inputs)))

    def targets_of(self, data: Mapping[str, Any], folder: Path | None = None, *, first: int = 0) -> Rows:
        """Return the last model's targets."""
        return self._last.targets_of(data, folder, first=first)

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    @property
    def parameters(self) -> dict[str, Number]:
        """Those in force: the last model's."""
        return self._last.parameters

    @property
    def position(self) -> Position:
        """Where the last model's update stands."""
        return self._last.position

    @property
    def learning_rate(self) -> float | None:
        """The last model's."""
        return self._last.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._last.learning_rate = rate

    @property
    def epochs(self) -> int:
        """How often all samples are seen."""
        return self._last.epochs

    def batches(self, samples: int) -> int:
        """Return the number of mini-batches in an epoch."""
        return self._last.batches(samples)

    def steps(self, data: Encoded, start: Position | None = None) -> Generator[MiniBatch | Epoch, None, None]:
        """Train the last model."""
        return self._last.steps(data, start)

    # ── where ───────────────────────────────────────────────────────────────────────────────────
    @property
    def device(self) -> str:
        """Where the models before the last are computed; where there is none to be run, the last one."""
        return self._front.device if len(self._front) else self._last.device

    def accelerate(self, *, accelerated: bool) -> None:
        """Compute all of them on the most wanted device that there is from now on, or on the CPU."""
        self._front.accelerate(accelerated=accelerated)
        self._last.accelerate(accelerated=accelerated)

    def news(self) -> list[Move]:
        """Return the moves since it was last asked, and why a wanted device is not used."""
        return list(dict.fromkeys([*self._front.news(), *self._last.news()]))

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────
    def identity(self, data: Encoded) -> str:
        """Return a digest of the whole file, and of what the last model's result depends on."""
        digest = hashlib.sha256(self.model.data)
        digest.update(self._last.identity(data).encode())
        return digest.hexdigest()

    def snapshot(self) -> Snapshot:
        """Return what the last model's next step depends on."""
        return self._last.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Take the last model's update back to a snapshot."""
        self._last.restore(snapshot)

    # ── what comes out ──────────────────────────────────────────────────────────────────────────
    def measure(self, data: Encoded) -> Measure:
        """Return how good the model of this moment is on these samples."""
        return self._last.measure(data)

    def encode(self, whole: Model | None = None) -> bytes:
        """Return the file with what the last model has learnt; every other byte stays."""
        return self._last.encode(whole or self.model)
