"""`finetuned update`: one update task in the foreground, Apple's MLUpdateTask as a command.

With --json it writes the events of MQTT.md, a line each; the last one ends the task.  Ctrl-C leaves a checkpoint beside
OUT, and so does every minute; `--resume` goes on from there and ends in the same bytes.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from finetuned import files
from finetuned.edge import console
from finetuned.edge.budgeted import guard
from finetuned.edge.model_cli import load, prepare_data
from finetuned.edge.pairs import pairs
from finetuned.edge.resuming import Interruption, Keeper, beside, check_places, mode_for, read
from finetuned.edge.storing import storing
from finetuned.edge.threads import threads_of
from finetuned.edge.wording import figure
from finetuned.errors import CheckpointError, FinetunedError, HostError, RequestError
from finetuned.service import events
from finetuned.service.asked import STANDSTILL
from finetuned.service.stamps import new_id, timestamp
from finetuned.service.work import metrics
from finetuned.update import checkpoint
from finetuned.update.growth import Growth
from finetuned.update.network import Epoch
from finetuned.update.updating import updater

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from finetuned.policy.budget import Verdict
    from finetuned.service.messages import Metrics
    from finetuned.spec.model import Model
    from finetuned.update.checkpoint import Snapshot
    from finetuned.update.features import Encoded
    from finetuned.update.network import MiniBatch
    from finetuned.update.updater import Updater


_DEPARTURES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done."""

    model: Path
    data: Path
    out: Path
    validate: Path | None
    threads: int
    resume: bool = False
    beyond_coreml: bool = False
    loss_weights: Mapping[str, str] = field(default_factory=dict)
    max_samples: int = 0
    when_full: Literal["oldest", "balanced"] = "oldest"
    duplicates: bool = False

    @property
    def growth(self) -> Growth:
        """How a model grows that holds its samples."""
        return Growth(most=self.max_samples, policy=self.when_full, duplicates=self.duplicates)


@dataclass(slots=True)
class Teller:
    """Says what happens: as events, or as a bar and sentences."""

    job: Job
    json: bool
    samples: dict[str, int] = field(default_factory=dict)
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

    def sentence(self, *parts: console.Part) -> None:
        """Print a sentence, for people, of texts and (text, style)."""
        if not self.json:
            console.say(*parts)

    def warning(self, words: str) -> None:
        """Print what a person should know, though machines are listening on stdout."""
        console.say((words, "yellow"))

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
        self.sentence(("paused" if held else "goes on", "yellow"), why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that takes part in one run of the command."""

    job: Job
    task: Updater
    training: Encoded
    validation: Encoded | None
    teller: Teller
    keeper: Keeper
    interruption: Interruption

    @property
    def judged(self) -> Encoded:
        """What the model is measured on, before and after."""
        return self.validation if self.validation is not None else self.training

    def measure(self) -> Metrics:
        """Measure the model of this moment."""
        return metrics(self.task.measure(self.judged))


def update(job: Job, parameters: list[str] | None, labels: list[str] | None, *, json: bool) -> int:
    """Train and save; return the exit status."""
    check_places(job.out)
    teller = Teller(job=job, json=json)
    kept = _kept(job, teller)
    run = _prepared(job, pairs(parameters, "-p"), pairs(labels, "--label"), teller, _seed(kept))
    snapshot = _opened(run, kept)
    began = time.monotonic()
    with run.interruption:
        try:
            before, after = _train(run, snapshot)
        except FinetunedError as error:
            teller.event(events.TaskFailed, fault=error.fault, error=str(error))
            if json:
                return console.NO
            raise
        except KeyboardInterrupt:
            teller.event(events.TaskCancelled)
            _leave(run, "interrupted")
            return console.INTERRUPTED
    _completed(run, before, after, time.monotonic() - began)
    return console.DONE


def _prepared(
    job: Job, asked: Mapping[str, object], mapping: dict[str, str], teller: Teller, seed: int
) -> Run:
    model = load(job.model)
    _check_growth(job, model)
    task = updater(
        model,
        asked,
        seed=seed,
        threads=threads_of(job.threads),
        beyond_coreml=job.beyond_coreml,
        loss_weights=job.loss_weights,
        growth=job.growth,
    )
    for departure in task.departures[:_DEPARTURES]:
        teller.warning(f"leaves Core ML: {departure}")
    if more := len(task.departures[_DEPARTURES:]):
        teller.warning(f"and {more} more; finetuned check --beyond-coreml tells all")
    prepared = prepare_data(job.data, task, mapping, json=teller.json)
    teller.samples = dict(prepared.labels)
    training = prepared.data
    unseen = prepare_data(job.validate, task, mapping, json=teller.json) if job.validate else None
    return Run(
        job=job,
        task=task,
        training=training,
        validation=unseen.data if unseen is not None else None,
        teller=teller,
        keeper=Keeper(beside(job.out), task, training),
        interruption=Interruption(),
    )


def _check_growth(job: Job, model: Model) -> None:
    """Refuse what would do nothing."""
    if job.growth != Growth() and model.learner.neighbors is None:
        raise RequestError(
            "--max-samples, --when-full and --duplicates are for nearest neighbours, which hold their samples; "
            f"this is a {model.learner.kind}: leave them out"
        )


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────
def _kept(job: Job, teller: Teller) -> bytes | None:
    """Return the checkpoint to go on from, if that was asked for and there is one."""
    if not job.resume:
        return None
    if not (path := beside(job.out)).exists():
        teller.warning(f"there is no checkpoint to go on from: no {path}; the task starts from its beginning")
        return None
    return read(path)


def _seed(kept: bytes | None) -> int:
    """Draw the seed for a task that is given none; one that goes on has it in its checkpoint."""
    if kept is not None:
        with suppress(CheckpointError):  # it is read again, and refused, when the task is known
            return checkpoint.seed_of(kept)
    return secrets.randbits(32)


def _opened(run: Run, kept: bytes | None) -> Snapshot | None:
    """Return what the checkpoint holds; one that nobody goes on from makes room for this task's own."""
    if kept is not None:
        try:
            return run.keeper.opened(kept)
        except CheckpointError as error:
            _useless(run, error)
    elif run.keeper.set_aside():
        run.teller.warning(f"the checkpoint of an interrupted update is kept as {run.keeper.old}")
    return None


def _useless(run: Run, error: CheckpointError) -> None:
    run.teller.warning(f"{run.keeper.path} is of no use: {error}; the task starts from its beginning")


def _steps(run: Run, snapshot: Snapshot | None) -> Iterator[MiniBatch | Epoch]:
    """Return the task's steps, from the checkpoint on if it is good."""
    if snapshot is not None:
        try:
            steps = run.keeper.go_on(snapshot)
        except CheckpointError as error:
            _useless(run, error)
        else:
            run.teller.step = run.task.position.step
            run.teller.sentence(f"goes on after mini-batch {run.teller.step}")
            return steps
    return run.task.steps(run.training)


def _keep(run: Run) -> None:
    """Keep a checkpoint now and then; a disk that refuses it is no reason to stop."""
    try:
        with run.interruption.writing():
            run.keeper.keep_if_due()
    except HostError as error:
        run.teller.warning(f"there is no new checkpoint: {error}")


def _leave(run: Run, why: str) -> None:
    """Leave a checkpoint, unless nothing was done yet or a mini-batch was torn: then the one before is the newest."""
    said = "; no model was saved"
    if run.task.position.step and not run.interruption.torn:
        try:
            with run.interruption.writing():
                run.keeper.keep()
        except HostError as error:
            run.teller.warning(f"no new checkpoint could be left: {error}")
    if run.keeper.path.exists():
        said += f"; --resume goes on from {run.keeper.path}"
    run.teller.sentence((why, "yellow"), said)


# ── training ────────────────────────────────────────────────────────────────────────────────────
def _train(run: Run, snapshot: Snapshot | None) -> tuple[Metrics, Metrics]:
    """Train and save; return how good the model was before and is after."""
    task, teller = run.task, run.teller
    before = run.measure()
    stored = storing(task, run.training, run.job.growth)
    steps = _steps(run, snapshot)
    epochs, batches = task.epochs, task.batches(len(run.training))
    teller.event(
        events.TrainingBegin,
        parameters=task.parameters,
        samples=teller.samples,
        device=task.device,
        epochs=epochs,
        batches=batches,
        held_out=len(run.validation) if run.validation is not None else 0,
    )
    _run(run, steps, epochs * batches)
    after = run.measure()
    if stored is not None:
        teller.sentence(stored.sentence)
    _save(run)
    return before, after


def _save(run: Run) -> None:
    """Write the model; where the disk refuses it, what was learned is left as a checkpoint."""
    try:
        with run.interruption.writing():
            mode = mode_for(run.job.out, run.job.model)
            files.write_atomically(run.job.out.absolute(), run.task.encode(), mode=mode)
    except HostError:
        _leave(run, "trained")
        raise
    try:
        run.keeper.remove()
    except HostError as error:
        run.teller.warning(f"the model is saved, and its checkpoint is still there: {error}")


def _completed(run: Run, before: Metrics, after: Metrics, seconds: float) -> None:
    run.teller.event(
        events.TaskCompleted,
        version=0,
        parent=0,
        samples=len(run.training),
        before=before,
        after=after,
        promotion="none",
        promotion_reason=f"saved as {run.job.out.name}",
        duration_seconds=round(seconds, 3),
    )
    where = "validation" if run.validation is not None else "training"
    run.teller.sentence(
        f"{where} samples: {_shown(run.task, before)} before, ",
        (_shown(run.task, after), "bold green"),
        " after",
    )
    run.teller.sentence(f"saved {run.job.out}")


def _run(run: Run, steps: Iterator[MiniBatch | Epoch], total: int) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    teller = run.teller
    watch = guard(teller.budget)
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
    # Nearest neighbours are done in one step, of which there is nothing to show.
    with Progress(*columns, console=console.person(), disable=teller.json or not total) as bars:
        bar = bars.add_task("", total=total, completed=teller.step, said="")
        while (event := run.interruption.step(steps)) is not None:
            if isinstance(event, Epoch):
                bars.update(bar, said=_epoch(run.task, event, run.validation, teller))
            else:
                _batch(event, teller)
                bars.update(bar, completed=teller.step)
            _keep(run)
            watch.rest()


def _batch(event: MiniBatch, teller: Teller) -> None:
    teller.step += 1
    named = {"epochIndex": event.epoch, "miniBatchIndex": event.batch, "lossValue": event.loss}
    teller.event(events.MiniBatchEnd, metrics=named)


def _epoch(task: Updater, event: Epoch, validation: Encoded | None, teller: Teller) -> str:
    measured = metrics(task.measure(validation)) if validation is not None else None
    teller.event(
        events.EpochEnd,
        metrics={"epochIndex": event.epoch, "lossValue": event.loss},
        last_mini_batch_loss=event.last,
        validation=measured,
    )
    return f"epoch {event.epoch + 1}, loss {event.loss:.4f}" + (
        f", {_shown(task, measured)}" if measured else ""
    )


def _shown(task: Updater, measured: Metrics) -> str:
    if measured.accuracy is not None and not task.epochs:  # it has no loss
        return f"accuracy {measured.accuracy:.1%}"
    if measured.accuracy is not None:
        return f"accuracy {measured.accuracy:.1%}, loss {figure(measured.loss_value, '.4f')}"
    return f"loss {figure(measured.loss_value, '.6g')}"
