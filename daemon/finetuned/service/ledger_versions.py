"""The ledger's versions: which models were saved, which of them is current, and which was before.

A version that history no longer needs is dropped first, and forgotten once its folder is gone; in between nobody sees it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from finetuned.errors import RequestError, StateError
from finetuned.service.ledger import atomic
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_tasks import ALIVE, TaskRow, get_task, transition
from finetuned.states import Verb

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from finetuned.service.events import Outcome
    from finetuned.service.stamps import Moment
    from finetuned.service.store import Store


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


class OverruledError(StateError):
    """A task was to promote what it saved, but what it started from is no longer in use: somebody has chosen another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From now on `version` is used, and before it was `before`; 0 is the base, and the base's `parent` is itself."""

    version: int
    parent: int
    before: int


def next_version(db: sqlite3.Connection, model: str, user: str) -> int:
    """Return the number that the next version of (model, user) gets; the first is 1, and none is given again.

    Of versions that went with a forgotten sample, only their tasks remember the numbers.
    """
    (last,) = db.execute(
        "SELECT max(coalesce((SELECT max(version) FROM versions WHERE (model, user) = (?1, ?2)), 0),"
        " coalesce((SELECT max(version) FROM tasks WHERE (model, user) = (?1, ?2)), 0))",
        (model, user),
    ).fetchone()
    return int(last) + 1


def has_versions(db: sqlite3.Connection, model: str, user: str) -> bool:
    """Say whether (model, user) has any version that is kept."""
    query = "SELECT 1 FROM versions WHERE (model, user) = (?, ?) AND NOT dropped"
    return db.execute(query, (model, user)).fetchone() is not None


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
    `attempt` is not its last; OverruledError where the version was to be `promoted`, but its parent is no longer in use.
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
        _refuse_overruling(db, version)
        _use(db, version.model, version.user, version.version, previous=version.parent)
    return transition(db, task.id, Verb.complete, moment=moment, attempt=attempt, outcomes=outcomes)


def _refuse_overruling(db: sqlite3.Connection, version: VersionRow) -> None:
    if version_in_use(db, version.model, version.user) != version.parent:
        parent = f"version {version.parent}" if version.parent else "the base"
        raise OverruledError(f"{parent}, from which it started, is no longer in use")


# ── a person's choice ───────────────────────────────────────────────────────────────────────────
@atomic
def promote(
    db: sqlite3.Connection,
    pair: tuple[str, str],
    version: int,
    *,
    tell: Callable[[Change], Outcome],
) -> Change:
    """Use any version that is kept, or the base (0), and remember what was used before; what is in use is left so, untold.

    RequestError where there is no such version.
    """
    _refuse_unknown(db, pair, version)
    change = Change(version=version, parent=_parent(db, pair, version), before=version_in_use(db, *pair))
    if change.before != version:
        _choose(db, pair, change, previous=change.before, outcome=tell(change))
    return change


@atomic
def roll_back(
    db: sqlite3.Connection, pair: tuple[str, str], version: int, *, tell: Callable[[Change], Outcome]
) -> Change:
    """Use again what was in use before the present version, which is `version`, as `rollback_target` gave it.

    RequestError as there; StateError where a rollback leads elsewhere by now.
    """
    if rollback_target(db, pair) != version:
        raise StateError(f"another version of model {pair[0]} has come into use meanwhile; ask again")
    change = Change(version=version, parent=_parent(db, pair, version), before=version_in_use(db, *pair))
    # Nothing is remembered: another step back follows the parents, and does not lead to and fro.
    _choose(db, pair, change, previous=None, outcome=tell(change))
    return change


def rollback_target(db: sqlite3.Connection, pair: tuple[str, str]) -> int:
    """Return what was in use before the present version; where nobody remembers that, the version it was made from.

    RequestError where the base is in use, or that version is not kept any more.
    """
    row = db.execute(
        "SELECT coalesce(previous, parent) AS target FROM current NATURAL JOIN versions"
        " WHERE (model, user) = (?, ?)",
        pair,
    ).fetchone()
    if row is None:
        raise RequestError(
            f"the base of model {pair[0]} is in use: there is nothing before it; {_kept(db, pair)}"
        )
    _refuse_unknown(db, pair, row["target"])
    return int(row["target"])


def _choose(
    db: sqlite3.Connection,
    pair: tuple[str, str],
    change: Change,
    *,
    previous: int | None,
    outcome: Outcome,
) -> None:
    _use(db, *pair, change.version, previous=previous)
    append_outcomes(db, [outcome])


def _use(db: sqlite3.Connection, model: str, user: str, version: int, *, previous: int | None) -> None:
    """Let a version be current; the base is no row, and remembers nothing."""
    db.execute("DELETE FROM current WHERE (model, user) = (?, ?)", (model, user))
    if version:
        db.execute(
            "INSERT INTO current (model, user, version, previous) VALUES (?, ?, ?, ?)",
            (model, user, version, previous),
        )


def _refuse_unknown(db: sqlite3.Connection, pair: tuple[str, str], version: int) -> None:
    if version and version not in _numbers(db, pair):
        raise RequestError(f"there is no version {version} of model {pair[0]}; {_kept(db, pair)}")


def choosable_digest(db: sqlite3.Connection, pair: tuple[str, str], version: int) -> str:
    """Return the SHA-256 that the file of a version that is kept, or of the base (0), must have; RequestError as `promote`."""
    _refuse_unknown(db, pair, version)
    return digest_of(db, *pair, version) or get_model(db, pair[0]).digest


def _kept(db: sqlite3.Connection, pair: tuple[str, str]) -> str:
    return f"there are {', '.join(['0 (the base)', *map(str, _numbers(db, pair))])}"


def _numbers(db: sqlite3.Connection, pair: tuple[str, str]) -> list[int]:
    query = "SELECT version FROM versions WHERE (model, user) = (?, ?) AND NOT dropped ORDER BY version"
    return [version for (version,) in db.execute(query, pair)]


def _parent(db: sqlite3.Connection, pair: tuple[str, str], version: int) -> int:
    query = "SELECT parent FROM versions WHERE (model, user, version) = (?, ?, ?)"
    row = db.execute(query, (*pair, version)).fetchone()
    return int(row["parent"]) if row else 0


def link_current(db: sqlite3.Connection, store: Store, model: str, user: str) -> None:
    """Let the link follow the ledger: whoever comes last on its thread sees the last choice."""
    store.set_current(model, user, version_in_use(db, model, user))


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
def current_version(db: sqlite3.Connection, model: str, user: str) -> VersionRow | None:
    """Return the version in use; None: the base."""
    row = db.execute(
        "SELECT * FROM current NATURAL JOIN versions WHERE (model, user) = (?, ?)", (model, user)
    ).fetchone()
    return row and _version(row)


def version_in_use(db: sqlite3.Connection, model: str, user: str) -> int:
    """Return the number of the version in use; 0: the base."""
    row = db.execute("SELECT version FROM current WHERE (model, user) = (?, ?)", (model, user)).fetchone()
    return int(row["version"]) if row else 0


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

    Never the current one, nor the one that a rollback leads to, nor what a living task started from.
    """
    db.execute(
        "WITH aged AS (SELECT model, user, version, row_number() OVER (PARTITION BY model, user ORDER BY version DESC)"
        " AS age FROM versions WHERE NOT dropped) "
        "UPDATE versions SET dropped = 1 WHERE (model, user, version) IN (SELECT model, user, version FROM aged"
        " WHERE age > ?) AND (model, user, version) NOT IN (SELECT model, user, version FROM current)"
        " AND (model, user, version) NOT IN (SELECT model, user, coalesce(previous, parent) FROM current NATURAL JOIN versions)"
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
