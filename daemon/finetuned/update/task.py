"""`UpdateTask`: Apple's way of doing an update, for scripts, without a daemon.

A task is born suspended; `resume()` runs it in the calling thread, up to its end or until a handler suspends or cancels
it.  Handlers are called between two mini-batches, so whatever they do takes effect at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.errors import FinetunedError, SampleError
from finetuned.spec import codec
from finetuned.states import TaskState, Verb, follow
from finetuned.update.events import MetricKey, ProgressEvent, ProgressHandlers, UpdateContext
from finetuned.update.features import Array, Encoded, inputs_of, target_name, targets_of
from finetuned.update.network import Epoch, Measure, MiniBatch, NetworkUpdate
from finetuned.update.parameters import adjusted, resolve, update_of
from finetuned.update.predictor import Predictor

if TYPE_CHECKING:
    from finetuned.parameters import Number
    from finetuned.spec.model import Model

Data = Mapping[str, Any]

_PREPARED_AT_ONCE = 32


class CancelledError(FinetunedError):
    """The task was cancelled."""

    fault = "request"


class UpdatedModel:
    """The model as updated so far: `encode` gives the bytes of a `.mlmodel`, `predict` runs it."""

    def __init__(self, update: NetworkUpdate) -> None:
        self._update = update

    def encode(self) -> bytes:
        """Return a Core ML model with the weights of this moment."""
        return self._update.encode()

    def predict(self, inputs: Data) -> dict[str, Array]:
        """Return the outputs for `inputs`, float32 [N, …] by name."""
        return Predictor(codec.decode(self.encode())).outputs(inputs)

    def evaluate(self, data: Data) -> Measure:
        """Return loss and accuracy (or mean absolute error) on labelled data."""
        return self._update.measure(encoded(self._update, data))


class UpdateTask:
    """Apple's `MLUpdateTask`.

    Args:
        model: an updatable model, or the bytes of its file.
        training_data: arrays by feature name, first axis = samples; the target under the training input's name.
        parameters: by `ParameterKey`, within what the model allows.
        handlers: who hears of progress and of the end.
        validation_data: measured at every epochEnd, never trained on.
        seed: used where neither the model nor `parameters` has one.
        threads: threads of one step; the result depends on it to the last bit.

    Raises:
        ModelError, ParameterError, SampleError: the model, a parameter or the data cannot be used.
    """

    def __init__(  # noqa: PLR0913 - Apple's initializer has these, by name
        self,
        model: Model | bytes,
        training_data: Data,
        *,
        parameters: Mapping[str, object] | None = None,
        handlers: ProgressHandlers | None = None,
        validation_data: Data | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        decoded = codec.decode(model) if isinstance(model, bytes) else model
        in_force = resolve(update_of(decoded), parameters or {}, seed=seed)
        self.task_identifier = str(uuid.uuid4())
        self.state = TaskState.suspended
        self.error: FinetunedError | None = None
        self.handlers = handlers or ProgressHandlers()
        self._update = NetworkUpdate(decoded, in_force, threads=threads)
        self.model = UpdatedModel(self._update)
        self._training = encoded(self._update, training_data)
        self._validation = encoded(self._update, validation_data) if validation_data is not None else None
        if not len(self._training):
            raise SampleError("there is no sample to train on")
        self._metrics: dict[MetricKey, float | int] = {}
        self._events = self._run()

    @property
    def parameters(self) -> dict[str, Number]:
        """The parameters in force."""
        return dict(self._update.parameters)

    def resume(self, with_parameters: Mapping[str, object] | None = None) -> None:
        """Start or go on, with a new learningRate if one is given; within a handler only the parameters are taken.

        Raises:
            StateError: the task has ended.
            ParameterError: another parameter than learningRate, or one out of its range.
            FinetunedError: the task failed or was cancelled, and there is no completion handler to tell.
        """
        changed = adjusted(update_of(self._update.model), with_parameters or {})
        if self.state is not TaskState.running:
            self.state = follow(self.state, Verb.resume)
        if "learningRate" in changed:
            self._update.learning_rate = float(changed["learningRate"])
        if not self._events.gi_running:
            self._drive()

    def suspend(self) -> None:
        """Hold after the mini-batch in flight; `resume` goes on."""
        self.state = follow(self.state, Verb.suspend)

    def cancel(self) -> None:
        """End after the mini-batch in flight, with the error `cancelled`; nothing is kept."""
        self.state = follow(self.state, Verb.cancel)
        if not self._events.gi_running:
            self._ended(CancelledError("cancelled"))

    # ── the run ─────────────────────────────────────────────────────────────────────────────────
    def _drive(self) -> None:
        try:
            for _ in self._events:
                if self.state is not TaskState.running:
                    break
        except FinetunedError as error:
            self._end(error)
            return
        except BaseException as error:
            # A handler's own mistake, or Ctrl-C: the run cannot go on, and the exception is its maker's.
            self._ended(FinetunedError(f"the run was broken off by {error!r}"))
            raise
        if self.state is TaskState.cancelling:
            self._end(CancelledError("cancelled"))
        elif self.state is TaskState.running:
            self._end(None)

    def _end(self, error: FinetunedError | None) -> None:
        self._ended(error)
        if error is not None and self.handlers.completion is None:
            raise error

    def _ended(self, error: FinetunedError | None) -> None:
        self.state = follow(self.state, Verb.fail if error else Verb.complete)
        self.error = error
        self._events.close()
        last = {key: self._metrics[key] for key in (MetricKey.lossValue,) if key in self._metrics}
        if self.handlers.completion is not None:
            self.handlers.completion(self._context(None, last))

    def _run(self) -> Any:  # noqa: ANN401 - a generator whose gi_running is used
        """Yield after each event was told; the handlers run inside."""
        yield from self._tell(ProgressEvent.trainingBegin, {})
        for step in self._update.steps(self._training):
            event, metrics = self._told(step)
            self._metrics = metrics
            yield from self._tell(event, metrics)

    def _tell(self, event: ProgressEvent, metrics: dict[MetricKey, float | int]) -> Iterator[None]:
        if self.handlers.progress is not None and event & self.handlers.for_events:
            self.handlers.progress(self._context(event, metrics))
        yield

    def _context(self, event: ProgressEvent | None, metrics: dict[MetricKey, float | int]) -> UpdateContext:
        return UpdateContext(
            task=self, model=self.model, event=event, metrics=metrics, parameters=self.parameters
        )

    def _told(self, step: MiniBatch | Epoch) -> tuple[ProgressEvent, dict[MetricKey, float | int]]:
        if isinstance(step, MiniBatch):
            metrics = {
                MetricKey.miniBatchIndex: step.batch,
                MetricKey.epochIndex: step.epoch,
                MetricKey.lossValue: step.loss,
            }
            return ProgressEvent.miniBatchEnd, metrics
        metrics = {
            MetricKey.epochIndex: step.epoch,
            MetricKey.lossValue: step.loss,
            MetricKey.lastMiniBatchLoss: step.last,
        }
        if self._validation is not None:
            metrics |= _validation_metrics(self._update.measure(self._validation))
        return ProgressEvent.epochEnd, metrics


def _validation_metrics(measure: Measure) -> dict[MetricKey, float | int]:
    found = {
        MetricKey.validationLoss: measure.loss,
        MetricKey.validationAccuracy: measure.accuracy,
        MetricKey.validationMeanAbsoluteError: measure.error,
    }
    return {key: value for key, value in found.items() if value is not None}


def encoded(update: NetworkUpdate, data: Data) -> Encoded:
    """Run the frozen part over labelled data, once per sample, in batches, and encode the targets.

    Raises:
        SampleError: the data do not fit the model; the message says what is expected.
    """
    name = target_name(update.model)
    if name not in data:
        raise SampleError(
            f"the target {name!r} is missing; there is {', '.join(map(repr, data)) or 'nothing'}"
        )
    targets = targets_of(update.model, data[name], update.training.target_shape)
    inputs = inputs_of(update.model, data, needed=update.inputs)
    count = len(targets)
    if any(len(array) != count for array in inputs.values()):
        counts = {feature: len(array) for feature, array in inputs.items()}
        raise SampleError(f"there are {count} targets, and these numbers of samples: {counts}")
    if not count:
        return Encoded(features=np.empty((0, *update.training.feature_shape), np.float32), targets=targets)
    parts = [
        update.features_of({n: a[start : start + _PREPARED_AT_ONCE] for n, a in inputs.items()})
        for start in range(0, count, _PREPARED_AT_ONCE)
    ]
    return Encoded(features=np.concatenate(parts), targets=targets)
