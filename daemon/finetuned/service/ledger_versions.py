"""The ledger's versions: which models were saved, and which of them is current."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from finetuned.errors import StateError
from finetuned.service.ledger import atomic
from finetuned.service.ledger_tasks import TaskRow, get_task, transition
from finetuned.states import Verb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from finetuned.service.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A saved model; `parent` 0 is the base, `sha256` is of its model.mlmodel, `card` the text of its card.json."""

    model: str
    user: str = ""
    version: int
    parent: int
    task: str
    sha256: str
    card: str
    saved_at: str


def next_version(db: sqlite3.Connection, model: str, user: str) -> int:
    """Return the number that the next version of (model, user) gets; the first is 1."""
    (last,) = db.execute(
        "SELECT coalesce(max(version), 0) FROM versions WHERE (model, user) = (?, ?)", (model, user)
    ).fetchone()
    return int(last) + 1


@atomic
def complete_task(
    db: sqlite3.Connection, version: VersionRow, *, promoted: bool, at: str, outcomes: Sequence[Outcome]
) -> TaskRow:
    """End the version's task as completed: the version, what is current, the task and its outcomes in one.

    StateError where the task cannot be completed, is another model's, or its outcomes do not end it.
    """
    task = get_task(db, version.task)
    if (task.model, task.user) != (version.model, version.user):
        raise StateError(f"task {task.id} is of another model or user than version {version.version}")
    db.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(version))
    db.execute("UPDATE tasks SET version = ? WHERE id = ?", (version.version, task.id))
    if promoted:
        db.execute(
            "INSERT INTO current VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version",
            (version.model, version.user, version.version),
        )
    return transition(db, task.id, Verb.complete, at=at, outcomes=outcomes)


def current_version(db: sqlite3.Connection, model: str, user: str) -> VersionRow | None:
    """Return the version in use; None: the base."""
    row = db.execute(
        "SELECT versions.* FROM current NATURAL JOIN versions WHERE (model, user) = (?, ?)", (model, user)
    ).fetchone()
    return row and VersionRow(**dict(row))


def digest_of(db: sqlite3.Connection, model: str, user: str, version: int) -> str | None:
    """Return the SHA-256 of a version's model; None for the base, whose digest is the model's."""
    key = (model, user, version)
    row = db.execute("SELECT sha256 FROM versions WHERE (model, user, version) = (?, ?, ?)", key).fetchone()
    return row and str(row[0])


def list_current(db: sqlite3.Connection) -> tuple[VersionRow, ...]:
    """Return every version that is in use; a (model, user) without one uses the base."""
    rows = db.execute("SELECT versions.* FROM current NATURAL JOIN versions ORDER BY model, user")
    return tuple(VersionRow(**dict(row)) for row in rows)


def list_versions(db: sqlite3.Connection, model: str | None = None) -> tuple[VersionRow, ...]:
    """Return the versions of a model, all users', or of all models."""
    rows = db.execute(
        "SELECT * FROM versions WHERE model = coalesce(?, model) ORDER BY model, user, version", (model,)
    )
    return tuple(VersionRow(**dict(row)) for row in rows)
