"""One attempt of a task, as a generator that yields at every boundary: what the worker process drives.

It knows nothing of pauses, paces and messages: to pause is not to call `next`, to cancel is to close it, and to release is
to ask for a `checkpoint` before.

Theory of operation.  The result is a function of the spec and of the adjustments that are written in it, to the last bit,
however often the task was interrupted and wherever:

* A checkpoint holds all that the rest of the training depends on, and is taken only by a task whose `identity` is the
  same: model, samples, parameters, threads, versions.
* The learning rate at a step is the last adjustment in the spec's order that holds by then, not what a checkpoint says.
* The device is the one thing that it knows of the pace, since a move is between two steps: another rounds otherwise, so
  a result is the same bytes while there is no move, and within float tolerance after one.
* Frozen features do not depend on which samples are computed together, or when (`frozen.py`).
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from finetuned import __version__, files
from finetuned.errors import HostError, ModelError, ParameterError
from finetuned.service import checkpoints, inputs
from finetuned.service.frozen import Frozen
from finetuned.service.messages import (
    Adjusted,
    Checkpointed,
    CheckpointRef,
    Completed,
    EpochEnd,
    Metrics,
    MiniBatchEnd,
    Moved,
    Report,
    Restored,
    SampleRef,
    TaskSpec,
    TrainingBegin,
    result_path,
)
from finetuned.spec import check, codec
from finetuned.update import checkpoint
from finetuned.update.devices import CPU
from finetuned.update.features import Encoded
from finetuned.update.growth import Growth
from finetuned.update.network import Epoch, MiniBatch
from finetuned.update.parameters import adjusted, update_of
from finetuned.update.session import VERSION
from finetuned.update.updating import updater

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from finetuned.parameters import Number
    from finetuned.update.checkpoint import Snapshot
    from finetuned.update.measuring import Measure
    from finetuned.update.updater import Updater


@dataclass(slots=True, kw_only=True)
class Rates:
    """The learning rates of a task: the one that it begins with, and the adjustments in the order in which they came."""

    first: float
    given: list[tuple[int | None, float]] = field(default_factory=list)

    def at(self, step: int) -> float:
        """Return the rate that holds once `step` mini-batches are done: the latest word of those that hold by then."""
        known = [rate for since, rate in self.given if since is not None and since <= step]
        return known[-1] if known else self.first

    def pin(self, step: int) -> list[float]:
        """Let those of which it was not known hold from `step` on, and return them."""
        waiting = [rate for since, rate in self.given if since is None]
        self.given = [(step if since is None else since, rate) for since, rate in self.given]
        return waiting


class Work:
    """One attempt of a task, as a generator of reports; None where there is nothing to say at a boundary.

    `resume_from` are checkpoints, the newest first: it goes on from the first that is sound, else from the start.
    """

    def __init__(self, spec: TaskSpec, attempt: int = 1, resume_from: Sequence[CheckpointRef] = ()) -> None:
        self.spec = spec
        self.attempt = attempt
        self.update: Updater | None = None
        self.step = 0
        self._resume_from = tuple(resume_from)
        self._rates = Rates(first=0.0, given=[(each.step, each.learning_rate) for each in spec.adjustments])
        self._begun = self._trains = False
        self._accelerated = True
        self._identity = ""
        self._keeper = checkpoints.Keeper(folder=Path(spec.folder), attempt=attempt)
        self._kept_step = 0
        self._trouble = ""

    # ── what it can be asked between two steps ──────────────────────────────────────────────────
    def adjust(self, parameters: Mapping[str, float]) -> Adjusted | None:
        """Change the learning rate from here on; None where "here" is not known yet, then `run` tells it.

        ParameterError where the model does not allow it.
        """
        if "learningRate" not in parameters:
            raise ParameterError("a running task takes a learningRate and nothing else")
        if self.update is not None:
            _check_rate(self.update, parameters["learningRate"])
        self._rates.given.append((None, float(parameters["learningRate"])))
        return self._pinned()[0] if self._begun else None

    def accelerate(self, *, accelerated: bool) -> list[Moved]:
        """Compute on the most wanted of the spec's devices from here on, or on the CPU; return what there is to say."""
        self._accelerated = accelerated
        if self.update is None:
            return []
        self.update.accelerate(accelerated=accelerated)
        return self._moves(self.update)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU computes, and no accelerator."""
        return self.update is None or self.update.device == CPU

    def _moves(self, update: Updater) -> list[Moved]:
        return [Moved(device=move.device, why=move.why, step=self.step) for move in update.news()]

    def checkpoint(self) -> Checkpointed | None:
        """Write a checkpoint of this very moment; None where there is nothing new to be kept.

        One that cannot be written is told, the first time for each reason.
        """
        if self.update is None or not self._trains or self.step == self._kept_step:
            return None
        try:
            data = checkpoint.encode(self.update.snapshot(), self._identity)
            ref = self._keeper.write(self.step, data)
        except HostError as error:
            known, self._trouble = self._trouble, str(error)
            return Checkpointed(step=self.step, error=str(error)) if known != str(error) else None
        self._kept_step, self._trouble = self.step, ""
        return Checkpointed(step=self.step, checkpoint=ref)

    # ── the whole ───────────────────────────────────────────────────────────────────────────────
    def run(self) -> Generator[Report | None, None, None]:
        """Read, prepare, train, measure, save; yields at every boundary."""
        update = self._load()
        yield None
        yield from self._moves(update)
        snapshot = yield from self._restore(update)
        with inputs.opened(Path(self.spec.inputs_path)) as db:
            frozen = Frozen(db, update, self.spec)
            training = yield from self._encoded(frozen, update, held_out=False)
            validation = yield from self._encoded(frozen, update, held_out=True)
        judged = validation if len(validation) else training
        before = self._before(update, judged, held_out=len(validation) > 0)
        yield None
        yield from self._moves(update)
        if snapshot is not None:
            update.restore(snapshot)
        yield from self._train(update, training, validation, snapshot)
        after = update.measure(judged)
        yield from self._moves(update)
        yield self._save(update, before, after)

    def _load(self) -> Updater:
        spec = self.spec
        from_base = spec.base_path and (spec.base_path, spec.base_digest)
        self.update = self._updater(*(from_base or (spec.model_path, spec.model_digest)))
        for _, rate in self._rates.given:
            _check_rate(self.update, rate)
        self._rates.first = self.update.learning_rate or 0.0
        self._identity = identity(self.spec, self.update.parameters)
        return self.update

    def _updater(self, path: str, digest: str) -> Updater:
        data = Path(path).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise HostError(
                f"the model that the task begins with is not the file it was: its SHA-256 is {found}, the ledger says {digest}"
            )
        growth = self.spec.growth
        return updater(
            codec.decode(data),
            self.spec.parameters,
            seed=self.spec.seed,
            threads=self.spec.threads,
            devices=self.spec.devices,
            accelerated=self._accelerated,
            beyond_coreml=self.spec.beyond_coreml,
            growth=Growth(most=growth.most, policy=growth.when_full, duplicates=growth.duplicates),
        )

    def _before(self, update: Updater, judged: Encoded, *, held_out: bool) -> Measure:
        """Measure what is in use: what the task begins with, or else the version in whose place the new one comes."""
        if self.spec.model_digest == self.spec.base_digest or not self.spec.base_path:
            return update.measure(judged)
        used = self._updater(self.spec.model_path, self.spec.model_digest)
        targets = used.targets_of({used.target: self._labels(held_out=held_out)})
        return used.measure(Encoded(features=judged.features, targets=targets))

    def _labels(self, *, held_out: bool) -> list[str]:
        return [sample.label for sample in self.spec.samples if sample.held_out is held_out]

    def _restore(self, update: Updater) -> Generator[Report, None, Snapshot | None]:
        """Find out where this attempt begins; the weights stay the model's own until it is measured."""

        def decode(data: bytes) -> Snapshot:
            own, found = update.snapshot(), checkpoint.decode(data, self._identity)
            update.restore(found)  # raises where it does not fit
            update.restore(own)
            return found

        snapshot, refused = checkpoints.first_sound(Path(self.spec.folder), self._resume_from, decode)
        self.step = self._kept_step = snapshot.position.step if snapshot else 0
        pinned, self._begun = self._pinned(), True
        if self._resume_from:
            yield Restored(step=self.step, refused=refused)
        yield from pinned
        return snapshot

    def _pinned(self) -> list[Adjusted]:
        """Let what was asked for hold from here on."""
        rates = self._rates.pin(self.step)
        self._set_rate()
        return [Adjusted(learning_rate=rate, step=self.step) for rate in rates]

    def _set_rate(self) -> None:
        rate = self._rates.at(self.step)
        if self.update is not None and self.update.learning_rate not in {None, rate}:
            self.update.learning_rate = rate

    def _encoded(
        self, frozen: Frozen, update: Updater, *, held_out: bool
    ) -> Generator[Report | None, None, Encoded]:
        chosen = [sample for sample in self.spec.samples if sample.held_out is held_out]
        folder = result_path(self.spec, self.attempt).parent
        files.make_folder(folder)
        features = yield from frozen.of([sample.digest for sample in chosen], folder)
        yield from self._moves(update)
        targets = update.targets_of({update.target: self._labels(held_out=held_out)})
        return Encoded(features=features, targets=targets)

    # ── training ────────────────────────────────────────────────────────────────────────────────
    def _train(
        self, update: Updater, training: Encoded, validation: Encoded, snapshot: Snapshot | None
    ) -> Iterator[Report | None]:
        told = -float("inf")
        schedule = checkpoints.Schedule(every_s=self.spec.checkpoint_s, last_s=time.monotonic())
        self._trains = True
        self._set_rate()
        yield self._begin(update, training, validation)
        for event in update.steps(training, snapshot.position if snapshot else None):
            now = time.monotonic()
            if isinstance(event, Epoch):
                yield self._epoch(event, update, validation)
            else:
                moves = self._moves(update)  # where its device failed, this very step was made on another
                self.step = update.position.step
                self._set_rate()
                due = self.spec.report_interval_s >= 0 and now - told >= self.spec.report_interval_s
                told = now if due else told
                yield from moves
                yield _told(event, self.step) if due else None
            if schedule.due(now, epoch_ended=isinstance(event, Epoch)):
                yield from self._kept(schedule)
        self._trains = False

    def _kept(self, schedule: checkpoints.Schedule) -> Iterator[Report]:
        began = time.monotonic()
        report = self.checkpoint()
        schedule.written(began, time.monotonic())
        if report is not None:
            yield report

    def _begin(self, update: Updater, training: Encoded, validation: Encoded) -> TrainingBegin:
        return TrainingBegin(
            parameters=update.parameters,
            samples=_per_label(self.spec.samples),
            held_out=len(validation),
            device=update.device,
            epochs=update.epochs,
            batches=update.batches(len(training)),
            step=self.step,
        )

    def _epoch(self, event: Epoch, update: Updater, validation: Encoded) -> EpochEnd:
        return EpochEnd(
            epoch_index=event.epoch,
            loss_value=event.loss,
            last_mini_batch_loss=event.last,
            validation=metrics(update.measure(validation)) if len(validation) else None,
            step=self.step,
        )

    def _save(self, update: Updater, before: Measure, after: Measure) -> Completed:
        """Patch the weights in, read the result as a stranger would, and put it down for good."""
        data = update.encode()
        refused = check.reasons(codec.decode(data), beyond_coreml=self.spec.beyond_coreml)
        if refused:
            raise ModelError(f"the updated model does not pass its own check: {refused[0].message}")
        path = result_path(self.spec, self.attempt)
        files.make_folder(path.parent)
        files.write_atomically(path, data)
        return Completed(
            sha256=hashlib.sha256(data).hexdigest(),
            before=metrics(before),
            after=metrics(after),
            held_out=any(sample.held_out for sample in self.spec.samples),
        )


def _check_rate(update: Updater, rate: float) -> None:
    """Raise `ParameterError` where the model has no learning rate, or does not allow this one."""
    if update.learning_rate is None:
        raise ParameterError(
            "the model has no learningRate: it holds its samples, there is nothing to step along"
        )
    adjusted(update_of(update.model), {"learningRate": rate})


# ── what bytes depend on ────────────────────────────────────────────────────────────────────────
def identity(spec: TaskSpec, force: Mapping[str, Number]) -> str:
    """Return a digest over all that determines the result, but for adjustments: a checkpoint of another is foreign."""
    samples = [(sample.digest, sample.label, sample.held_out) for sample in spec.samples]
    versions = (__version__, np.__version__, VERSION)
    whole = [spec.model_digest, spec.input_signature, samples, dict(force), spec.threads, versions]
    return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()


# ── rows ────────────────────────────────────────────────────────────────────────────────────────
def _told(event: MiniBatch, step: int) -> MiniBatchEnd:
    return MiniBatchEnd(
        epoch_index=event.epoch, mini_batch_index=event.batch, loss_value=event.loss, step=step
    )


def metrics(measure: Measure) -> Metrics:
    """Return a measurement as it is told."""
    return Metrics(
        samples=measure.samples,
        loss_value=finite(measure.loss),
        accuracy=measure.accuracy,
        mean_absolute_error=finite(measure.error),
    )


def finite(number: float | None) -> float | None:
    """Return a number as JSON can tell it: None where it is infinite or NaN, or none."""
    return number if number is not None and math.isfinite(number) else None


def _per_label(samples: tuple[SampleRef, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.label] = counts.get(sample.label, 0) + 1
    return counts
