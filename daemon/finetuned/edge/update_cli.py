"""`finetuned update`: one update task in the foreground, Apple's MLUpdateTask as a command.

With --json it writes the events of MQTT.md, a line each; the last one ends the task.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetuned import files
from finetuned.edge import console
from finetuned.edge.budgeted import guard
from finetuned.edge.model_cli import load, read_data
from finetuned.edge.pairs import pairs
from finetuned.edge.threads import threads_of
from finetuned.errors import FinetunedError, RequestError
from finetuned.service import events
from finetuned.service.asked import STANDSTILL
from finetuned.service.stamps import new_id, timestamp
from finetuned.service.training_data import target_of
from finetuned.service.work import metrics
from finetuned.update.features import encoded
from finetuned.update.network import Epoch, NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.policy.budget import Verdict
    from finetuned.service.dataset import Dataset
    from finetuned.service.messages import Metrics
    from finetuned.update.features import Encoded
    from finetuned.update.network import MiniBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done."""

    model: Path
    data: Path
    out: Path
    validate: Path | None
    threads: int


@dataclass(slots=True)
class Teller:
    """Says what happens: as events, or as a bar and sentences."""

    job: Job
    json: bool
    samples: dict[str, int]
    task: str = field(default_factory=lambda: new_id(int(time.time() * 1000), os.urandom(10)))
    step: int = 0
    bar: Any = None

    @property
    def about(self) -> dict[str, Any]:
        """The fields that every event has."""
        now = timestamp(time.time())
        return {"ts": now, "node": socket.gethostname(), "model": self.job.model.stem, "task": self.task}

    def event(self, kind: type[events.Event], **fields: Any) -> None:  # noqa: ANN401 - each event has its own
        """Write an event, for machines."""
        if not self.json:
            return
        if issubclass(kind, events.Progress):
            fields |= {"attempt": 1, "step": self.step}
        console.line(kind(**self.about, **fields))

    def sentence(self, words: str) -> None:
        """Print a sentence, for people."""
        if not self.json:
            console.person().print(words, soft_wrap=True)

    def budget(self, verdict: Verdict) -> None:
        """Tell that the budget holds the task, or lets it go on."""
        held = verdict.pace in STANDSTILL
        cause = verdict.causes[0] if verdict.causes else None
        kind = events.Paused if held else events.Resumed
        reading, trip = (cause.reading, cause.trip) if cause else (None, None)
        self.event(
            kind, pace=verdict.pace, duty=verdict.duty, reasons=verdict.reasons, reading=reading, trip=trip
        )
        why = f" ({', '.join(verdict.reasons)}: {reading})" if cause else ""
        self.sentence(f"[yellow]{'paused' if held else 'goes on'}[/]{why}")


def update(job: Job, parameters: list[str] | None, labels: list[str] | None, *, json: bool) -> int:
    """Train and save; return the exit status."""
    if not job.out.absolute().parent.is_dir():
        raise RequestError(f"{job.out} cannot be written: there is no folder {job.out.parent}")
    model = load(job.model)
    asked = pairs(parameters, "-p")
    mapping = pairs(labels, "--label")
    in_force = resolve(update_of(model), asked, seed=secrets.randbits(32))
    task = NetworkUpdate(model, in_force, threads=threads_of(job.threads))
    data = read_data(job.data, model, mapping, json=json)
    training = _encoded(task, data)
    validation = _encoded(task, read_data(job.validate, model, mapping, json=json)) if job.validate else None
    teller = Teller(job=job, json=json, samples=_per_label(data))
    try:
        return _train(task, training, validation, teller)
    except FinetunedError as error:
        teller.event(events.TaskFailed, fault=error.fault, error=str(error))
        if json:
            return console.NO
        raise
    except KeyboardInterrupt:
        teller.event(events.TaskCancelled)
        teller.sentence("[yellow]cancelled[/]; nothing was saved")
        return console.INTERRUPTED


def _encoded(task: NetworkUpdate, data: Dataset) -> Encoded:
    return encoded(task, {**data.inputs, target_of(task.model): data.targets})


def _per_label(data: Dataset) -> dict[str, int]:
    """Count a classifier's samples by label; a regressor's have none."""
    return dict(Counter(map(str, data.targets))) if isinstance(data.targets, list) else {}


def _train(task: NetworkUpdate, training: Encoded, validation: Encoded | None, teller: Teller) -> int:
    began = time.monotonic()
    judged = validation if validation is not None else training
    before = metrics(task.measure(judged))
    epochs, batches = int(task.parameters["epochs"]), task.batches(len(training))
    teller.event(
        events.TrainingBegin,
        parameters=task.parameters,
        samples=teller.samples,
        device=task.device,
        epochs=epochs,
        batches=batches,
        held_out=len(validation) if validation is not None else 0,
    )
    _run(task, training, validation, teller, epochs * batches)
    after = metrics(task.measure(judged))
    files.write_atomically(teller.job.out.absolute(), task.encode(), mode=0o644)
    teller.event(
        events.TaskCompleted,
        version=0,
        parent=0,
        samples=len(training),
        before=before,
        after=after,
        promotion="none",
        promotion_reason=f"saved as {teller.job.out.name}",
        duration_seconds=round(time.monotonic() - began, 3),
    )
    where = "validation" if validation is not None else "training"
    teller.sentence(f"{where} samples: {_shown(before)} before, [bold green]{_shown(after)}[/] after")
    teller.sentence(f"saved {teller.job.out}")
    return console.DONE


def _run(
    task: NetworkUpdate, training: Encoded, validation: Encoded | None, teller: Teller, total: int
) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    watch = guard(teller.budget)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console.person(), disable=teller.json) as bars:
        bar = bars.add_task("", total=total, said="")
        for event in task.steps(training):
            watch.rest()
            if isinstance(event, Epoch):
                bars.update(bar, said=_epoch(task, event, validation, teller))
            else:
                _batch(event, teller)
                bars.update(bar, completed=teller.step)


def _batch(event: MiniBatch, teller: Teller) -> None:
    teller.step += 1
    named = {"epochIndex": event.epoch, "miniBatchIndex": event.batch, "lossValue": event.loss}
    teller.event(events.MiniBatchEnd, metrics=named)


def _epoch(task: NetworkUpdate, event: Epoch, validation: Encoded | None, teller: Teller) -> str:
    measured = metrics(task.measure(validation)) if validation is not None else None
    teller.event(
        events.EpochEnd,
        metrics={"epochIndex": event.epoch, "lossValue": event.loss},
        last_mini_batch_loss=event.last,
        validation=measured,
    )
    return f"epoch {event.epoch + 1}, loss {event.loss:.4f}" + (f", {_shown(measured)}" if measured else "")


def _shown(measured: Metrics) -> str:
    if measured.accuracy is not None:
        return f"accuracy {measured.accuracy:.1%}, loss {measured.loss_value:.4f}"
    return f"loss {measured.loss_value:.6g}"
