"""What everybody who drives an update needs of it, whatever the kind of model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from finetuned.parameters import Number
    from finetuned.rows import Rows
    from finetuned.spec.model import Model
    from finetuned.update.checkpoint import Position, Snapshot
    from finetuned.update.features import Array, Encoded
    from finetuned.update.measuring import Measure
    from finetuned.update.network import Epoch, MiniBatch
    from finetuned.update.sessions import Move


class Updater(Protocol):
    """One update of a model, made by `updating.updater`."""

    @property
    def model(self) -> Model:
        """What it began with."""

    @property
    def parameters(self) -> dict[str, Number]:
        """Those in force."""

    @property
    def departures(self) -> tuple[str, ...]:
        """In what ways, in words, the update leaves Core ML."""

    @property
    def position(self) -> Position:
        """Where it stands after the event that `steps` yielded last."""

    # ── what goes in ────────────────────────────────────────────────────────────────────────────
    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that training needs."""

    @property
    def target(self) -> str:
        """The training input that holds the target; of several, the one that has labels, or else the first."""

    @property
    def labels(self) -> tuple[str | int, ...]:
        """What a target's class indices stand for, in order; nearest neighbours take in new ones as they meet them."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of a sample's features."""

    @property
    def frozen(self) -> bool:
        """Whether features are computed by running something: then one sample at a time (`features.add_features`)."""

    def features_of(self, inputs: Mapping[str, Array], /) -> Array:
        """Return float32 [N, *feature_shape] of a batch of inputs; SampleError where they do not fit the model."""

    def targets_of(self, data: Mapping[str, Any], folder: Path | None = None, *, first: int = 0) -> Rows:
        """Return the targets in arrays and lists by feature name, as `Encoded` has them.

        What is too much for memory goes to a file in `folder`; `first` is the number of the first sample, as an error calls it.
        """

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    @property
    def learning_rate(self) -> float | None:
        """The one parameter that may change between two steps; None where there is none."""

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None: ...

    @property
    def epochs(self) -> int:
        """How often all samples are seen; 0 where there are no mini-batches: then `steps` yields nothing and is done."""

    def batches(self, samples: int) -> int:
        """Return the number of mini-batches in an epoch."""

    def steps(self, data: Encoded, start: Position | None = None) -> Generator[MiniBatch | Epoch, None, None]:
        """Train from `start` on; yield after every mini-batch and after every epoch."""

    # ── where ───────────────────────────────────────────────────────────────────────────────────
    @property
    def device(self) -> str:
        """Where everything is computed."""

    def accelerate(self, *, accelerated: bool) -> None:
        """Compute on the most wanted device that there is from now on, or on the CPU; ask between two steps."""

    def news(self) -> list[Move]:
        """Return, once, the moves since it was last asked, and why a wanted device is not used."""

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────
    def identity(self, data: Encoded) -> str:
        """Return a digest of all that the result depends on, but for adjusted learning rates."""

    def snapshot(self) -> Snapshot:
        """Return copies of all that the next step depends on; ask between two steps."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, whole or not at all; CheckpointError where it does not fit."""

    # ── what comes out ──────────────────────────────────────────────────────────────────────────
    def measure(self, data: Encoded) -> Measure:
        """Return how good the model of this moment is on these samples."""

    def encode(self, whole: Model | None = None) -> bytes:
        """Return the file of the model of this moment; `whole` is the pipeline that ends in it, if it is in one."""
