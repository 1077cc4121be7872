"""The ledger's outcomes and how far each sink has acknowledged them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.errors import StateError
from finetuned.service.events import Outcome, TaskCancelled, TaskCompleted, TaskFailed
from finetuned.service.ledger import atomic

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

KEPT = 10_000
"""So many outcomes are kept, acknowledged or not."""
MOST = 100_000
"""More are not kept for any sink: one that is away for ever must not fill the disk (some 50 MB)."""
ENDINGS = (TaskCompleted, TaskFailed, TaskCancelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """An outcome as it is kept; `payload` is what is sent: the event's keys with the row's `id` among them."""

    id: int
    type: str
    ts: str
    payload: dict[str, Any]


@atomic
def append_outcomes(db: sqlite3.Connection, outcomes: Sequence[Outcome], *, ends: str | None = None) -> None:
    """Append outcomes in order; `ends` is the task that they end.

    Exactly one outcome ends a task, in the transaction that ends it: StateError where `outcomes` hold a
    terminal one without need, lack it, or hold another task's.
    """
    told = [outcome.task for outcome in outcomes if isinstance(outcome, ENDINGS)]
    if told != ([] if ends is None else [ends]):
        wanted = "no terminal outcome" if ends is None else f"one terminal outcome, of task {ends}"
        raise StateError(
            f"these outcomes must hold {wanted}; they hold {len(told)}: {', '.join(told) or 'none'}"
        )
    rows = [(o.__struct_config__.tag, o.ts, msgspec.json.encode(o).decode()) for o in outcomes]
    db.executemany("INSERT INTO outcomes (type, ts, payload) VALUES (?, ?, ?)", rows)
    if rows:
        _prune(db)


def _prune(db: sqlite3.Connection) -> None:
    """Forget what every sink has acknowledged, except for the newest; and whatever is more than can be kept."""
    db.execute(
        "WITH newest (id) AS (SELECT max(id) FROM outcomes) DELETE FROM outcomes WHERE id <="
        " (SELECT max(min(id - ?, coalesce((SELECT min(outcome) FROM sinks), id)), id - ?) FROM newest)",
        (KEPT, MOST),
    )


def unsent(db: sqlite3.Connection, after_id: int, limit: int) -> tuple[OutcomeRow, ...]:
    """Return up to `limit` outcomes with a greater id than `after_id`, in order."""
    rows = db.execute("SELECT * FROM outcomes WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))
    return tuple(_outcome(row) for row in rows)


def is_kept(db: sqlite3.Connection, outcome: int) -> bool:
    """Say whether an outcome is still there, rather than forgotten since it was read."""
    return db.execute("SELECT 1 FROM outcomes WHERE id = ?", (outcome,)).fetchone() is not None


def _outcome(row: sqlite3.Row) -> OutcomeRow:
    event: dict[str, Any] = msgspec.json.decode(row["payload"])
    payload = {"type": row["type"], "id": row["id"]} | event
    return OutcomeRow(id=row["id"], type=row["type"], ts=row["ts"], payload=payload)


@atomic
def sink_cursor(db: sqlite3.Connection, name: str) -> int:
    """Return the last outcome that the sink has acknowledged; a new sink begins at 0 and gets all that is kept."""
    db.execute("INSERT INTO sinks VALUES (?, 0) ON CONFLICT DO NOTHING", (name,))
    (outcome,) = db.execute("SELECT outcome FROM sinks WHERE name = ?", (name,)).fetchone()
    return int(outcome)


@atomic
def advance_sink(db: sqlite3.Connection, name: str, outcome: int) -> bool:
    """Note that the sink has acknowledged everything up to `outcome`; a cursor never goes back.

    That something was forgotten is itself forgotten once every sink has heard it: then True.
    """
    sink_cursor(db, name)
    db.execute("UPDATE sinks SET outcome = max(outcome, ?) WHERE name = ?", (outcome, name))
    forgotten = db.execute(
        "DELETE FROM outcomes WHERE id = ? AND type = 'forgotten' AND id <= (SELECT min(outcome) FROM sinks)",
        (outcome,),
    )
    if forgotten.rowcount:
        note_residue(db)
    return forgotten.rowcount > 0


@atomic
def keep_sinks(db: sqlite3.Connection, names: Collection[str]) -> None:
    """Forget the cursors of sinks that are no longer there; outcomes would wait for them forever.

    That something was forgotten, which only they had not heard, is forgotten with them.
    """
    gone = {row["name"] for row in db.execute("SELECT name FROM sinks")} - set(names)
    db.executemany("DELETE FROM sinks WHERE name = ?", [(name,) for name in gone])
    told = "DELETE FROM outcomes WHERE type = 'forgotten' AND id <= (SELECT min(outcome) FROM sinks)"
    if db.execute(told).rowcount:
        note_residue(db)


def note_residue(db: sqlite3.Connection) -> None:
    """Note, in the transaction that forgets, that what it deletes may be read in the file until that is written anew."""
    db.execute("INSERT INTO residue VALUES (1) ON CONFLICT DO NOTHING")
