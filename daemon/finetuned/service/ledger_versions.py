"""The ledger's versions: which models were saved, and which of them is current.

A version that history no longer needs is dropped first, and forgotten once its folder is gone; in between nobody sees it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from finetuned.errors import StateError
from finetuned.service.ledger import atomic
from finetuned.service.ledger_tasks import ALIVE, TaskRow, get_task, transition
from finetuned.states import Verb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from finetuned.service.events import Outcome
    from finetuned.service.stamps import Moment


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


NAMES = tuple(field.name for field in fields(VersionRow))


def next_version(db: sqlite3.Connection, model: str, user: str) -> int:
    """Return the number that the next version of (model, user) gets; the first is 1."""
    (last,) = db.execute(
        "SELECT coalesce(max(version), 0) FROM versions WHERE (model, user) = (?, ?)", (model, user)
    ).fetchone()
    return int(last) + 1


@atomic
def complete_task(  # noqa: PLR0913 - the end of a task is told with all that it changes
    db: sqlite3.Connection,
    version: VersionRow,
    *,
    attempt: int | None = None,
    promoted: bool,
    moment: Moment,
    outcomes: Sequence[Outcome],
) -> TaskRow:
    """End the version's task as completed: the version, what is current, the task and its outcomes in one.

    StateError where the task cannot be completed, is another model's, or its outcomes do not end it; StaleError where
    `attempt` is not its last.
    """
    task = get_task(db, version.task)
    if (task.model, task.user) != (version.model, version.user):
        raise StateError(f"task {task.id} is of another model or user than version {version.version}")
    db.execute(
        "INSERT INTO versions (model, user, version, parent, task, sha256, card, saved_at)"
        " VALUES (:model, :user, :version, :parent, :task, :sha256, :card, :saved_at)",
        asdict(version),
    )
    db.execute("UPDATE tasks SET version = ? WHERE id = ?", (version.version, task.id))
    if promoted:
        db.execute(
            "INSERT INTO current (model, user, version) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET version = excluded.version",
            (version.model, version.user, version.version),
        )
    return transition(db, task.id, Verb.complete, moment=moment, attempt=attempt, outcomes=outcomes)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
def current_version(db: sqlite3.Connection, model: str, user: str) -> VersionRow | None:
    """Return the version in use; None: the base."""
    row = db.execute(
        "SELECT * FROM current NATURAL JOIN versions WHERE (model, user) = (?, ?)", (model, user)
    ).fetchone()
    return row and _version(row)


def digest_of(db: sqlite3.Connection, model: str, user: str, version: int) -> str | None:
    """Return the SHA-256 of a version's model; None for the base, whose digest is the model's."""
    key = (model, user, version)
    row = db.execute("SELECT sha256 FROM versions WHERE (model, user, version) = (?, ?, ?)", key).fetchone()
    return row and str(row[0])


def list_current(db: sqlite3.Connection) -> tuple[VersionRow, ...]:
    """Return every version that is in use; a (model, user) without one uses the base."""
    rows = db.execute("SELECT * FROM current NATURAL JOIN versions ORDER BY model, user")
    return tuple(_version(row) for row in rows)


def list_versions(db: sqlite3.Connection, model: str | None = None) -> tuple[VersionRow, ...]:
    """Return the versions of a model, all users', or of all models."""
    rows = db.execute(
        "SELECT * FROM versions WHERE model = coalesce(?, model) AND NOT dropped"
        " ORDER BY model, user, version",
        (model,),
    )
    return tuple(_version(row) for row in rows)


def _version(row: sqlite3.Row) -> VersionRow:
    return VersionRow(**{name: row[name] for name in NAMES})


# ── history ─────────────────────────────────────────────────────────────────────────────────────
@atomic
def drop_versions(db: sqlite3.Connection, keep: int) -> None:
    """Drop all but the newest `keep` versions of each (model, user); the very newest always stays.

    Never the current one, nor the one that was current when it was made (the way back in one step), nor what a
    living task started from.
    """
    db.execute(
        "WITH aged AS (SELECT model, user, version, row_number() OVER (PARTITION BY model, user ORDER BY version DESC)"
        " AS age FROM versions WHERE NOT dropped) "
        "UPDATE versions SET dropped = 1 WHERE (model, user, version) IN (SELECT model, user, version FROM aged"
        " WHERE age > ?) AND (model, user, version) NOT IN (SELECT model, user, version FROM current)"
        " AND (model, user, version) NOT IN (SELECT model, user, parent FROM current NATURAL JOIN versions)"
        " AND (model, user, version) NOT IN (SELECT model, user, parent FROM tasks WHERE state IN (?, ?, ?))",
        (
            max(keep, 1),
            *ALIVE,
        ),  # what a number was given to is never forgotten as the last: it is not given again
    )


def list_dropped(db: sqlite3.Connection) -> tuple[VersionRow, ...]:
    """Return the versions that are dropped and not forgotten yet: their folders may be there."""
    rows = db.execute("SELECT * FROM versions WHERE dropped")
    return tuple(_version(row) for row in rows)


@atomic
def forget_versions(db: sqlite3.Connection, rows: Sequence[VersionRow]) -> None:
    """Forget dropped versions whose folders are gone."""
    keys = [(row.model, row.user, row.version) for row in rows]
    db.executemany("DELETE FROM versions WHERE (model, user, version) = (?, ?, ?) AND dropped", keys)
