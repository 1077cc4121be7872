"""The ledger's tasks: their states, by the one table of `finetuned.states`, and what each trains on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.errors import RequestError, StateError
from finetuned.service.events import Outcome, TaskCancelled, TaskCompleted, TaskFailed
from finetuned.service.ledger import atomic
from finetuned.service.ledger_outcomes import ENDINGS, append_outcomes
from finetuned.service.ledger_samples import SampleRow, sample_row
from finetuned.states import TERMINAL, TaskState, Verb, follow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

Parameter = float | int | bool

ALIVE = tuple(str(state) for state in TaskState if state not in TERMINAL)
QUEUED = ("queued",)
CANCELLED = "cancelled"
PERSON = "user"
"""The reason that only a person takes back."""

Change = Callable[[tuple[str, ...]], tuple[str, ...]]

# How an end is told.
TOLD_AS: dict[TaskState, tuple[type[Outcome], ...]] = {
    TaskState.completed: (TaskCompleted,),
    TaskState.failed: (TaskFailed, TaskCancelled),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task; `parent` is the version that it starts from (0: the base), `version` what it saved."""

    id: str
    model: str
    user: str = ""
    state: TaskState = TaskState.suspended
    reasons: tuple[str, ...] = QUEUED
    attempt: int = 0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    seed: int
    parent: int = 0
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    version: int | None = None
    error: str = ""

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.state not in TERMINAL


@atomic
def create_task(db: sqlite3.Connection, task: TaskRow) -> TaskRow:
    """Add a suspended task for all samples of its (model, user); they are no longer new.

    RequestError where one is alive for this (model, user), or where there is nothing to train on.
    """
    _refuse_second(db, task)
    asked = (json.dumps(QUEUED), json.dumps(dict(task.parameters)), task.seed, task.parent, task.created_at)
    db.execute(
        "INSERT INTO tasks (id, model, user, state, reasons, parameters, seed, parent, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (task.id, task.model, task.user, TaskState.suspended, *asked),
    )
    _take_samples(db, task)
    return get_task(db, task.id)


def _refuse_second(db: sqlite3.Connection, task: TaskRow) -> None:
    for other in alive_tasks(db):
        if (other.model, other.user) == (task.model, task.user):
            raise RequestError(
                f"task {other.id} of {_whose(task)} is {other.state}; wait until it has ended, or cancel it"
            )


def _take_samples(db: sqlite3.Connection, task: TaskRow) -> None:
    pair = (task.model, task.user)
    (trainable,) = db.execute(
        "SELECT count(*) FROM samples WHERE (model, user) = (?, ?) AND NOT held_out", pair
    ).fetchone()
    if not trainable:
        raise RequestError(f"{_whose(task)} has no samples to train on; drop some into its inbox")
    db.execute(
        "INSERT INTO task_samples SELECT ?, id, label FROM samples WHERE (model, user) = (?, ?)",
        (task.id, *pair),
    )
    db.execute("UPDATE samples SET task = ? WHERE (model, user) = (?, ?)", (task.id, *pair))


def _whose(task: TaskRow) -> str:
    return f"model {task.model}" + (f", user {task.user}" if task.user else "")


@atomic
def transition(  # noqa: PLR0913 - a transition is told with all that it changes
    db: sqlite3.Connection,
    task_id: str,
    verb: Verb,
    *,
    at: str,
    reasons: Sequence[str] = (),
    outcomes: Sequence[Outcome] = (),
    new_attempt: bool = False,
) -> TaskRow:
    """Do what `finetuned.states` allows, together with the outcomes that tell of it; else nothing.

    `reasons` are those of the new state.  `new_attempt`: a worker starts, rather than goes on.  An end needs
    its terminal outcome among `outcomes` (its error becomes the task's), anything else must have none.
    StateError where the table or the outcomes say no, RequestError where there is no such task.
    """
    state = follow(get_task(db, task_id).state, verb)
    ending = _ending(state, outcomes)
    db.execute(
        "UPDATE tasks SET state = ?, reasons = ? WHERE id = ?", (state, json.dumps(list(reasons)), task_id)
    )
    if new_attempt:
        _count_attempt(db, task_id, at)
    if state in TERMINAL:
        db.execute("UPDATE tasks SET ended_at = ?, error = ? WHERE id = ?", (at, _error(ending), task_id))
    append_outcomes(db, outcomes, ends=task_id if state in TERMINAL else None)
    return get_task(db, task_id)


def _ending(state: TaskState, outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the terminal outcome, if there is one; it must be of the kind that tells of `state`."""
    for outcome in outcomes:
        if isinstance(outcome, ENDINGS):
            if not isinstance(outcome, TOLD_AS.get(state, ())):
                raise StateError(
                    f"a task that becomes {state} is not told as {outcome.__struct_config__.tag}"
                )
            return outcome
    return None


def _error(ending: Outcome | None) -> str:
    if isinstance(ending, TaskCancelled):
        return CANCELLED
    return ending.error if isinstance(ending, TaskFailed) else ""


def _count_attempt(db: sqlite3.Connection, task_id: str, at: str) -> None:
    db.execute(
        "UPDATE tasks SET attempt = attempt + 1, started_at = coalesce(started_at, ?) WHERE id = ?",
        (at, task_id),
    )


@atomic
def set_reasons(
    db: sqlite3.Connection, task_id: str, reasons: Sequence[str], outcomes: Sequence[Outcome] = ()
) -> TaskRow:
    """Change why a suspended task is suspended; StateError where it is not."""
    state = get_task(db, task_id).state
    if state is not TaskState.suspended:
        raise StateError(f"task {task_id} is {state}; only a suspended one has reasons")
    db.execute("UPDATE tasks SET reasons = ? WHERE id = ?", (json.dumps(list(reasons)), task_id))
    append_outcomes(db, outcomes)
    return get_task(db, task_id)


@atomic
def begin_attempt(db: sqlite3.Connection, task: str, *, at: str) -> TaskRow | None:
    """Begin the next attempt, unless a person has held or ended the task in the meantime: then None."""
    row = get_task(db, task)
    if row.state is not TaskState.suspended or PERSON in row.reasons:
        return None
    return transition(db, task, Verb.resume, at=at, new_attempt=True)


@atomic
def change_reasons(
    db: sqlite3.Connection, task: str, change: Change, outcome: Outcome | None = None
) -> TaskRow:
    """Change why a task waits, as it waits now: one that no longer does, or for the same reasons, stays as it is.

    What a person said is never lost to what a sensor says.
    """
    row = get_task(db, task)
    reasons = change(row.reasons)
    if outcome is None and PERSON in row.reasons:
        reasons = (*reasons, PERSON)
    if row.state is not TaskState.suspended or reasons == row.reasons or len(set(reasons)) < len(reasons):
        return row
    return set_reasons(db, task, reasons, [outcome] if outcome else [])


@atomic
def interrupted(db: sqlite3.Connection, *, at: str, node: str) -> tuple[TaskRow, ...]:
    """Put right, at start, what the last daemon left behind; return the tasks that are or were alive.

    No worker has outlived it: whatever ran is queued again, whatever was being cancelled has ended.  Of why
    a task waited only a person's word still counts; the sensors will say their own again.
    """
    return tuple(_recover(db, task, at=at, node=node) for task in alive_tasks(db))


def _recover(db: sqlite3.Connection, task: TaskRow, *, at: str, node: str) -> TaskRow:
    if task.state is TaskState.cancelling:
        ending = TaskCancelled(ts=at, node=node, model=task.model, user=task.user, task=task.id)
        return transition(db, task.id, Verb.fail, at=at, outcomes=[ending])
    if task.state is TaskState.running:
        return transition(db, task.id, Verb.suspend, at=at, reasons=QUEUED)
    kept = [reason for reason in task.reasons if reason == PERSON]
    return set_reasons(db, task.id, [*QUEUED, *kept])


def find_task(db: sqlite3.Connection, task_id: str) -> TaskRow | None:
    """Return the task, or None."""
    row = db.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return row and _task(row)


def get_task(db: sqlite3.Connection, task_id: str) -> TaskRow:
    """Return the task; RequestError, which lists those alive, where there is none."""
    task = find_task(db, task_id)
    if task is None:
        alive = ", ".join(other.id for other in alive_tasks(db)) or "none"
        raise RequestError(f"there is no task {task_id}; alive are: {alive}")
    return task


def alive_tasks(db: sqlite3.Connection) -> tuple[TaskRow, ...]:
    """Return the tasks that have not ended, oldest first."""
    rows = db.execute("SELECT * FROM tasks WHERE state IN (?, ?, ?) ORDER BY id", ALIVE)
    return tuple(_task(row) for row in rows)


def task_samples(db: sqlite3.Connection, task_id: str) -> tuple[SampleRow, ...]:
    """Return the exact samples of a task, in the order of acceptance, with the labels that they had at its creation."""
    rows = db.execute(
        "SELECT id, model, user, digest, task_samples.label AS label, name, path, bytes, held_out, source, accepted_at,"
        " samples.task AS task FROM task_samples JOIN samples ON samples.id = sample"
        " WHERE task_samples.task = ? ORDER BY sample",
        (task_id,),
    )
    return tuple(sample_row(row) for row in rows)


def seen_samples(db: sqlite3.Connection, model: str, user: str) -> frozenset[int]:
    """Return the ids of the samples that any task has seen, under whatever label."""
    rows = db.execute(
        "SELECT DISTINCT sample FROM task_samples JOIN samples ON samples.id = sample WHERE (model, user) = (?, ?)",
        (model, user),
    )
    return frozenset(row["sample"] for row in rows)


def _task(row: sqlite3.Row) -> TaskRow:
    fields = dict(row)
    decoded = {
        "state": TaskState(fields["state"]),
        "reasons": tuple(json.loads(fields["reasons"])),
        "parameters": json.loads(fields["parameters"]),
    }
    return TaskRow(**fields | decoded)
