"""Breaking files: bits flipped, cut in half, emptied, overwritten."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

PAGE = 4096


def flip(data: bytes, rng: Random) -> bytes:
    """Return the data with three bits flipped."""
    broken = bytearray(data)
    for at in (rng.randrange(len(data)) for _ in range(3)) if data else ():
        broken[at] ^= 1 << rng.randrange(8)
    return bytes(broken)


def half(data: bytes, _: Random) -> bytes:
    """Return the first half."""
    return data[: len(data) // 2]


def empty(_data: bytes, _: Random) -> bytes:
    """Return nothing."""
    return b""


def overwritten(data: bytes, rng: Random) -> bytes:
    """Return the data with a page of noise in it."""
    start = rng.randrange(max(1, len(data) // PAGE)) * PAGE
    return data[:start] + rng.randbytes(min(PAGE, len(data))) + data[start + PAGE :]


WAYS: tuple[Callable[[bytes, Random], bytes], ...] = (flip, half, empty, overwritten)


def broken(path: Path, rng: Random) -> str:
    """Break a file in place, as a bad disk does; return how."""
    way = rng.choice(WAYS)
    _overwrite(path, way(path.read_bytes(), rng))
    return f"{path.name}: {way.__name__}"


@contextmanager
def restored(*paths: Path) -> Iterator[None]:
    """Put these files back as they were, in the end."""
    kept = {path: path.read_bytes() for path in paths if path.exists()}
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
        for path, data in kept.items():
            path.write_bytes(data)
            path.chmod(0o444 if path.suffix == ".mlmodel" else 0o600)


def broken_ledger(path: Path, rng: Random) -> str:
    """Break a ledger whose daemon is dead, so that SQLite's own check says so; return how.

    What lies in its log goes into the file before: of a log SQLite takes what is whole, and calls that sound.
    """
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    for way in rng.choices((overwritten, half), k=9):
        _overwrite(path, way(whole, rng))
        if not _is_sound(path):
            return f"{path.name}: {way.__name__}"
    return ""


def _is_sound(path: Path) -> bool:
    """Say whether SQLite finds nothing wrong with a copy of the database."""
    with tempfile.TemporaryDirectory() as folder:
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copyfile(file, Path(folder) / file.name)
        try:
            with closing(sqlite3.connect(Path(folder) / path.name)) as db:
                (said,) = db.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError:
            return False
        return bool(said == "ok")


def _overwrite(path: Path, data: bytes) -> None:
    """Change a file's content where it lies: the same inode, its mode regardless."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    path.chmod(mode)
