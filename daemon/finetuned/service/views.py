"""What is shown of a task, a model and the daemon: the retained states, made from what is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from finetuned.service.events import Card, ModelState, TaskStateView
from finetuned.service.ledger_models import find_model
from finetuned.service.ledger_pairs import Pair, get_pair, list_pairs
from finetuned.states import TaskState

if TYPE_CHECKING:
    import sqlite3

    from finetuned.service.asked import Wanted
    from finetuned.service.ledger_models import ModelRow
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.messages import EpochEnd, Metrics, MiniBatchEnd, Moved, TrainingBegin

CPU = "cpu"
IDLE = "idle"
"""The state of a model's task where it has none."""


def task_key(task: str) -> str:
    """Return the outbox's key of a task's state."""
    return f"task/{task}"


def model_key(model: str, user: str) -> str:
    """Return the outbox's key of the state of a model, or of a user's."""
    return f"model/{model}/{user}" if user else f"model/{model}"


@dataclass(slots=True)
class Course:
    """How far an attempt has come; it changes with every report.

    `accelerated`: it computes on an accelerator when it may; `trouble` is what is wrong with one that was wanted.
    """

    device: str = ""
    trouble: str = ""
    accelerated: bool = False
    epochs: int = 0
    batches: int = 0
    step: int = 0
    loss: float | None = None
    began_at: float | None = None
    began_step: int = 0
    held_s: float = 0.0
    stands_since: float | None = None

    def begin(self, report: TrainingBegin, now: float) -> None:
        """Take the course's length, and where it begins: an attempt may go on from a checkpoint."""
        self._compute_on(report.device)
        self.epochs, self.batches = report.epochs, report.batches
        self.began_at, self.held_s = now, 0.0
        self.step = self.began_step = report.step

    def move(self, report: Moved) -> None:
        """It computes somewhere else."""
        self._compute_on(report.device)
        if report.why:
            self.trouble = "; ".join(filter(None, (self.trouble, report.why)))
            self.accelerated = report.device != CPU

    def _compute_on(self, device: str) -> None:
        self.device = device
        self.accelerated = self.accelerated or device != CPU

    def forget_device(self) -> None:
        """Another attempt begins, perhaps somewhere else."""
        self.trouble, self.accelerated = "", False

    def stand(self, now: float) -> None:
        """It is held from now on."""
        self.stands_since = now

    def go_on(self, now: float) -> None:
        """It is held no longer."""
        self.held_s += now - (self.stands_since if self.stands_since is not None else now)
        self.stands_since = None

    def advance(self, report: MiniBatchEnd | EpochEnd) -> None:
        """Take the position and the loss."""
        self.step, self.loss = report.step, report.loss_value

    @property
    def total(self) -> int:
        """All mini-batches of the task."""
        return self.epochs * self.batches

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return self.step / self.total if self.total else 0.0

    def eta(self, now: float) -> float | None:
        """Seconds to the end at the speed so far; None where nothing is known yet."""
        done = self.step - self.began_step
        if self.began_at is None or done <= 0:
            return None
        until = now if self.stands_since is None else self.stands_since
        return max(0.0, (until - self.began_at - self.held_s) * (self.total - self.step) / done)


def task_state(row: TaskRow, course: Course, want: Wanted, now: float) -> TaskStateView:
    """Return what is shown of a task that lives; the reasons of one that runs are those of its pace."""
    epoch, batch = divmod(course.step, course.batches) if course.batches else (0, 0)
    eta = course.eta(now)
    return TaskStateView(
        task=row.id,
        model=row.model,
        user=row.user,
        state=row.state,
        reasons=want.reasons if row.state is TaskState.running and not want.held else row.reasons,
        epoch=epoch,
        epochs=course.epochs,
        batch=batch,
        batches=course.batches,
        progress=round(course.progress, 4),
        eta_seconds=None if eta is None else round(eta, 1),
        loss_value=course.loss,
        device=course.device,
        pace=want.pace,
    )


def model_states(db: sqlite3.Connection, model: ModelRow) -> list[ModelState]:
    """Return what is shown of a model: one state for each user who has samples, versions or a task, and one for nobody."""
    return [_model_state(model, pair) for pair in list_pairs(db, model.name)]


def model_state(db: sqlite3.Connection, name: str, user: str) -> ModelState | None:
    """Return what is shown of one user's model; what it costs does not grow with the users.

    None where there is nothing to show: no such model, or nothing of that user.
    """
    model, pair = find_model(db, name), get_pair(db, name, user)
    if model is None or (user and pair == Pair(user=user)):
        return None
    return _model_state(model, pair)


def _model_state(model: ModelRow, pair: Pair) -> ModelState:
    """`candidate` is the newest version if it is newer than the current one; of a task, what it shows itself is added (`with_task`)."""
    is_newer = pair.newest > (pair.current or 0)
    return ModelState(
        model=model.name,
        user=pair.user,
        kind=model.info.kind,
        current=pair.current,
        candidate=pair.newest if is_newer else None,
        samples=pair.samples,
        metrics=_measured(pair.card),
        candidate_metrics=_measured(pair.newest_card) if is_newer else None,
        task=None,
        task_state=IDLE,
        reasons=(),
        progress=0.0,
        loss_value=None,
        eta_seconds=None,
    )


def _measured(card: str | None) -> Metrics | None:
    """Return how good a version was when it was made."""
    return None if card is None else msgspec.json.decode(card, type=Card).after


def with_task(state: ModelState, task: TaskStateView | None) -> ModelState:
    """Return a model's state with what its living task shows of itself, if there is one."""
    if task is None:
        return state
    return replace(
        state,
        task=task.task,
        task_state=task.state,
        reasons=task.reasons,
        progress=task.progress,
        loss_value=task.loss_value,
        eta_seconds=task.eta_seconds,
    )
