"""What the ledger knows for the queue: who was served when, and whom this machine has failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import HostError
from finetuned.service.ledger_tasks import ALIVE, CANCELLED

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The last tasks of a (model, user), so many in a row, failed by the machine's fault; the last one then, for that."""

    failures: int
    ended_s: float
    error: str


def turns(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return, by (model, user), the turn in which a task of theirs was last started."""
    rows = db.execute("SELECT model, user, max(turn) AS turn FROM tasks GROUP BY model, user")
    return {(row["model"], row["user"]): row["turn"] for row in rows}


def troubles(db: sqlite3.Connection) -> dict[tuple[str, str], Trouble]:
    """Return, by (model, user), the failures in a row that the machine is to blame for; a cancel is no end to them."""
    found: dict[tuple[str, str], Trouble] = {}
    over: set[tuple[str, str]] = set()
    rows = db.execute(
        "SELECT model, user, fault, error, ended_s FROM tasks WHERE state NOT IN (?, ?, ?) AND error != ?"
        " ORDER BY coalesce(ended_s, 0) DESC, id DESC",
        (*ALIVE, CANCELLED),
    )
    for row in rows:
        pair = (row["model"], row["user"])
        if pair in over:
            continue
        if row["fault"] != HostError.fault:
            over.add(pair)
            continue
        last = found.get(pair)
        found[pair] = Trouble(
            failures=last.failures + 1 if last else 1,
            ended_s=last.ended_s if last else row["ended_s"] or 0.0,
            error=last.error if last else row["error"],
        )
    return found
