"""The update of a neural network: a generator that yields at every mini-batch.

To pause is not to call `next`, to throttle is to wait before calling it, to cancel is to close it.  One step is one run
of the compiled chain, forward and backward, on bound buffers, and one step of the optimizer in the memory from which
the graph reads the weights (ENGINE.md).  Same model, samples, parameters, seed and threads: same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.errors import CheckpointError, DivergenceError, FinetunedError, SampleError
from finetuned.graph import loss as losses
from finetuned.graph.program import (
    FEATURES,
    GRADIENT,
    LOSS,
    LOSSES,
    PREDICTION,
    Training,
    compile_training,
)
from finetuned.rows import row_bytes, slices
from finetuned.spec import check, codec, metadata
from finetuned.spec.metadata import warning
from finetuned.update import optimizer
from finetuned.update import weights as trained_weights
from finetuned.update.checkpoint import OPTIMIZER, WEIGHTS, Position, Snapshot
from finetuned.update.devices import CPU
from finetuned.update.features import Array, Encoded, inputs_of, one_hot, target_name, targets_for
from finetuned.update.identity import identity_of
from finetuned.update.measuring import Measure, Tally
from finetuned.update.memory import Arena, Buffers
from finetuned.update.parameters import update_of
from finetuned.update.refusing import refuse
from finetuned.update.sessions import Sessions
from finetuned.update.weighting import weights_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from finetuned.graph.program import Program
    from finetuned.parameters import Number
    from finetuned.rows import Rows
    from finetuned.spec.model import Model
    from finetuned.update.sessions import Binding, Move

_MEASURED_AT_ONCE = 32
_NAMED = 5
_STEP, _HEAD = "step", "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniBatch:
    """A step was made; `loss` is the mini-batch's mean before the step."""

    epoch: int
    batch: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """All samples were seen once more; `loss` is the mean over them, `last` that of the last mini-batch."""

    epoch: int
    loss: float
    last: float


class NetworkUpdate:
    """One update of a network's trained layers.

    Args:
        model: an updatable model.
        parameters: those in force (`parameters.resolve`).
        threads: threads of one step; part of the result's identity.
        devices: where to compute, in onnxruntime's words, the most wanted first; in the end the CPU.  Another device rounds
            otherwise, so it is no part of the identity: nobody can promise its bytes.
        accelerated: False: on the CPU, until `accelerate` says otherwise.
        beyond_coreml: also train what Apple's validator refuses and the arithmetic allows; what is within Core ML's rules
            ends in the same bytes.
        loss_weights: those of several losses, by the loss's name or its target's; 1 where there is none.

    `position` is where the update stands after the event that `steps` yielded last.  `departures` says in words what of
    the update leaves Core ML; a model that is saved carries them.

    Raises:
        ModelError: the model cannot be updated; the message holds every reason.
        ParameterError: a weight is not allowed.
    """

    def __init__(  # noqa: PLR0913 - what an update depends on, by name
        self,
        model: Model,
        parameters: Mapping[str, Number],
        *,
        threads: int = 1,
        devices: Sequence[str] = (CPU,),
        accelerated: bool = True,
        beyond_coreml: bool = False,
        loss_weights: Mapping[str, object] | None = None,
    ) -> None:
        refuse(model, beyond_coreml=beyond_coreml)
        self.model = model
        self.departures = tuple(reason.message for reason in check.departures(model))
        self.parameters = dict(parameters)
        weights = weights_of(model, loss_weights or {})
        self.training: Training = compile_training(model, weights)
        self.position = Position()
        self._begun_with = {**parameters, **{f"weight of {name}": each for name, each in weights.items()}}
        self._threads = threads
        self._arena = Arena(self.training.parameters)
        trained_weights.load(self._arena, self.training.cut.region)
        kind = update_of(model).optimizer
        self._optimizer = optimizer.make(kind, self._arena.weights.size, self.parameters)
        self._sessions = Sessions(
            _programs(self.training), devices=devices, threads=threads, accelerated=accelerated
        )

    # ── what goes in ────────────────────────────────────────────────────────────────────────────
    @property
    def target(self) -> str:
        """The training input that holds the target; of several, the one that has labels, or else the first."""
        return target_name(self.model)

    @property
    def labels(self) -> tuple[str | int, ...]:
        """A classifier's labels."""
        return self.model.network.class_labels if self.model.network else ()

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of what enters the trained chain."""
        return self.training.feature_shape

    @property
    def frozen(self) -> bool:
        """Whether there is a frozen part to run."""
        return self.training.features is not None

    def features_of(self, inputs: Mapping[str, Array]) -> Array:
        """Run the frozen part on a batch of inputs; returns float32 [N, *feature_shape]."""
        checked = inputs_of(self.model, inputs, needed=self.inputs)
        if self.training.features is None:
            return checked[self.training.cut.blobs[0]]
        return self._sessions.run(FEATURES, checked)[FEATURES]

    def targets_of(self, data: Mapping[str, Any], folder: Path | None = None, *, first: int = 0) -> Rows:
        """Return the targets of all losses, out of arrays and lists by feature name."""
        return targets_for(self.training.goals, data, folder, first=first)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The model inputs that training needs."""
        features = self.training.features
        return self.training.cut.blobs if features is None else tuple(features.inputs)

    @property
    def learning_rate(self) -> float:
        """The one parameter that may change between two steps."""
        return self._optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.parameters["learningRate"] = rate
        self._optimizer.learning_rate = rate

    # ── where ───────────────────────────────────────────────────────────────────────────────────
    @property
    def device(self) -> str:
        """Where everything is computed."""
        return self._sessions.device

    def accelerate(self, *, accelerated: bool) -> None:
        """Compute on the most wanted device that there is from now on, or on the CPU; ask between two steps."""
        self._sessions.accelerate(accelerated=accelerated)

    def news(self) -> list[Move]:
        """Return, once, the moves since it was last asked, and why a wanted device is not used."""
        return self._sessions.news()

    @property
    def epochs(self) -> int:
        """How often all samples are seen."""
        return int(self.parameters["epochs"])

    def batches(self, samples: int) -> int:
        """Return the number of mini-batches in an epoch; a last partial one is used."""
        return ceil(samples / int(self.parameters["miniBatchSize"]))

    # ── the loop ────────────────────────────────────────────────────────────────────────────────
    def steps(self, data: Encoded, start: Position | None = None) -> Generator[MiniBatch | Epoch, None, None]:
        """Train from `start` on; yield after every mini-batch and after every epoch, and keep `position` up to it.

        Raises:
            SampleError: there is nothing to train on.
            CheckpointError: there is no such position with these samples and parameters.
            DivergenceError: a loss or a weight became infinite or NaN (while it runs).
        """
        if not len(data):
            raise SampleError("there is no sample to train on")
        position = start or Position()
        self._check_position(position, len(data))
        return self._run(data, position)

    def _check_position(self, position: Position, samples: int) -> None:
        epochs, batches = self.epochs, self.batches(samples)
        epoch, batch, step = position.epoch, position.batch, position.step
        inside = epoch < epochs and batch <= batches
        if not (inside or (epoch, batch) == (epochs, 0)) or step != epoch * batches + batch:
            raise CheckpointError(
                f"there is no epoch {epoch}, mini-batch {batch}, step {step} in {epochs} epochs of {batches} mini-batches"
            )

    def _run(self, data: Encoded, start: Position) -> Generator[MiniBatch | Epoch, None, None]:
        size, shape = int(self.parameters["miniBatchSize"]), self.training.target_shape
        buffers = Buffers(data, size=size, target_shape=shape, bind=self._bind)
        self.position = start
        while self.position.epoch < self.epochs:
            yield from self._mini_batches(data, buffers)
            self._check_weights()
            done = self.position
            self.position = Position(epoch=done.epoch + 1, step=done.step)
            yield Epoch(epoch=done.epoch, loss=done.total / len(data), last=done.last)

    def _mini_batches(self, data: Encoded, buffers: Buffers) -> Iterator[MiniBatch]:
        """Do what is left of the epoch in which the position lies."""
        epoch = self.position.epoch
        order = self._order(epoch, len(data))
        for batch in range(self.position.batch, self.batches(len(data))):
            rows = order[batch * buffers.size : (batch + 1) * buffers.size]
            loss = buffers.run(rows)
            if not np.isfinite(loss):
                raise self._blamed(
                    buffers, len(rows), f"the loss became {loss} in epoch {epoch}, mini-batch {batch}"
                )
            self._optimizer.step(self._arena.weights, self._arena.gradient)
            before = self.position
            self.position = Position(
                epoch=epoch,
                batch=batch + 1,
                step=before.step + 1,
                total=before.total + loss * len(rows),
                last=loss,
            )
            yield MiniBatch(epoch=epoch, batch=batch, loss=loss)

    def _blamed(self, buffers: Buffers, count: int, what: str) -> FinetunedError:
        """Say whose fault a loss is that is no number; of what is in a sample nothing is told."""
        if buffers.are_finite(count):
            return DivergenceError(f"{what}: try a learningRate below {self.learning_rate:g}")
        return SampleError(
            f"{what}: the frozen layers make numbers that are infinite or NaN of a sample; they take what they were made "
            "for, an embedding the whole numbers from 0 to its last"
        )

    def _order(self, epoch: int, samples: int) -> Array:
        """The permutation of an epoch: a function of seed and epoch alone, so a position can be gone back to."""
        if not self.parameters["shuffle"]:
            return np.arange(samples)
        seed = int(self.parameters["seed"]) % 2**64
        return np.random.default_rng([seed, epoch]).permutation(samples)

    def _bind(self, feeds: dict[str, Array], loss: Array) -> Binding:
        """Bind a step to its feeds, the weights and the gradients."""
        results = {LOSS: loss} | {f"{GRADIENT}{name}": array for name, array in self._arena.gradients.items()}
        return self._sessions.bind(_STEP, {**feeds, **self._arena.arrays}, results)

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────
    def identity(self, data: Encoded) -> str:
        """Return a digest of all that the result of training on `data` depends on, but for adjusted learning rates."""
        return identity_of(self.model.data, data, self._begun_with, threads=self._threads)

    def snapshot(self) -> Snapshot:
        """Return copies of all that the next step depends on; ask between two steps."""
        return Snapshot(
            position=self.position,
            learning_rate=self.learning_rate,
            arrays={name: array.copy() for name, array in self._kept().items()},
            seed=int(self.parameters["seed"]),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, whole or not at all; `steps(data, snapshot.position)` goes on from there.

        Raises:
            CheckpointError: it does not fit the model, its optimizer or its seed.
        """
        seed = int(self.parameters["seed"])
        if snapshot.seed != seed:
            raise CheckpointError(f"it has the seed {snapshot.seed}, and this task {seed}")
        kept, arrays = self._kept(), snapshot.arrays
        wanted, found = ({name: array.size for name, array in each.items()} for each in (kept, arrays))
        if found != wanted:
            raise CheckpointError(
                f"it holds {_sizes(found)}; the model and its optimizer have {_sizes(wanted)}"
            )
        self._optimizer.load({n.removeprefix(OPTIMIZER): a for n, a in arrays.items() if n != WEIGHTS})
        # Into the memory that is bound to the graph.
        self._arena.weights[...] = arrays[WEIGHTS]
        self.learning_rate = snapshot.learning_rate
        self.position = snapshot.position

    def _kept(self) -> dict[str, Array]:
        """The arrays of a snapshot, as views."""
        state = {f"{OPTIMIZER}{name}": array for name, array in self._optimizer.state().items()}
        return {WEIGHTS: self._arena.weights, **state}

    # ── what comes out ──────────────────────────────────────────────────────────────────────────
    def predict(self, features: Array, targets: Array) -> tuple[Array, Array]:
        """Return the predictions (of several losses: packed) and the loss of each sample, with the weights of this moment."""
        rows = one_hot(targets, self.training.target_shape)
        feeds = {FEATURES: features, losses.TARGET: rows, **self._arena.arrays}
        result = self._sessions.run(_HEAD, {name: feeds[name] for name in self.training.head.inputs})
        return result[PREDICTION], result[LOSSES]

    def measure(self, data: Encoded) -> Measure:
        """Return how good the model is on these samples, with the weights of this moment."""
        if not len(data):
            raise SampleError("there is no sample to measure on")
        tally = Tally(goals=self.training.goals)
        for part in slices(len(data), row_bytes(data.features), most=_MEASURED_AT_ONCE):
            targets = one_hot(data.targets[part], self.training.target_shape)
            tally.add(*self.predict(data.features[part], targets), targets)
        return tally.measure()

    def weights(self) -> dict[str, codec.LayerWeights]:
        """Return copies of the trained weights by layer."""
        return trained_weights.copied(self._arena, self.training.cut.trained)

    def encode(self, whole: Model | None = None) -> bytes:
        """Return the model file with the weights of this moment patched in, and a warning where it leaves Core ML.

        Every other byte stays.  `whole` is the pipeline that ends in this model, if it is in one.
        """
        self._check_weights()
        data = codec.encode(whole or self.model, self.weights())
        return metadata.annotated(data, warning(self.departures)) if self.departures else data

    def _check_weights(self) -> None:
        """The step after the last loss may be the one that leaves the numbers."""
        if not np.isfinite(self._arena.weights).all():
            raise DivergenceError(
                "a weight became infinite or NaN; nothing is saved: try a smaller learningRate"
            )


def _programs(training: Training) -> dict[str, Program]:
    front = {FEATURES: training.features} if training.features else {}
    return {**front, _HEAD: training.head, _STEP: training.step}


def _sizes(sizes: Mapping[str, int]) -> str:
    """Name arrays as messages do; a stranger's file may name many."""
    named = [f"{name!a} ({size})" for name, size in sizes.items()]
    return ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "") or "nothing"
