"""Is the ledger's file whole?  Where it is not: a copy aside of all that there is, and a refusal that says what to do.

A broken ledger is never opened for writing: what SQLite would do to it (fold the WAL in, use a page twice) might be what
makes it unreadable to those who could still save it.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NoReturn

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.ledger_faults import is_damage, sentence
from finetuned.service.ledger_migrations import SCHEMA_VERSION
from finetuned.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE, LOG, INDEX = "", "-wal", "-shm"
TOLD = 3
CHECKS = {
    "tasks": ("state", tuple(str(state) for state in TaskState)),
    "clock": ("id", (1,)),
    "residue": ("id", (1,)),
    "mode": ("id", (1,)),
}
"""The schema's CHECKs, by table: the column, and what may stand in it.

Where a file is opened to be read only, SQLite leaves CHECK constraints out of its own `integrity_check`; opened to be
written, it would fold the WAL in as soon as it is closed again.
"""


def check(path: Path) -> None:
    """Raise HostError where the ledger at `path` is damaged, or refers to what is not there.

    It is read only.  What keeps it from being read at all, short of damage, is left to whoever opens it next.
    """
    try:
        found = _found(path)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if not is_damage(error):
            return
        found = [sentence(error)]
    if found:
        _refuse(path, found)


def _found(path: Path) -> list[str]:
    """Return what SQLite finds wrong, a sentence each, at most a few."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db, _one_moment(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        rows = db.execute(f"PRAGMA integrity_check({TOLD})").fetchall()
        damage = [str(sentence) for (sentence,) in rows if sentence != "ok"]
        if damage or not 0 < version <= SCHEMA_VERSION:
            return damage
        _read_all(db)
        return [*_dangling(db), *_forbidden(db)][:TOLD]


@contextmanager
def _one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Read all from one snapshot: a command may write meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.rollback()


def _tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]


def _read_all(db: sqlite3.Connection) -> None:
    """Read every value once, the schema's too: text that is no UTF-8 raises."""
    for table in ("sqlite_schema", *_tables(db)):
        for _ in db.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - the ledger's own names
            pass


def _forbidden(db: sqlite3.Connection) -> Iterator[str]:
    """Tell of values that the schema's CHECKs do not allow."""
    for table in sorted(CHECKS.keys() & set(_tables(db))):  # an older schema has not all of them
        column, allowed = CHECKS[table]
        places = ", ".join("?" * len(allowed))
        query = f"SELECT {column} FROM {table} WHERE {column} NOT IN ({places})"  # noqa: S608 - our own names
        for (value,) in db.execute(query, allowed).fetchmany(TOLD):
            yield f"{value!r} is no {column} of {table}"


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
