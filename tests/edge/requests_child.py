"""A process that obeys a request and dies where it is told to: `ROOT` is for the folders, as for `service.store_child`.

Version 3 is in use, and 2 was before it; the request is a rollback.  In ROOT/1, ROOT/2 … the process is gone just before
its 1st, 2nd … step that reaches the disk, until one gets through.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from finetuned.edge.requests import Desk, Memory
from finetuned.service.ledger import opened
from finetuned.service.ledger_requests import Answer, recall, remember
from finetuned.service.ledger_versions import roll_back, rollback_target
from ledgers import an_outcome, at, with_history
from service.store_child import Fuse, die_at_every_step

if TYPE_CHECKING:
    import sqlite3

    from finetuned.service.store import Store

PAIR = ("gestures", "")
ASKED = b'{"transaction": "a"}'


def ask(db: sqlite3.Connection) -> bytes:
    """Ask a daemon for a rollback that has nothing but this ledger."""

    async def obey(_: str, __: dict[str, Any]) -> dict[str, int]:
        change = roll_back(db, PAIR, rollback_target(db, PAIR), tell=lambda _: an_outcome())
        return {"version": change.version}

    async def known(transaction: str) -> Answer | None:
        return recall(db, transaction)

    async def keep(transaction: str, answer: Answer) -> Answer:
        return remember(db, transaction, answer, at=at(0), synchronised=True)

    desk = Desk(allow=("rollback",), handler=obey, memory=Memory(recall=known, remember=keep))
    return asyncio.run(desk.answer("rollback", ASKED, retained=False))


def roll(store: Store, fuse: Fuse) -> None:
    """Go back from version 3 to 2."""
    store.prepare()
    with opened(store.ledger) as db:
        with_history(db, store, parents=(0, 1, 2), promoted=(1, 2, 3))
        fuse.arm(db)
        ask(db)


if __name__ == "__main__":
    die_at_every_step(Path(sys.argv[1]), roll)
