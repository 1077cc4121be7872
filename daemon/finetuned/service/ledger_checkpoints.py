"""The ledger's checkpoints: which files a living task may go on from.

A file that lies in a task's folder is nothing; what counts is what the attempt of the moment has told and the ledger knows.
The two newest are kept: the newer attempt's first, within an attempt the later one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.service.ledger import atomic
from finetuned.service.ledger_tasks import StaleError, get_task
from finetuned.service.messages import CheckpointRef

if TYPE_CHECKING:
    import sqlite3

KEPT = 2


@atomic
def record_checkpoint(
    db: sqlite3.Connection, task: str, attempt: int, checkpoint: CheckpointRef
) -> tuple[CheckpointRef, ...]:
    """Note a checkpoint, and return those that are no longer needed for it.

    StaleError where the attempt is an older one, or the task has ended.
    """
    row = get_task(db, task)
    if not row.alive or row.attempt != attempt:
        raise StaleError(f"attempt {attempt} of task {task} is over; its checkpoint does not count")
    db.execute(
        "INSERT OR REPLACE INTO checkpoints (task, attempt, step, path, sha256) VALUES (?, ?, ?, ?, ?)",
        (task, attempt, checkpoint.step, checkpoint.path, checkpoint.sha256),
    )
    old = list_checkpoints(db, task)[KEPT:]
    _forget(db, task, old)
    return old


@atomic
def refuse_checkpoints(
    db: sqlite3.Connection, task: str, attempt: int, *, step: int
) -> tuple[CheckpointRef, ...]:
    """Forget what an attempt that goes on from `step` could not use: the later ones of attempts before it."""
    if get_task(db, task).attempt != attempt:
        raise StaleError(f"attempt {attempt} of task {task} is over")
    rows = db.execute(
        "SELECT path, sha256, step FROM checkpoints WHERE task = ? AND attempt < ? AND step > ?",
        (task, attempt, step),
    )
    refused = tuple(CheckpointRef(**dict(row)) for row in rows)
    _forget(db, task, refused)
    return refused


def list_checkpoints(db: sqlite3.Connection, task: str) -> tuple[CheckpointRef, ...]:
    """Return a task's checkpoints, the newest first."""
    rows = db.execute(
        "SELECT path, sha256, step FROM checkpoints WHERE task = ? ORDER BY attempt DESC, step DESC", (task,)
    )
    return tuple(CheckpointRef(**dict(row)) for row in rows)


def known_checkpoints(db: sqlite3.Connection) -> tuple[tuple[str, str], ...]:
    """Return (task, path below its folder) of every checkpoint that is kept."""
    return tuple((row["task"], row["path"]) for row in db.execute("SELECT task, path FROM checkpoints"))


def _forget(db: sqlite3.Connection, task: str, checkpoints: tuple[CheckpointRef, ...]) -> None:
    keys = [(task, checkpoint.path) for checkpoint in checkpoints]
    db.executemany("DELETE FROM checkpoints WHERE (task, path) = (?, ?)", keys)
