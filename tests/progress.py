"""Builders of progress: what an attempt of task T tells, each at the time of its step."""

from __future__ import annotations

from finetuned.service.events import EpochEnd, MiniBatchEnd, TrainingBegin
from ledgers import NODE, at


def a_begin(attempt: int) -> TrainingBegin:
    return TrainingBegin(
        ts=at(0),
        node=NODE,
        task="T",
        attempt=attempt,
        step=0,
        parameters={},
        samples={},
        device="cpu",
        epochs=1,
        batches=1,
    )


def a_batch(step: int) -> MiniBatchEnd:
    return MiniBatchEnd(ts=at(step), node=NODE, model="gestures", task="T", attempt=1, step=step, metrics={})


def an_epoch(step: int) -> EpochEnd:
    return EpochEnd(
        ts=at(step), node=NODE, task="T", attempt=1, step=step, metrics={}, last_mini_batch_loss=0.5
    )
