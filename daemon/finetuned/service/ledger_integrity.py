"""Is the ledger's file whole?  Where it is not: a copy aside of all that there is, and a refusal that says what to do.

A broken ledger is never opened for writing: what SQLite would do to it (fold the WAL in, use a page twice) might be what
makes it unreadable to those who could still save it.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from finetuned import files
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE, LOG, INDEX = "", "-wal", "-shm"
BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
TOLD = 3


def check(path: Path) -> None:
    """Raise HostError where the ledger at `path` is damaged, or refers to what is not there.

    It is read only.  What keeps it from being read at all, short of damage, is left to whoever opens it next.
    """
    try:
        found = _found(path)
    except sqlite3.DatabaseError as error:
        if not getattr(error, "sqlite_errorname", "").startswith(BROKEN):
            return
        found = [str(error)]
    if found:
        _refuse(path, found)


def _found(path: Path) -> list[str]:
    """Return what SQLite finds wrong, a sentence each, at most a few."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        rows = db.execute(f"PRAGMA integrity_check({TOLD})").fetchall()
        damage = [str(sentence) for (sentence,) in rows if sentence != "ok"]
        return damage or (list(_dangling(db)) if version else [])


def _dangling(db: sqlite3.Connection) -> Iterator[str]:
    for table, row, referred, _ in db.execute("PRAGMA foreign_key_check").fetchmany(TOLD):
        which = "a row" if row is None else f"row {row}"
        yield f"{which} of {table} refers to one of {referred} that is not there"


def _refuse(path: Path, found: list[str]) -> NoReturn:
    raise HostError(
        f"the ledger {path} is broken ({'; '.join(found)}); {_keep(path)}.  Put a backup in its place, or begin anew with "
        "the samples and models, which lie beside it as files: docs/ledger.md says how"
    )


def _keep(path: Path) -> str:
    """Lay a copy aside, once of the same content, and say where it is; a disk that refuses is said, too."""
    try:
        copy = path.with_name(f"{path.name}.broken-{_digest(path)[:8]}")
        if not copy.exists():
            _copy(path, copy)
    except OSError as error:
        return f"nothing was changed, but no copy of it could be made: {error.strerror or error}"
    return f"nothing was changed, and a copy of it lies in {copy}"


def _digest(path: Path) -> str:
    """Return the SHA-256 of database and WAL, in hex."""
    digest = hashlib.sha256()
    for part in (DATABASE, LOG):
        if (source := _part(path, part)).exists():
            with source.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)
    return digest.hexdigest()


def _copy(path: Path, copy: Path) -> None:
    """Copy all parts; what a full disk leaves of them is removed again."""
    temporary = files.aside(copy)
    try:
        for part in _parts(path):
            shutil.copyfile(_part(path, part), temporary)
            temporary.chmod(0o600)
            files.fsync_file(temporary)
            temporary.replace(_part(copy, part))
        files.fsync_folder(copy.parent)
    except OSError:
        for stray in (temporary, *(_part(copy, part) for part in (LOG, INDEX, DATABASE))):
            stray.unlink(missing_ok=True)
        raise


def _parts(path: Path) -> tuple[str, ...]:
    """Return what a ledger consists of, the database itself last: where its copy lies, the others lie too."""
    log = _part(path, LOG)
    if not log.exists() or not log.stat().st_size:
        return (DATABASE,)
    return (LOG, *([INDEX] if _part(path, INDEX).exists() else []), DATABASE)


def _part(path: Path, part: str) -> Path:
    return path.with_name(path.name + part)
