"""The ledger's tasks: their states, by the one table of `finetuned.states`, and what each trains on.

What an attempt tells is fenced: it counts only while that attempt is the task's last, and `StaleError` says so otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.errors import RequestError, StateError
from finetuned.service.events import Outcome, Paused, Resumed, TaskCancelled, TaskCompleted, TaskFailed
from finetuned.service.ledger import atomic
from finetuned.service.ledger_outcomes import ENDINGS, append_outcomes
from finetuned.service.ledger_samples import SampleRow, sample_row
from finetuned.service.messages import Adjustment
from finetuned.states import TERMINAL, TaskState, Verb, follow

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from finetuned.service.stamps import Moment

Parameter = float | int | bool

ALIVE = tuple(str(state) for state in TaskState if state not in TERMINAL)
QUEUED = ("queued",)
CANCELLED = "cancelled"
PERSON = "user"
"""The reason that only a person takes back: it is kept as `held`, whatever the state."""

# How an end is told, and what of its pace.
TOLD_AS: dict[TaskState, tuple[type[Outcome], ...]] = {
    TaskState.completed: (TaskCompleted,),
    TaskState.failed: (TaskFailed, TaskCancelled),
}
TOLD_PAUSED: dict[type[Outcome], bool] = {Paused: True, Resumed: False}


class StaleError(StateError):
    """An attempt that is no longer the task's last has said something: it changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task; `parent` is the version that it starts from (0: the base), `version` what it saved.

    `held`: a person holds it.  `paused`: so it was told.  `losses` are the workers that it has lost, `turn` counts the starts
    of all tasks up to its last.  `adjustments` are learning rates given on the way.
    """

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
    fault: str = ""
    held: bool = False
    paused: bool = False
    losses: int = 0
    turn: int = 0
    adjustments: tuple[Adjustment, ...] = ()
    created_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.state not in TERMINAL


# ── being made ──────────────────────────────────────────────────────────────────────────────────
@atomic
def create_task(db: sqlite3.Connection, task: TaskRow) -> TaskRow:
    """Add a suspended task for all samples of its (model, user); they are no longer new.

    RequestError where one is alive for this (model, user), or where there is nothing to train on.
    """
    _refuse_second(db, task)
    db.execute(
        "INSERT INTO tasks (id, model, user, state, reasons, parameters, seed, parent, created_at, created_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(task.id, task.model, task.user, TaskState.suspended, json.dumps(QUEUED)),
            *(json.dumps(dict(task.parameters)), task.seed, task.parent, task.created_at, task.created_s),
        ),
    )
    _take_samples(db, task)
    return get_task(db, task.id)


def _refuse_second(db: sqlite3.Connection, task: TaskRow) -> None:
    query = "SELECT id, state FROM tasks WHERE (model, user) = (?, ?) AND state IN (?, ?, ?)"
    if other := db.execute(query, (task.model, task.user, *ALIVE)).fetchone():
        raise RequestError(
            f"task {other['id']} of model {task.model} is {other['state']}; wait until it has ended, or cancel it"
        )


def _take_samples(db: sqlite3.Connection, task: TaskRow) -> None:
    pair = (task.model, task.user)
    (trainable,) = db.execute(
        "SELECT count(*) FROM samples WHERE (model, user) = (?, ?) AND NOT held_out", pair
    ).fetchone()
    if not trainable:
        of = " (or this user of it)" if task.user else ""
        raise RequestError(f"model {task.model}{of} has no samples to train on; drop some into its inbox")
    db.execute(
        "INSERT INTO task_samples SELECT ?, id, label FROM samples WHERE (model, user) = (?, ?)",
        (task.id, *pair),
    )
    db.execute("UPDATE samples SET task = ?, seen = 1 WHERE (model, user) = (?, ?)", (task.id, *pair))


# ── its life ────────────────────────────────────────────────────────────────────────────────────
@atomic
def transition(  # noqa: PLR0913 - a transition is told with all that it changes
    db: sqlite3.Connection,
    task_id: str,
    verb: Verb,
    *,
    moment: Moment,
    attempt: int | None = None,
    reasons: Sequence[str] = (),
    outcomes: Sequence[Outcome] = (),
) -> TaskRow:
    """Do what `finetuned.states` allows, together with the outcomes that tell of it; else nothing.

    `attempt`: who says so, where it is a worker.  `reasons` are those of the new state.  An end needs its terminal
    outcome among `outcomes` (its error becomes the task's), anything else must have none.
    StateError where the table or the outcomes say no, StaleError where the attempt is an older one, RequestError where
    there is no such task.
    """
    row = get_task(db, task_id)
    _fence(row, attempt)
    state = follow(row.state, verb)
    ending = _ending(state, outcomes)
    _write_reasons(db, task_id, reasons, state)
    if state in TERMINAL:
        _write_end(db, task_id, ending, moment)
    _tell(db, task_id, outcomes, ends=task_id if state in TERMINAL else None)
    return get_task(db, task_id)


def _fence(row: TaskRow, attempt: int | None) -> None:
    if attempt is not None and attempt != row.attempt:
        raise StaleError(f"attempt {attempt} of task {row.id} is over; its last is {row.attempt}")


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


def _write_reasons(
    db: sqlite3.Connection, task_id: str, reasons: Sequence[str], state: TaskState = TaskState.suspended
) -> None:
    others = [reason for reason in reasons if reason != PERSON]
    db.execute("UPDATE tasks SET state = ?, reasons = ? WHERE id = ?", (state, json.dumps(others), task_id))


def _write_end(db: sqlite3.Connection, task_id: str, ending: Outcome | None, moment: Moment) -> None:
    error, fault = "", ""
    if isinstance(ending, TaskCancelled):
        error = CANCELLED
    elif isinstance(ending, TaskFailed):
        error, fault = ending.error, ending.fault
    db.execute(
        "UPDATE tasks SET ended_at = ?, ended_s = ?, error = ?, fault = ?, held = 0 WHERE id = ?",
        (moment.at, moment.lived_s, error, fault, task_id),
    )


def _tell(
    db: sqlite3.Connection, task_id: str, outcomes: Sequence[Outcome], *, ends: str | None = None
) -> None:
    """Append the outcomes; of its pace only what is news: `paused` and `resumed` take turns."""
    told: list[Outcome] = []
    paused = before = get_task(db, task_id).paused
    for outcome in outcomes:
        now = TOLD_PAUSED.get(type(outcome), paused)
        if now != paused or type(outcome) not in TOLD_PAUSED:
            told.append(outcome)
        paused = now
    append_outcomes(db, told, ends=ends)
    if paused != before:
        db.execute("UPDATE tasks SET paused = ? WHERE id = ?", (paused, task_id))


@atomic
def begin_attempt(
    db: sqlite3.Connection, task_id: str, *, moment: Moment, resumed: Outcome | None = None
) -> TaskRow | None:
    """Begin the next attempt, unless a person has held or ended the task in the meantime: then None.

    `resumed` is told where the task was told to be paused, and only now, since it does go on now.
    """
    row = get_task(db, task_id)
    if row.state is not TaskState.suspended or row.held:
        return None
    db.execute(
        "UPDATE tasks SET attempt = attempt + 1, turn = 1 + (SELECT max(turn) FROM tasks),"
        " started_at = coalesce(started_at, ?), started_s = coalesce(started_s, ?) WHERE id = ?",
        (moment.at, moment.lived_s, task_id),
    )
    outcomes = [] if resumed is None else [resumed]
    return transition(db, task_id, Verb.resume, moment=moment, outcomes=outcomes)


@atomic
def explain(
    db: sqlite3.Connection, task_id: str, reasons: Sequence[str], outcomes: Sequence[Outcome] = ()
) -> TaskRow:
    """Say why a suspended task waits, a person's word aside; one that is not suspended stays as it is, untold."""
    row = get_task(db, task_id)
    if row.state is not TaskState.suspended:
        return row
    _write_reasons(db, task_id, reasons)
    _tell(db, task_id, outcomes)
    return get_task(db, task_id)


@atomic
def hold(db: sqlite3.Connection, task_id: str, *, held: bool, outcome: Outcome | None = None) -> TaskRow:
    """Note durably that a person holds a living task, or lets it go on; `outcome` is told if that changes anything.

    StateError where the task has ended.
    """
    row = get_task(db, task_id)
    if not row.alive:
        raise StateError(f"task {task_id} has ended: {row.state}")
    if row.held != held:
        db.execute("UPDATE tasks SET held = ? WHERE id = ?", (held, task_id))
        _tell(db, task_id, [outcome] if outcome is not None else [])
    return get_task(db, task_id)


@atomic
def lose(  # noqa: PLR0913 - what becomes of it in either case
    db: sqlite3.Connection,
    task_id: str,
    *,
    moment: Moment,
    failed: Outcome,
    reasons: Sequence[str],
    most: int,
) -> TaskRow:
    """Count a worker that was lost: the `most`-th ends the task as `failed`, before that it waits for `reasons`.

    StateError where the task has ended.
    """
    db.execute("UPDATE tasks SET losses = losses + 1 WHERE id = ?", (task_id,))
    row = get_task(db, task_id)
    if row.losses >= most:
        return transition(db, task_id, Verb.fail, moment=moment, outcomes=[failed])
    if row.state is TaskState.suspended:
        return explain(db, task_id, reasons)
    return transition(db, task_id, Verb.suspend, moment=moment, reasons=reasons)


# ── learning rates on the way ───────────────────────────────────────────────────────────────────
@atomic
def adjust(db: sqlite3.Connection, task_id: str, learning_rate: float) -> TaskRow:
    """Note durably that a learning rate was asked for; from which mini-batch on it holds is not known yet."""
    row = get_task(db, task_id)
    return _write_adjustments(db, task_id, (*row.adjustments, Adjustment(learning_rate=learning_rate)))


@atomic
def pin_adjustment(db: sqlite3.Connection, task_id: str, attempt: int, *, step: int) -> TaskRow:
    """Note from which mini-batch on the oldest adjustment holds of which that was not known.

    StaleError where the attempt is an older one.
    """
    row = get_task(db, task_id)
    _fence(row, attempt)
    pinned = list(row.adjustments)
    index = next((index for index, each in enumerate(pinned) if each.step is None), None)
    if index is not None:
        pinned[index] = msgspec.structs.replace(pinned[index], step=step)
    return _write_adjustments(db, task_id, tuple(pinned))


def _write_adjustments(db: sqlite3.Connection, task_id: str, adjustments: tuple[Adjustment, ...]) -> TaskRow:
    text = msgspec.json.encode(adjustments).decode()
    db.execute("UPDATE tasks SET adjustments = ? WHERE id = ?", (text, task_id))
    return get_task(db, task_id)


# ── after a crash ───────────────────────────────────────────────────────────────────────────────
@atomic
def interrupted(db: sqlite3.Connection, *, moment: Moment, node: str) -> tuple[TaskRow, ...]:
    """Put right, at start, what the last daemon left behind; return the tasks that are or were alive.

    No worker has outlived it: whatever ran is queued again, whatever was being cancelled has ended.  Of why
    a task waited only a person's word still counts; the sensors will say their own again.
    """
    return tuple(_recover(db, task, moment=moment, node=node) for task in alive_tasks(db))


def _recover(db: sqlite3.Connection, task: TaskRow, *, moment: Moment, node: str) -> TaskRow:
    if task.state is TaskState.cancelling:
        ending = TaskCancelled(ts=moment.at, node=node, model=task.model, user=task.user, task=task.id)
        return transition(db, task.id, Verb.fail, moment=moment, outcomes=[ending])
    if task.state is TaskState.running:
        return transition(db, task.id, Verb.suspend, moment=moment, reasons=QUEUED)
    return explain(db, task.id, QUEUED)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
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


def get_alive(db: sqlite3.Connection, task_id: str) -> TaskRow:
    """Return a task that lives; RequestError where it has ended, or there is none."""
    task = get_task(db, task_id)
    if not task.alive:
        raise RequestError(f"task {task_id} has ended: {task.state}")
    return task


def alive_tasks(db: sqlite3.Connection) -> tuple[TaskRow, ...]:
    """Return the tasks that have not ended, oldest first."""
    rows = db.execute("SELECT * FROM tasks WHERE state IN (?, ?, ?) ORDER BY created_s, id", ALIVE)
    return tuple(_task(row) for row in rows)


def task_samples(db: sqlite3.Connection, task_id: str) -> tuple[SampleRow, ...]:
    """Return the exact samples of a task, in the order of acceptance, with the labels that they had at its creation."""
    rows = db.execute(
        "SELECT id, model, user, digest, task_samples.label AS label, name, path, bytes, held_out, source, accepted_at,"
        " accepted_s, samples.task AS task, seen FROM task_samples JOIN samples ON samples.id = sample"
        " WHERE task_samples.task = ? ORDER BY sample",
        (task_id,),
    )
    return tuple(sample_row(row) for row in rows)


def _task(row: sqlite3.Row) -> TaskRow:
    fields = dict(row)
    state, held = TaskState(fields["state"]), bool(fields["held"])
    reasons = [reason for reason in json.loads(fields["reasons"]) if reason != PERSON]
    if held and state is TaskState.suspended:
        reasons.append(PERSON)
    decoded = {
        "state": state,
        "held": held,
        "paused": bool(fields["paused"]),
        "reasons": tuple(reasons),
        "parameters": json.loads(fields["parameters"]),
        "adjustments": msgspec.json.decode(fields["adjustments"], type=tuple[Adjustment, ...]),
    }
    return TaskRow(**fields | decoded)
