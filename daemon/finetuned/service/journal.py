"""batch.json: what is left to do when the ledger has accepted a batch, so that a crash does not make it twice.

It is written before the ledger's transaction and names the time that the batch's outcomes carry: whether the ledger
has such outcomes tells, after a crash, whether the batch was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.claim import move_original, remove_original
from finetuned.service.ledger_samples import find_sample
from finetuned.service.messages import Value
from finetuned.service.watch import Found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_samples import SampleRow
    from finetuned.service.store import Store

NAME = "batch.json"


class Original(Value, frozen=True, kw_only=True):
    """A file of the inbox that is done with; `to`: it is moved there rather than removed."""

    path: bytes
    mode: int
    inode: int
    size: int
    mtime_ns: int
    to: bytes = b""


class Kept(Value, frozen=True, kw_only=True):
    """A sample, and where its content may lie now; one place must be left, the ledger's."""

    model: str
    user: str
    digest: str
    copies: tuple[str, ...]


class Journal(Value, frozen=True, kw_only=True):
    """What is left to do once the ledger has outcomes of the time `ts`."""

    ts: str
    samples: tuple[Kept, ...]
    originals: tuple[Original, ...]


def original(inbox: Path, found: Found, to: Path | None = None) -> Original:
    """Note a file of the inbox as it was found."""
    return Original(
        path=os.fsencode(found.path.relative_to(inbox)),
        mode=found.mode,
        inode=found.inode,
        size=found.size,
        mtime_ns=found.mtime_ns,
        to=os.fsencode(to) if to else b"",
    )


def write(store: Store, journal: Journal) -> None:
    """Write it, fsynced."""
    files.write_atomically(store.root / NAME, msgspec.json.encode(journal))


async def recover(inbox: Path, store: Store, ledger: Ledger) -> None:
    """Finish what a crash interrupted after the ledger's transaction; forget what it interrupted before."""
    path = store.root / NAME
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        journal = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=Journal)
        if await ledger.run(is_told, journal.ts):
            await finish(journal, inbox=inbox, store=store, ledger=ledger)
    for stray in (path, *await asyncio.to_thread(lambda: list(store.incoming.iterdir()))):
        await asyncio.to_thread(files.remove, stray)


def is_told(db: sqlite3.Connection, ts: str) -> bool:
    """Say whether the ledger has outcomes of a batch at this time."""
    query = "SELECT 1 FROM outcomes WHERE ts = ? AND type IN ('sampleAccepted', 'sampleRejected')"
    return db.execute(query, (ts,)).fetchone() is not None


async def finish(journal: Journal, *, inbox: Path, store: Store, ledger: Ledger) -> list[Original]:
    """Do what is left to do; return the originals that could not be removed."""
    rows = await ledger.run(find_samples, journal.samples)
    return await asyncio.to_thread(_tidy, journal, rows, inbox, store.root)


def find_samples(db: sqlite3.Connection, samples: Iterable[Kept]) -> list[SampleRow | None]:
    """Return the row of each sample."""
    return [find_sample(db, sample.model, sample.user, sample.digest) for sample in samples]


def _tidy(journal: Journal, rows: Iterable[SampleRow | None], inbox: Path, root: Path) -> list[Original]:
    for sample, row in zip(journal.samples, rows, strict=True):
        with contextlib.suppress(
            OSError, HostError
        ):  # a copy too many, or too few, is no reason to lose the rest
            if row:
                _put_right(root / row.path, [root / copy for copy in sample.copies])
    left = remove_originals(inbox, journal.originals)
    files.remove(root / NAME)
    return left


def _put_right(kept: Path, copies: Iterable[Path]) -> None:
    """Let the content lie at `kept`, where the ledger says, and nowhere else."""
    for copy in copies:
        if copy == kept or not copy.exists():
            continue
        if kept.exists():
            copy.unlink()
        else:
            files.move(copy, kept)


def remove_originals(inbox: Path, originals: Iterable[Original]) -> list[Original]:
    """Remove or move each original that nobody has touched; return those that resist."""
    left = []
    for original in originals:
        try:
            if original.to:
                move_original(inbox, found_of(inbox, original), Path(os.fsdecode(original.to)))
            else:
                remove_original(inbox, found_of(inbox, original))
        except OSError:
            left.append(original)
    return left


def found_of(inbox: Path, original: Original) -> Found:
    """Return a file of the inbox as it was found."""
    path = inbox / Path(os.fsdecode(original.path))
    return Found(path, original.mode, original.inode, original.size, original.mtime_ns)
