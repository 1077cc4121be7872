"""The ledger's word on the mode: what a person asked for last, until when, and what the configuration said then."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.policy.budget import Mode
from finetuned.service.clock import save_clock
from finetuned.service.ledger import atomic

if TYPE_CHECKING:
    import sqlite3

    from finetuned.service.clock import Reading

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A mode that was asked for, and for how many seconds; None: until it is changed."""

    mode: Mode
    for_s: float | None = None


@atomic
def keep_mode(db: sqlite3.Connection, wish: Wish, *, configured: Mode, clock: Reading) -> None:
    """Keep what is asked for from `clock` on, beside what the configuration says; it takes the place of what was.

    The clock is kept with it: a kill -9 makes a wish no longer.
    """
    until_s = None if wish.for_s is None else clock.lived_s + wish.for_s
    db.execute(
        "INSERT OR REPLACE INTO mode (id, mode, for_s, until_s, configured) VALUES (1, ?, ?, ?, ?)",
        (wish.mode, wish.for_s, until_s, configured),
    )
    save_clock(db, clock)


@atomic
def recall_mode(db: sqlite3.Connection, *, configured: Mode, lived_s: float) -> Wish | None:
    """Return what still holds of the last wish, None where the configuration counts; one that is over is `auto`.

    A wish of another configuration is forgotten: it must not come back when the file is changed back.
    """
    row = db.execute("SELECT mode, for_s, until_s, configured FROM mode").fetchone()
    if row is None:
        return None
    if row["configured"] != configured:
        log.warning(
            "[budget] mode is %s now, and was %s when the mode %s was asked for: the configuration counts",
            *(configured, row["configured"], row["mode"]),
        )
        db.execute("DELETE FROM mode")
        return None
    return _held(row, lived_s)


def _held(row: sqlite3.Row, lived_s: float) -> Wish | None:
    """Return the row's wish; None, and a word in the log, for a mode that never was."""
    if row["mode"] not in set(Mode):
        log.warning("the ledger's mode says what cannot be (%r): the configuration counts", row["mode"])
        return None
    mode = Mode(row["mode"])
    if row["until_s"] is None:
        return Wish(mode=mode)
    # Never for longer than was asked for, though a damaged clock have begun anew.
    left_s = min(row["until_s"] - lived_s, row["for_s"] or 0.0)
    return Wish(mode=mode, for_s=left_s) if left_s > 0 else Wish(mode=Mode.auto)
