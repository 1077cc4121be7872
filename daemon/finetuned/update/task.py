"""`UpdateTask`: Apple's way of doing an update, for scripts, without a daemon.

Theory of operation.  A task is a generator of contexts, one for each event, and somebody who drives it from one to the
next: `resume()` in the calling thread, or an `async for`, which lets each step run in a thread.  Between two steps the
handlers are called and a context is in its consumer's hands; then nothing runs, and whatever they ask for takes effect
at once.  A task that nobody drives is suspended or has ended.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from finetuned.errors import FinetunedError, ParameterError, SampleError, StateError
from finetuned.spec import codec
from finetuned.states import TERMINAL, TaskState, Verb, follow
from finetuned.update import checkpoint
from finetuned.update.events import EVERY_EVENT, MetricKey, ProgressEvent, ProgressHandlers, UpdateContext
from finetuned.update.features import encoded
from finetuned.update.growth import Policy, growth_of
from finetuned.update.network import Epoch, MiniBatch
from finetuned.update.parameters import adjusted, learnt_of
from finetuned.update.stream import Stream, in_thread
from finetuned.update.updated_model import UpdatedModel
from finetuned.update.updating import updater

if TYPE_CHECKING:
    from finetuned.parameters import Number
    from finetuned.spec.model import Model
    from finetuned.update.measuring import Measure

Data = Mapping[str, Any]
Metrics = dict[MetricKey, float | int]


class CancelledError(FinetunedError):
    """The task was cancelled."""

    fault = "request"


class UpdateTask:
    """Apple's `MLUpdateTask`, run by `resume()`, or by `async for context in task`.

    Nearest neighbours have no epochs: they tell of trainingBegin and of the end.

    Args:
        model: an updatable model of any kind, or the bytes of its file.
        training_data: arrays by feature name, first axis = samples; the target under the training input's name.
        parameters: by `ParameterKey`, within what the model allows.
        handlers: who hears of progress and of the end, and which events there are for an `async for` (else all).
        validation_data: measured at every epochEnd, never trained on.
        seed: used where neither the model nor `parameters` has one.
        threads: threads of one step, 1 or more; the result depends on it to the last bit.
        beyond_coreml: also train what Apple's validator refuses and the arithmetic allows (`finetuned check --beyond-coreml`).
        loss_weights: those of several losses, by the loss's name or its target's; 1 where there is none.
        max_samples: so many samples a nearest-neighbours model keeps at most; 0: all.
        when_full: which go first then: the "oldest", or ("balanced") the oldest of whichever label has most.
        duplicates: also store a sample that is stored already, with the same label.
        resume_from: what `checkpoint()` of a task with the same arguments returned: go on from there.

    Raises:
        ModelError, ParameterError, SampleError: the model, a parameter or the data cannot be used.
        CheckpointError: the checkpoint is damaged, or of another task.
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
        beyond_coreml: bool = False,
        loss_weights: Mapping[str, object] | None = None,
        max_samples: int = 0,
        when_full: Policy = "oldest",
        duplicates: bool = False,
        resume_from: bytes | None = None,
    ) -> None:
        _check_threads(threads)
        decoded = codec.decode(model) if isinstance(model, bytes) else model
        self.task_identifier = str(uuid.uuid4())
        self.state = TaskState.suspended
        self.error: FinetunedError | None = None
        self.handlers = handlers or ProgressHandlers()
        self._update = updater(
            decoded,
            parameters or {},
            seed=seed,
            threads=threads,
            beyond_coreml=beyond_coreml,
            loss_weights=loss_weights,
            growth=growth_of(max_samples, when_full, duplicates=duplicates),
        )
        self.model = UpdatedModel(self._update)
        self._training = encoded(self._update, training_data)
        self._validation = encoded(self._update, validation_data) if validation_data is not None else None
        if not len(self._training):
            raise SampleError("there is no sample to train on")
        if resume_from is not None:
            self._update.restore(checkpoint.decode(resume_from, self._identity))
        self._streamed = handlers.for_events if handlers is not None else EVERY_EVENT
        self._asked: dict[str, Number] = {}
        self._metrics: Metrics = {}
        self._busy = self._in_flight = False
        self._stream: object = None
        self._ahead: UpdateContext | Exception | None = None
        self._contexts = self._run(self._update.steps(self._training, self._update.position))

    @property
    def parameters(self) -> dict[str, Number]:
        """The parameters in force from the next mini-batch on."""
        return {**self._update.parameters, **self._asked}

    # ── the verbs ───────────────────────────────────────────────────────────────────────────────
    def resume(self) -> None:
        """Start or go on, in this thread, up to the end or until a handler suspends or cancels the task.

        From a handler, or while somebody iterates over the task, it says no more than "go on".

        Raises:
            StateError: the task has ended.
            FinetunedError: the task failed or was cancelled, and there is no completion handler to tell.
        """
        self.resume_with_parameters({})

    def resume_with_parameters(self, parameters: Mapping[str, object]) -> None:
        """Do as `resume`, with another learningRate from the next mini-batch on: Apple's `resume(withParameters:)`.

        Raises:
            ParameterError: another parameter than learningRate, or one out of its range; nothing has changed.
            StateError, FinetunedError: as `resume`.
        """
        changed = adjusted(learnt_of(self._update.model), parameters)
        if self.state is not TaskState.running:
            self.state = follow(self.state, Verb.resume)
        self._asked |= changed
        if not self._busy and self._stream is None:
            self._drive()

    def suspend(self) -> None:
        """Hold after the mini-batch in flight; `resume` or another `async for` goes on."""
        self.state = follow(self.state, Verb.suspend)

    def cancel(self) -> None:
        """End after the mini-batch in flight, with the error `cancelled`; nothing is kept."""
        self.state = follow(self.state, Verb.cancel)
        if not self._busy:
            self._end(CancelledError("cancelled"))

    def checkpoint(self) -> bytes:
        """Return what `resume_from` takes: all that the task needs to go on after the last event, elsewhere or later.

        The last event may be one that nobody heard, since its consumer was cancelled: this task still tells it, one that
        goes on from the checkpoint does not; the bytes in the end are the same.

        Raises:
            StateError: the task has ended, or failed in a mini-batch whose consumer was cancelled, or a mini-batch is in
                flight: ask from a handler, with a context in hand, or while the task is suspended.
        """
        if self.state in TERMINAL:
            raise StateError(f"a task that is {self.state} has no checkpoint: it has ended")
        if self._in_flight:
            raise StateError("a mini-batch is in flight: a checkpoint can be had between two of them")
        if isinstance(self._ahead, Exception):
            raise StateError(f"there is no checkpoint after a failure: {self._ahead}") from self._ahead
        self._adjust()
        return checkpoint.encode(self._update.snapshot(), self._identity)

    @cached_property
    def _identity(self) -> str:
        return self._update.identity(self._training)

    # ── who drives ──────────────────────────────────────────────────────────────────────────────
    def _drive(self) -> None:
        with self._at_work():
            while self.state is TaskState.running:
                self._adjust()
                self._step()
                self._hand_out()
        if self.error is not None and self.handlers.completion is None:
            raise self.error

    def __aiter__(self) -> Stream[UpdateContext]:
        """Run the task, each step in a thread of its own, and return the contexts of its events.

        The iteration ends with the task, and raises the task's error if it failed.  It also ends after `suspend()`; and to
        leave it is to suspend the task, and so is `aclose()`, for who keeps the iterator (`contextlib.aclosing`).

        Raises:
            StateError: the task has ended, or somebody drives it already.
        """
        running = follow(self.state, Verb.resume)
        if self._stream is not None:
            raise StateError("somebody iterates over this task already")
        self.state, self._stream = running, (stream := object())
        return Stream(partial(self._next, stream), partial(self._let_go, stream))

    async def _next(self, stream: object) -> UpdateContext | None:
        if self._busy:
            raise StateError("a mini-batch is in flight: somebody else waits for its context")
        while self._stream is stream and self.state is TaskState.running:
            context = None
            with self._at_work():
                await self._step_aside()
                context = self._hand_out()
            if context is not None and _is_of(context, self._streamed) and self.state not in TERMINAL:
                return context
        self._let_go(stream)
        if self.error is not None:
            raise self.error
        return None

    async def _step_aside(self) -> None:
        self._adjust()
        self._in_flight = True
        try:
            await in_thread(self._step)
        finally:
            self._in_flight = False

    def _let_go(self, stream: object) -> None:
        """Nobody iterates any more; a stream that ended before has no say."""
        if self._stream is stream:
            self._stream = None
            if self.state is TaskState.running:
                self.suspend()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Hold off whoever asks for something until the next boundary; what is raised ends the task."""
        self._busy = True
        try:
            yield
        except FinetunedError as error:
            if self.state in TERMINAL:  # it is a completion handler's
                raise
            self._end(error)
        except (asyncio.CancelledError, GeneratorExit):
            # Not the task is cancelled, but who iterates over it: it goes on whenever somebody wants it to.
            self._let_go(self._stream)
            raise
        except BaseException as error:
            # A handler's own mistake, or Ctrl-C: the run cannot go on, and the exception is its maker's.
            if self.state not in TERMINAL:
                self._end(FinetunedError(f"the run was broken off by {error!r}"))
            raise
        finally:
            self._busy = False
            if self.state is TaskState.cancelling:
                self._end(CancelledError("cancelled"))

    # ── from boundary to boundary ───────────────────────────────────────────────────────────────
    def _step(self) -> None:
        """Work up to the next event, wherever this runs; what comes of it is kept until it is handed out."""
        if self._ahead is not None:  # whoever waited for it was cancelled
            return
        try:
            self._ahead = next(self._contexts, None)
        except Exception as error:  # noqa: BLE001 - raised when it is handed out
            self._ahead = error

    def _hand_out(self) -> UpdateContext | None:
        """Tell the progress handler of the event and return its context; None: the end, or there is nothing to tell."""
        if self.state is TaskState.cancelling:
            return None
        context, self._ahead = self._ahead, None
        if isinstance(context, Exception):
            raise context
        if context is None:
            if self.state is TaskState.running:  # else whoever goes on comes to this end again
                self._end(None)
        elif self.handlers.progress is not None and _is_of(context, self.handlers.for_events):
            self.handlers.progress(context)
        return context

    def _adjust(self) -> None:
        if "learningRate" in self._asked:
            self._update.learning_rate = float(self._asked.pop("learningRate"))

    def _end(self, error: FinetunedError | None) -> None:
        self.state = follow(self.state, Verb.fail if error else Verb.complete)
        self.error = error
        self._contexts.close()
        last = {key: self._metrics[key] for key in (MetricKey.lossValue,) if key in self._metrics}
        if self.handlers.completion is not None:
            self.handlers.completion(self._context(None, last))

    def _run(self, steps: Iterator[MiniBatch | Epoch]) -> Generator[UpdateContext, None, None]:
        yield self._context(ProgressEvent.trainingBegin, {})
        for step in steps:
            event, self._metrics = self._told(step)
            yield self._context(event, self._metrics)

    def _context(self, event: ProgressEvent | None, metrics: Metrics) -> UpdateContext:
        return UpdateContext(
            task=self,
            model=self.model,
            event=event,
            metrics=metrics,
            parameters=dict(self._update.parameters),
        )

    def _told(self, step: MiniBatch | Epoch) -> tuple[ProgressEvent, Metrics]:
        if isinstance(step, MiniBatch):
            metrics: Metrics = {
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


def _check_threads(threads: object) -> None:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ParameterError(f"threads is {threads!r}; allowed: a whole number, 1 or more")


def _is_of(context: UpdateContext, events: ProgressEvent) -> bool:
    return context.event is not None and bool(context.event & events)


def _validation_metrics(measure: Measure) -> Metrics:
    found = {
        MetricKey.validationLoss: measure.loss,
        MetricKey.validationAccuracy: measure.accuracy,
        MetricKey.validationMeanAbsoluteError: measure.error,
    }
    return {key: value for key, value in found.items() if value is not None}
