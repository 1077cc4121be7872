"""What an update task tells while it runs, in Apple's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetuned.parameters import Number
    from finetuned.update.task import UpdateTask
    from finetuned.update.updated_model import UpdatedModel


class ProgressEvent(IntFlag):
    """Apple's `MLUpdateProgressEvent`: an option set."""

    trainingBegin = 1
    epochEnd = 2
    miniBatchEnd = 4


EVERY_EVENT = ProgressEvent.trainingBegin | ProgressEvent.epochEnd | ProgressEvent.miniBatchEnd


class MetricKey(StrEnum):
    """Apple's `MLMetricKey`, and below the line what Core ML keeps to itself.

    At epochEnd `lossValue` is the mean over the epoch's samples, `lastMiniBatchLoss` that of its last mini-batch: which of
    the two Apple reports is undocumented.  Indices count from 0; the mini-batch index restarts with each epoch.
    """

    lossValue = "lossValue"
    epochIndex = "epochIndex"
    miniBatchIndex = "miniBatchIndex"
    # ours
    lastMiniBatchLoss = "lastMiniBatchLoss"
    validationLoss = "validationLoss"
    validationAccuracy = "validationAccuracy"
    validationMeanAbsoluteError = "validationMeanAbsoluteError"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateContext:
    """Apple's `MLUpdateContext`: what a handler gets, and what an `async for` over a task yields.

    `event` is None at completion.  `parameters` are those that the event's mini-batch was done with.  `model` is the model
    as updated so far, live: predict with it or write it before the next step changes it.
    """

    task: UpdateTask
    model: UpdatedModel
    event: ProgressEvent | None
    metrics: Mapping[MetricKey, float | int] = field(default_factory=dict)
    parameters: Mapping[str, Number] = field(default_factory=dict)


Handler = Callable[[UpdateContext], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressHandlers:
    """Apple's `MLUpdateProgressHandlers`: which events to hear of, and who hears of them and of the end."""

    for_events: ProgressEvent = ProgressEvent.trainingBegin | ProgressEvent.epochEnd
    progress: Handler | None = None
    completion: Handler | None = None
