"""What the ledger holds of each (model, user): of one by its indexes alone, of all of a model in the same four queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

# Between a name and itself is that user; between these two is everybody: to SQLite every text stands before every blob.
EVERYBODY: tuple[str, bytes] = ("", b"")

SAMPLES = (
    "SELECT user, label, count(*) FROM samples WHERE model = ? AND user BETWEEN ? AND ?"
    " GROUP BY user, label ORDER BY user, min(id)"
)
# Beside a maximum SQLite gives the other columns of its row.
NEWEST = (
    "SELECT user, max(version), card FROM versions"
    " WHERE model = ? AND user BETWEEN ? AND ? AND NOT dropped GROUP BY user"
)
# CROSS JOIN: what is current is looked up first, so no other version's card is read.
CURRENT = (
    "SELECT user, version, card FROM current CROSS JOIN versions USING (model, user, version)"
    " WHERE model = ? AND user BETWEEN ? AND ?"
)
# The states stand here as in ledger.sql: with others, or as parameters, the index `tasks_one_alive` would not be used.
ALIVE = (
    "SELECT user, id FROM tasks WHERE model = ? AND user BETWEEN ? AND ?"
    " AND state IN ('suspended', 'running', 'cancelling')"
)


@dataclass(slots=True, kw_only=True)
class Pair:
    """A model and user; `newest` version 0: none, `current` None: the base; `card` is of the current, `newest_card` of the newest."""

    user: str
    samples: dict[str, int] = field(default_factory=dict)
    newest: int = 0
    newest_card: str | None = None
    current: int | None = None
    card: str | None = None
    task: str | None = None


def get_pair(db: sqlite3.Connection, model: str, user: str) -> Pair:
    """Return what there is of one user's model, which may be nothing."""
    pair = Pair(user=user)
    _fill(db, {user: pair}, (model, user, user))
    return pair


def list_pairs(db: sqlite3.Connection, model: str) -> list[Pair]:
    """Return, by user, those that have samples, versions or a task of this model, and nobody in particular."""
    pairs = {"": Pair(user="")}
    _fill(db, pairs, (model, *EVERYBODY))
    return [pairs[user] for user in sorted(pairs)]


def _fill(db: sqlite3.Connection, pairs: dict[str, Pair], key: tuple[str, str | bytes, str | bytes]) -> None:
    def rows(query: str) -> Iterator[tuple[Pair, sqlite3.Row]]:
        for row in db.execute(query, key):
            yield pairs.setdefault(row["user"], Pair(user=row["user"])), row

    for pair, (_, label, count) in rows(SAMPLES):
        pair.samples[label] = count
    for pair, (_, newest, card) in rows(NEWEST):
        pair.newest, pair.newest_card = newest, card
    for pair, (_, version, card) in rows(CURRENT):
        pair.current, pair.card = version, card
    for pair, (_, task) in rows(ALIVE):
        pair.task = task
