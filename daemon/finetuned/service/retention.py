"""History is bounded: what nobody needs any more leaves the ledger and the disk, in an order that a crash cannot harm.

    kept                                            gone
    the newest versions of each model and user,     every other version: dropped in the ledger → folder → row
    the current one, what a rollback leads to, and
    what a living task started from
    the samples of tasks that saved those           the lists of samples of all others that have ended
    the newest 1000 ended tasks, those that a       every other task that has ended
    version or a sample names, and the last three
    of each model and user (the circuit breaker's)
    10,000 outcomes, more while a sink needs them   every other outcome, beyond 100,000 even those (`ledger_outcomes`)
    10,000 answers, for a day                       every other answer (`ledger_requests`)

The ledger's file does not shrink (no `auto_vacuum`: it would move pages at every commit); what is freed is used again, so
it stays as large as it has been at most.  Samples are the person's; they stay.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from finetuned.errors import HostError
from finetuned.policy.trigger import BREAKER
from finetuned.service.ledger import atomic
from finetuned.service.ledger_tasks import CANCELLED
from finetuned.service.ledger_versions import drop_versions, forget_versions, list_dropped
from finetuned.states import TERMINAL

if TYPE_CHECKING:
    import sqlite3

    from finetuned.service.desk import Desk
    from finetuned.service.store import Store

log = logging.getLogger(__name__)

TASKS = 1000
ENDED = tuple(str(state) for state in TERMINAL)


async def trim(desk: Desk, keep_versions: int) -> None:
    """Let go of what is more than is kept; a disk that refuses is said in the log, and the next call tries again."""
    try:
        await desk.ledger.run(trim_history, desk.store, keep_versions)
    except HostError as error:
        log.warning("history is longer than it should be: %s", error)


def trim_history(db: sqlite3.Connection, store: Store, keep_versions: int) -> None:
    """Do what `trim` says, on the ledger's thread: two at once would trip over each other's folders."""
    drop_versions(db, keep_versions)
    dropped = list_dropped(db)
    for row in dropped:
        store.drop_version(row.model, row.user, row.version)
    forget_versions(db, dropped)
    forget_tasks(db)


@atomic
def forget_tasks(db: sqlite3.Connection, keep: int = TASKS) -> None:
    """Forget what tasks that have ended leave: checkpoints, lists of samples, and all but the newest `keep` themselves.

    Newest in the order of their making (rowid), whatever the clock said then.
    """
    db.execute("DELETE FROM checkpoints WHERE task IN (SELECT id FROM tasks WHERE state IN (?, ?))", ENDED)
    db.execute(
        "DELETE FROM task_samples WHERE task IN"
        " (SELECT id FROM tasks WHERE state IN (?, ?) AND id NOT IN (SELECT task FROM versions))",
        ENDED,
    )
    db.execute(
        "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE state IN (?, ?) ORDER BY rowid DESC LIMIT -1 OFFSET ?)"
        " AND id NOT IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY model, user ORDER BY rowid DESC) AS age"
        " FROM tasks WHERE error != ?) WHERE age <= ?)"
        " AND id NOT IN (SELECT task FROM versions)"
        " AND id NOT IN (SELECT task FROM samples WHERE task IS NOT NULL)",
        (*ENDED, keep, CANCELLED, BREAKER),
    )
