"""What the ledger knows for the queue: who was served when, and whose tasks fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from finetuned.service.ledger_tasks import ALIVE, CANCELLED
from finetuned.states import TaskState

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The last tasks of a (model, user), so many in a row, failed; the last one then, for that, and whose fault it was."""

    failures: int
    ended_s: float
    error: str
    fault: str


def turns(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return, by (model, user), the turn in which a task of theirs was last started."""
    rows = db.execute("SELECT model, user, max(turn) AS turn FROM tasks GROUP BY model, user")
    return {(row["model"], row["user"]): row["turn"] for row in rows}


def troubles(db: sqlite3.Connection) -> dict[tuple[str, str], Trouble]:
    """Return, by (model, user), the failures since a task last completed; a cancel is none, and no end to them."""
    found: dict[tuple[str, str], Trouble] = {}
    over: set[tuple[str, str]] = set()
    rows = db.execute(
        "SELECT model, user, state, fault, error, ended_s FROM tasks WHERE state NOT IN (?, ?, ?) AND error != ?"
        " ORDER BY coalesce(ended_s, 0) DESC, rowid DESC",
        (*ALIVE, CANCELLED),
    )
    for row in rows:
        pair = (row["model"], row["user"])
        if row["state"] == TaskState.completed:
            over.add(pair)
        elif pair in found and pair not in over:
            found[pair] = replace(found[pair], failures=found[pair].failures + 1)
        elif pair not in over:
            ended_s = row["ended_s"] or 0.0
            found[pair] = Trouble(failures=1, ended_s=ended_s, error=row["error"], fault=row["fault"])
    return found
