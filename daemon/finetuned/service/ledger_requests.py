"""The ledger's memory of requests: a repeat gets the first answer and does nothing.

A request is kept as begun before it is obeyed, so that one which a crash cut short is not obeyed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.service.ledger import atomic
from finetuned.service.stamps import seconds_of, timestamp

if TYPE_CHECKING:
    import sqlite3

BEGUN = ""
"""Instead of an answer, until there is one."""
REMEMBERED_S = 86_400
MOST = 10_000
"""So many answers are kept at most, however young they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered to a request; `response` is the payload as it was sent, or BEGUN."""

    verb: str
    response: str


@atomic
def remember(
    db: sqlite3.Connection, transaction_id: str, answer: Answer, *, at: str, synchronised: bool
) -> Answer:
    """Keep the answer for a day and return the one that counts: the first that is more than BEGUN.

    `synchronised`: whether `at` can be believed.  While it cannot, nothing is forgotten for its age, and what comes
    meanwhile has none: only the number of answers bounds it.
    """
    if synchronised:
        db.execute(
            "DELETE FROM transactions WHERE at != '' AND at < ?", (timestamp(seconds_of(at) - REMEMBERED_S),)
        )
    db.execute(
        "INSERT INTO transactions (id, verb, response, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET response = excluded.response WHERE response = ?",
        (transaction_id, answer.verb, answer.response, at if synchronised else "", BEGUN),
    )
    # In the order of their coming: rowid, not time.
    db.execute(
        "DELETE FROM transactions WHERE rowid <= (SELECT rowid FROM transactions ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
        (MOST,),
    )
    return recall(db, transaction_id) or answer


def recall(db: sqlite3.Connection, transaction_id: str) -> Answer | None:
    """Return what was answered to this request before, BEGUN where nothing was yet; None: it never came."""
    row = db.execute("SELECT verb, response FROM transactions WHERE id = ?", (transaction_id,)).fetchone()
    return row and Answer(**dict(row))
