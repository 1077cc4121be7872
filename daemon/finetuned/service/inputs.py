"""`inputs.db`: the decoded inputs of a (model, user), and the frozen features computed from them.

A cache: whatever is in it can be made again from the samples and the model, so a damaged one is thrown away.  The
daemon writes inputs, the worker reads them and writes features; everything is raw bytes here, each with a seal behind it:
SQLite does not notice when the disk changes a number, and a task would train on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from typing import TYPE_CHECKING

from finetuned.errors import HostError
from finetuned.files import alone_in, host_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

BUSY_TIMEOUT_S = 30.0
SEAL = 8
"""Bytes of a digest that follow what is kept."""
FORMAT = 1
"""The `user_version` of a file whose rows are sealed; a file of another format is made anew."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS inputs (
    digest       TEXT NOT NULL,     -- SHA-256 of the sample's content
    signature    TEXT NOT NULL,     -- InputSpec.signature: what it was decoded to
    data         BLOB NOT NULL,
    PRIMARY KEY (digest, signature)
) STRICT;
CREATE TABLE IF NOT EXISTS features (
    digest       TEXT NOT NULL,
    model_digest TEXT NOT NULL,     -- SHA-256 of the model whose frozen part computed them
    data         BLOB NOT NULL,
    PRIMARY KEY (digest, model_digest)
) STRICT;
"""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, making it where there is none, anew where it is damaged; `HostError` where that cannot be."""
    db = _usable(path)
    try:
        yield db
    except sqlite3.OperationalError as error:
        raise HostError(f"{path.name} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a mistake in a query, not in the file
            raise
        discard(path)
        raise HostError(f"{path.name} was damaged ({error}) and will be made anew") from error
    finally:
        db.close()


def discard(path: Path) -> None:
    """Remove the database and what SQLite keeps beside it."""
    with host_errors(f"removing {path.name}"):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def put_inputs(db: sqlite3.Connection, signature: str, rows: Iterable[tuple[str, bytes]]) -> None:
    """Keep decoded inputs, (digest, data) each, in one transaction."""
    with db:
        db.executemany(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?)",
            ((d, signature, _sealed(raw)) for d, raw in rows),
        )


def missing_inputs(db: sqlite3.Connection, signature: str, digests: Iterable[str]) -> list[str]:
    """Return those of `digests`, in order, that are not there."""
    query = "SELECT 1 FROM inputs WHERE (digest, signature) = (?, ?)"
    return [digest for digest in digests if db.execute(query, (digest, signature)).fetchone() is None]


def read_inputs(db: sqlite3.Connection, signature: str, digests: Sequence[str]) -> Iterator[bytes]:
    """Yield the inputs of `digests` in order; `HostError` when one is missing or damaged.

    Damage comes in patches: whatever is damaged is missing from then on, so that all of it is made anew at once.
    """
    query = "SELECT data FROM inputs WHERE (digest, signature) = (?, ?)"
    for digest in digests:
        row = db.execute(query, (digest, signature)).fetchone()
        data = _whole(row[0]) if row else None
        if data is None:
            _forget_damaged(db)
            found = "damaged" if row else "missing"
            raise HostError(
                f"the decoded input {digest[:12]} ({signature}) is {found}; it is made anew for the next attempt"
            )
        yield data


def _forget_damaged(db: sqlite3.Connection) -> None:
    rows = db.execute("SELECT rowid, data FROM inputs")
    damaged = [(rowid,) for rowid, data in rows if _whole(data) is None]
    with db:
        db.executemany("DELETE FROM inputs WHERE rowid = ?", damaged)


def put_features(db: sqlite3.Connection, model_digest: str, rows: Iterable[tuple[str, bytes]]) -> None:
    """Keep frozen features, (digest, data) each, in one transaction."""
    with db:
        db.executemany(
            "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
            ((d, model_digest, _sealed(raw)) for d, raw in rows),
        )


def keep_features_of(db: sqlite3.Connection, model_digest: str) -> None:
    """Forget the features that other models, versions or threads have computed: nobody asks for them again."""
    with db:
        db.execute("DELETE FROM features WHERE model_digest != ?", (model_digest,))


def read_features(
    db: sqlite3.Connection, model_digest: str, digests: Sequence[str]
) -> Iterator[bytes | None]:
    """Yield the features of `digests` in order, None for one that is not there or is damaged."""
    for digest in digests:
        query = "SELECT data FROM features WHERE (digest, model_digest) = (?, ?)"
        row = db.execute(query, (digest, model_digest)).fetchone()
        yield row and _whole(row[0])


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()[:SEAL]


def _whole(sealed: bytes) -> bytes | None:
    """Return what is sealed, if the seal is that of it."""
    data = sealed[:-SEAL]
    return data if len(sealed) >= SEAL and sealed == _sealed(data) else None


def _usable(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except (
        sqlite3.OperationalError
    ) as error:  # locked, not writable, a full disk: nothing is wrong with the file
        raise HostError(f"{path.name} cannot be opened: {error}") from error
    except sqlite3.DatabaseError:
        discard(path)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    with alone_in(path.parent):
        return _connect_alone(path)


def _connect_alone(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _refuse_other_formats(db)
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA user_version = {FORMAT}")
    except BaseException:
        db.close()
        raise
    return db


def _refuse_other_formats(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and version != FORMAT:
        raise sqlite3.DatabaseError("its rows have no seals")
