"""One attempt of a task, as a generator that yields at every boundary: what the worker process drives.

It knows nothing of pauses, paces and messages: to pause is not to call `next`, to cancel is to close it.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from finetuned import files
from finetuned.errors import ModelError
from finetuned.service import inputs
from finetuned.service.describe import sample_inputs
from finetuned.service.messages import (
    Completed,
    EpochEnd,
    InputSpec,
    Metrics,
    MiniBatchEnd,
    Prepared,
    Report,
    SampleRef,
    TaskSpec,
    TrainingBegin,
)
from finetuned.spec import check, codec
from finetuned.update.features import Encoded, targets_of
from finetuned.update.network import Epoch, Measure, MiniBatch, NetworkUpdate
from finetuned.update.parameters import adjusted, resolve, update_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from finetuned.spec.model import Model

PREPARED_AT_ONCE = 16


class Work:
    """One attempt of a task, as a generator of reports; None where there is nothing to say at a boundary."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.update: NetworkUpdate | None = None
        self._adjusted: dict[str, float] = {}
        self._want = InputSpec(name="", shape=())
        # What features depend on: the frozen part, which is the same in every version of a base, and the decoding.
        self._frozen = f"{spec.base_digest}:{spec.input_signature}"

    def adjust(self, parameters: dict[str, float]) -> None:
        """Change what may change while a task runs, from the next mini-batch on."""
        self._adjusted |= parameters
        if self.update is not None and self._adjusted:
            rate = adjusted(update_of(self.update.model), self._adjusted)["learningRate"]
            self.update.learning_rate = float(rate)

    def run(self) -> Generator[Report | None, None, None]:
        """Read, prepare, train, measure, save; yields at every boundary."""
        update = self._load()
        with inputs.opened(Path(self.spec.inputs_path)) as db:
            training = yield from self._prepare(db, update, held_out=False)
            validation = yield from self._prepare(db, update, held_out=True)
        judged = validation if len(validation) else training
        before = update.measure(judged)
        yield self._begin(update, training, validation)
        yield from self._train(update, training, validation)
        after = update.measure(judged)
        yield self._save(update, before, after)

    def _load(self) -> NetworkUpdate:
        data = Path(self.spec.model_path).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.spec.model_digest:
            raise ModelError(
                f"{self.spec.model_path} is not the file it was: its SHA-256 is {found}, the ledger says {self.spec.model_digest}"
            )
        model = codec.decode(data)
        force = resolve(update_of(model), self.spec.parameters, seed=self.spec.seed)
        self.update = NetworkUpdate(model, force, threads=self.spec.threads)
        self.adjust({})
        self._want = _one_input(model)
        return self.update

    # ── features ────────────────────────────────────────────────────────────────────────────────
    def _prepare(
        self, db: sqlite3.Connection, update: NetworkUpdate, *, held_out: bool
    ) -> Generator[Report, None, Encoded]:
        """Collect the frozen features of these samples, computing those that are not kept yet."""
        chosen = [sample for sample in self.spec.samples if sample.held_out is held_out]
        features = np.empty((len(chosen), *update.training.feature_shape), dtype=np.float32)
        for start in range(0, len(chosen), PREPARED_AT_ONCE):
            part = chosen[start : start + PREPARED_AT_ONCE]
            features[start : start + len(part)] = self._features(
                db, update, [sample.digest for sample in part]
            )
            yield Prepared(done=start + len(part), total=len(chosen))
        targets = targets_of(update.model, [sample.label for sample in chosen], update.training.target_shape)
        return Encoded(features=features, targets=targets)

    def _features(
        self, db: sqlite3.Connection, update: NetworkUpdate, digests: list[str]
    ) -> NDArray[np.float32]:
        """Return the features of these samples: those that are kept, and the others computed and kept."""
        kept = list(inputs.read_features(db, self._frozen, digests))
        missing = [digest for digest, row in zip(digests, kept, strict=True) if row is None]
        made = dict(zip(missing, self._compute(db, update, missing), strict=True)) if missing else {}
        if made:
            inputs.put_features(db, self._frozen, [(digest, row.tobytes()) for digest, row in made.items()])
        shape = update.training.feature_shape
        return np.stack(
            [
                made[d] if row is None else np.frombuffer(row, np.float32).reshape(shape)
                for d, row in zip(digests, kept, strict=True)
            ]
        )

    def _compute(
        self, db: sqlite3.Connection, update: NetworkUpdate, digests: list[str]
    ) -> NDArray[np.float32]:
        rows = [
            np.frombuffer(data, self._want.dtype).reshape(self._want.shape)
            for data in inputs.read_inputs(db, self.spec.input_signature, digests)
        ]
        return update.features_of({self._want.name: np.stack(rows)})

    # ── training ────────────────────────────────────────────────────────────────────────────────
    def _begin(self, update: NetworkUpdate, training: Encoded, validation: Encoded) -> TrainingBegin:
        return TrainingBegin(
            parameters=update.parameters,
            samples=_per_label(self.spec.samples),
            held_out=len(validation),
            device=update.device,
            epochs=int(update.parameters["epochs"]),
            batches=update.batches(len(training)),
        )

    def _train(
        self, update: NetworkUpdate, training: Encoded, validation: Encoded
    ) -> Iterator[Report | None]:
        step, told = 0, -float("inf")
        for event in update.steps(training):
            if isinstance(event, Epoch):
                measured = metrics(update.measure(validation)) if len(validation) else None
                yield EpochEnd(
                    epoch_index=event.epoch,
                    loss_value=event.loss,
                    last_mini_batch_loss=event.last,
                    validation=measured,
                    step=step,
                )
                continue
            step += 1
            now = time.monotonic()
            due = self.spec.report_interval_s >= 0 and now - told >= self.spec.report_interval_s
            told = now if due else told
            yield _told(event, step) if due else None

    def _save(self, update: NetworkUpdate, before: Measure, after: Measure) -> Completed:
        """Patch the weights in, read the result as a stranger would, and put it down for good."""
        data = update.encode()
        refused = check.reasons(codec.decode(data))
        if refused:
            raise ModelError(f"the updated model does not pass its own check: {refused[0].message}")
        files.write_atomically(Path(self.spec.result_path), data)
        return Completed(
            sha256=hashlib.sha256(data).hexdigest(),
            before=metrics(before),
            after=metrics(after),
            held_out=any(sample.held_out for sample in self.spec.samples),
        )


def _told(event: MiniBatch, step: int) -> MiniBatchEnd:
    return MiniBatchEnd(
        epoch_index=event.epoch, mini_batch_index=event.batch, loss_value=event.loss, step=step
    )


def metrics(measure: Measure) -> Metrics:
    """Return a measurement as it is told."""
    return Metrics(
        samples=measure.samples,
        loss_value=measure.loss,
        accuracy=measure.accuracy,
        mean_absolute_error=measure.error,
    )


def _one_input(model: Model) -> InputSpec:
    """Return the one input that files can fill; a model with several cannot be fed from a folder."""
    specs = sample_inputs(model)
    if len(specs) != 1:
        raise ModelError(
            f"the model has {len(specs)} inputs; a sample in a folder is one file, for a model with one"
        )
    return specs[0]


def _per_label(samples: tuple[SampleRef, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        counts[sample.label] = counts.get(sample.label, 0) + 1
    return counts
