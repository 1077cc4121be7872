"""From an older schema to the newest: the statements that lead from each version to the next.

Each step is one transaction, `user_version` with it, so that a crash leaves the schema before or behind a step and never
one between.  Before the first step a copy of the whole ledger is laid aside: the way back, should a person want the older
finetuned again.  A step that was shipped is never edited; a new one goes behind it, and `ledger.sql` follows.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import zip_longest
from typing import TYPE_CHECKING

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.ledger_faults import remedy, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIGRATIONS: dict[int, str] = {
    1: """
        CREATE TABLE clock (
            id INTEGER PRIMARY KEY CHECK (id = 1), lived_s REAL NOT NULL, wall_s REAL NOT NULL,
            synchronised INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE checkpoints (
            task TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE, attempt INTEGER NOT NULL,
            step INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (task, attempt, step)
        ) STRICT, WITHOUT ROWID;
        ALTER TABLE samples ADD COLUMN accepted_s REAL NOT NULL DEFAULT 0;
        ALTER TABLE samples ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN fault TEXT NOT NULL DEFAULT '';
        ALTER TABLE tasks ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN adjustments TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE tasks ADD COLUMN created_s REAL NOT NULL DEFAULT 0;
        ALTER TABLE tasks ADD COLUMN started_s REAL;
        ALTER TABLE tasks ADD COLUMN ended_s REAL;
        ALTER TABLE versions ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;

        UPDATE samples SET seen = 1 WHERE id IN (SELECT sample FROM task_samples);
        UPDATE tasks SET held = 1
            WHERE state NOT IN ('completed', 'failed') AND 'user' IN (SELECT value FROM json_each(reasons));
        -- Whether a living task was last told to be paused: its outcomes know.
        UPDATE tasks SET paused = coalesce((
                SELECT type = 'paused' FROM outcomes
                WHERE type IN ('paused', 'resumed') AND json_extract(payload, '$.task') = tasks.id
                ORDER BY outcomes.id DESC LIMIT 1
            ), 0)
            WHERE state NOT IN ('completed', 'failed');
        -- Behind `seen`, which is drawn from them: what ended without a version needs its list of samples no longer.
        DELETE FROM task_samples
            WHERE task IN (SELECT id FROM tasks WHERE state IN ('completed', 'failed') AND version IS NULL);
    """,
    2: """
        CREATE TABLE mode (
            id INTEGER PRIMARY KEY CHECK (id = 1), mode TEXT NOT NULL, for_s REAL, until_s REAL,
            configured TEXT NOT NULL
        ) STRICT;
    """,
    3: """
        ALTER TABLE current ADD COLUMN previous INTEGER;
        CREATE TABLE forgotten (
            id INTEGER PRIMARY KEY, model TEXT NOT NULL, user TEXT NOT NULL, label TEXT NOT NULL, sample TEXT NOT NULL,
            samples INTEGER NOT NULL, versions INTEGER NOT NULL, paths TEXT NOT NULL
        ) STRICT;
        CREATE TABLE residue (id INTEGER PRIMARY KEY CHECK (id = 1)) STRICT;
    """,
}
"""By the version that it leads away from, to the next one."""

SCHEMA_VERSION = max(MIGRATIONS) + 1


def refuse_older_daemon(path: Path) -> None:
    """Refuse to change the ledger beneath a daemon that was started before finetuned was updated (HostError)."""
    lock = path.with_name("lock")
    with suppress(OSError, ValueError):
        pid = int(lock.read_text("ascii"))
        os.kill(pid, 0)  # most often nobody, or we ourselves: then the lock is not even tried
        if pid != os.getpid() and _is_held(lock):
            raise HostError(
                f"the ledger {path} is of an older finetuned, whose daemon still runs (pid {pid}): restart it first"
            )


def _is_held(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def migrate(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Lead the ledger at `path` from schema `version` to the newest, behind a copy of it as it was.

    HostError where the copy cannot be made, or a step would leave references that lead nowhere: then the ledger
    keeps the schema that it has.
    """
    lay_aside(db, path.with_name(f"{path.name}.v{version}"))
    for step in range(version, SCHEMA_VERSION):
        _take(db, step)


def lay_aside(db: sqlite3.Connection, first: Path) -> None:
    """Copy the ledger, with what its WAL holds, to `first`, whole and fsynced; what a failure leaves is removed again.

    A copy that is there already stays: where the newest holds the very same, that is enough, else a number is added.
    """
    number = _newest(first)
    if number and _same(db, _numbered(first, number)):
        return
    copy = _numbered(first, number + 1)
    temporary = files.aside(copy)
    with files.host_errors(f"copying the ledger to {copy}"), _copy_errors(copy), _removed_after(temporary):
        db.execute("VACUUM INTO ?", (str(temporary),))
        temporary.chmod(0o600)
        files.fsync_file(temporary)
        temporary.replace(copy)
        files.fsync_folder(copy.parent)


def _numbered(first: Path, number: int) -> Path:
    return first if number == 1 else first.with_name(f"{first.name}.{number}")


def _newest(first: Path) -> int:
    """Return the highest number of a copy, 0 where there is none: `ledger.db.v1` is the first, `….2` the second."""
    beginning = f"{first.name}."
    endings = (path.name.removeprefix(beginning) for path in first.parent.glob(f"{beginning}*"))
    return max((int(ending) for ending in endings if ending.isdecimal()), default=int(first.exists()))


def _same(db: sqlite3.Connection, copy: Path) -> bool:
    """Say whether both hold the same rows; a copy that cannot be read is another."""
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)) as old:
            return all(new == was for new, was in zip_longest(db.iterdump(), old.iterdump()))
    except (sqlite3.Error, UnicodeDecodeError):
        return False


@contextmanager
def _copy_errors(copy: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise HostError(
            f"copying the ledger to {copy} failed: {sentence(error)}; {remedy(error)}.  The ledger was not changed"
        ) from error


@contextmanager
def _removed_after(temporary: Path) -> Iterator[None]:
    """Begin and end without it, and without SQLite's journal of it: a full disk would stay full."""
    parts = (temporary, temporary.with_name(f"{temporary.name}-journal"))
    for part in parts:
        part.unlink(missing_ok=True)
    try:
        yield
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _take(db: sqlite3.Connection, step: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(MIGRATIONS[step]):
            db.execute(statement)
        _refuse_dangling(db, step)
        db.execute(f"PRAGMA user_version = {step + 1}")
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _refuse_dangling(db: sqlite3.Connection, step: int) -> None:
    if db.execute("PRAGMA foreign_key_check").fetchone():
        raise HostError(
            f"the ledger cannot be led from schema {step} to {step + 1}: references would be lost"
        )


def statements(script: str) -> Iterator[str]:
    """Cut a script into statements (`executescript` would commit the transaction that is open)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
