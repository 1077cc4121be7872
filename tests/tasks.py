"""A small update task for tests, and who listens to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import builders
import networks as n
from finetuned.errors import StateError
from finetuned.states import Verb
from finetuned.update.events import ProgressEvent, ProgressHandlers, UpdateContext
from finetuned.update.task import UpdateTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.update.events import Handler

BEGIN, BATCH, EPOCH = ProgressEvent.trainingBegin, ProgressEvent.miniBatchEnd, ProgressEvent.epochEnd
ALL = BEGIN | BATCH | EPOCH
SAMPLES = 10

MODEL = builders.dense_classifier()
FEATURES = n.numbers(SAMPLES, 4)
DATA = {"features": FEATURES, "label": ["abc"[i % 3] for i in range(SAMPLES)]}
SHORT = {"epochs": 2, "miniBatchSize": 4}
TOLD: list[ProgressEvent | None] = [BEGIN, *([BATCH] * 3 + [EPOCH]) * 2]

VERBS: dict[Verb, Callable[[UpdateTask], None]] = {
    Verb.resume: UpdateTask.resume,
    Verb.suspend: UpdateTask.suspend,
    Verb.cancel: UpdateTask.cancel,
}


class Listener:
    """Hears of everything; `react` is called at every progress event."""

    def __init__(self, react: Handler | None = None, *, events: ProgressEvent = ALL) -> None:
        self.heard: list[UpdateContext] = []
        self.ended: list[UpdateContext] = []
        self._react = react
        self.handlers = ProgressHandlers(
            for_events=events, progress=self._progress, completion=self.ended.append
        )

    def _progress(self, context: UpdateContext) -> None:
        self.heard.append(context)
        if self._react is not None:
            self._react(context)

    @property
    def events(self) -> list[ProgressEvent | None]:
        """What was heard, in order."""
        return [context.event for context in self.heard]


def made(listener: Listener | None = None, **options: Any) -> UpdateTask:  # noqa: ANN401 - UpdateTask's own
    """Return a task of 2 epochs of 3 mini-batches."""
    handlers = {"handlers": listener.handlers} if listener else {}
    return UpdateTask(MODEL, DATA, **{"parameters": SHORT, **handlers, **options})


def undisturbed() -> bytes:
    """Return the model that such a task ends with."""
    task = made()
    task.resume()
    return task.model.encode()


def attempt(task: UpdateTask, verb: Verb | None) -> None:
    """Try a verb; where the state does not allow it, the state stays."""
    before = task.state
    try:
        if verb is not None:
            VERBS[verb](task)
    except StateError:
        assert task.state is before
