"""A batch of claimed and decoded files becomes samples: files into place, one ledger transaction, originals gone.

The order, and what a crash after each step leaves:

1. decoded inputs into inputs.db               a cache, written again
2. copies into samples/ and rejected/          written again under the same names
3. batch.json: which originals this is about   thrown away, since the ledger does not know its time
4. the ledger's transaction, with the outcomes batch.json tells at the next start which originals are done with
5. originals removed, batch.json removed       nothing to do

So nothing is lost, and nothing is told twice.  Where a power cut takes batch.json away, the ledger still knows
the originals of accepted samples by their `source`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from finetuned.errors import HostError
from finetuned.service import files, inputs
from finetuned.service.claim import move_original, remove_original
from finetuned.service.events import SampleAccepted, SampleRejected
from finetuned.service.ledger_samples import Kind, NewSample, accept_batch
from finetuned.service.messages import Value
from finetuned.service.names import file_name
from finetuned.service.watch import Found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from finetuned.service.claim import Claim
    from finetuned.service.events import Outcome
    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_samples import Acceptance
    from finetuned.service.messages import InputSpec, Undecodable
    from finetuned.service.places import Place
    from finetuned.service.store import Store

JOURNAL = "batch.json"
DUPLICATE = "duplicate"
RELABELLED = "relabelled"
# What an acceptance says to the world; a leftover of a crash was told before.
TOLD: dict[Kind, tuple[type[SampleAccepted | SampleRejected], str]] = {
    Kind.accepted: (SampleAccepted, ""),
    Kind.relabelled: (SampleAccepted, RELABELLED),
    Kind.duplicate: (SampleRejected, DUPLICATE),
}


# ── values ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A good file; `known`: the same content lies in samples/ under the same label, so this copy is not needed."""

    found: Found
    place: Place
    claim: Claim
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A file that is no sample; without a `claim` it is moved as it is."""

    found: Found
    place: Place
    claim: Claim | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction is about; `inputs` are decoded arrays by (model, user, signature) and digest."""

    taken: list[Taken] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    inputs: dict[tuple[str, str, str], dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def size(self) -> int:
        """How many files it is about."""
        return len(self.taken) + len(self.refused)

    @property
    def input_bytes(self) -> int:
        """How much memory the decoded inputs take."""
        return sum(len(raw) for rows in self.inputs.values() for raw in rows.values())

    def label_of(self, place: Place, digest: str) -> str | None:
        """Return the label under which the same content has been taken into this batch, None where it has not."""
        labels = (
            item.place.label
            for item in reversed(self.taken)
            if (item.place.model, item.place.user, item.claim.digest) == (place.model, place.user, digest)
        )
        return next(labels, None)

    @property
    def claims(self) -> list[Claim]:
        """All private copies."""
        refused = [item.claim for item in self.refused if item.claim]
        return [*(item.claim for item in self.taken), *refused]


class Decoding(Protocol):
    """What ingestion needs of `Decoders`."""

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes | Undecodable:
        """Return the raw array, or why there is none."""


class Original(Value, frozen=True, kw_only=True):
    """A file of the inbox that is done with; `to`: it is moved there rather than removed."""

    path: bytes
    mode: int
    inode: int
    size: int
    mtime_ns: int
    to: bytes = b""


class Journal(Value, frozen=True, kw_only=True):
    """The originals of a batch whose outcomes carry the time `ts`."""

    ts: str
    originals: tuple[Original, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where samples are worked on, and with what.

    `inbox` must be free of symbolic links; `node` is this machine's name in outcomes; `holds_out` says by digest
    whether a new sample is held out.
    """

    inbox: Path
    store: Store
    ledger: Ledger
    decoders: Decoding
    node: str
    holds_out: Callable[[str], bool]


# ── the whole of it ─────────────────────────────────────────────────────────────────────────────
async def commit(desk: Desk, batch: Batch, ts: str) -> tuple[tuple[Acceptance, ...], list[Found]]:
    """Make samples of a batch; `ts` is the time of its outcomes and no other batch's.

    Returns what became of each taken file, and the originals that could not be removed.
    Raises `HostError`; then the originals are all there still.
    """
    samples = [new_sample(desk, item, ts) for item in batch.taken]
    journal = await asyncio.to_thread(_prepare, desk, batch, samples, ts)
    acceptances = await desk.ledger.run(
        accept_batch, samples, tell=lambda acceptances: outcomes(batch, acceptances, desk.node, ts)
    )
    copies = [
        item.claim.copy if item.known else desk.store.root / sample.path
        for item, sample in zip(batch.taken, samples, strict=True)
    ]
    left = await asyncio.to_thread(_finish, desk, copies, acceptances, journal)
    return acceptances, left


async def recover(desk: Desk) -> None:
    """Finish what a crash interrupted: remove the originals of the last batch if the ledger knows of it."""
    path = desk.store.root / JOURNAL
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        journal = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=Journal)
        if await desk.ledger.run(is_told, journal.ts):
            await asyncio.to_thread(_remove_originals, desk.inbox, journal)
    await asyncio.to_thread(files.remove, path)


def is_told(db: sqlite3.Connection, ts: str) -> bool:
    """Say whether the ledger has outcomes of a batch at this time."""
    query = "SELECT 1 FROM outcomes WHERE ts = ? AND type IN ('sampleAccepted', 'sampleRejected')"
    return db.execute(query, (ts,)).fetchone() is not None


def new_sample(desk: Desk, item: Taken, ts: str) -> NewSample:
    """Return the row that asks to be accepted."""
    place, digest = item.place, item.claim.digest
    return NewSample(
        model=place.model,
        user=place.user,
        digest=digest,
        label=place.label,
        name=place.name,
        path=desk.store.sample_path(
            model=place.model, user=place.user, label=place.label, digest=digest, name=place.name
        ),
        bytes=item.claim.size,
        held_out=desk.holds_out(digest),
        source=source_of(desk.inbox, item.found),
        accepted_at=ts,
    )


def source_of(inbox: Path, found: Found) -> str:
    """Name one very file of the inbox, and no other that comes to lie there later."""
    relative = os.fsencode(found.path.relative_to(inbox)).decode("utf-8", "backslashreplace")
    return f"{relative} {found.inode} {found.mtime_ns}"


# ── what is told ────────────────────────────────────────────────────────────────────────────────
def outcomes(batch: Batch, acceptances: Sequence[Acceptance], node: str, ts: str) -> list[Outcome]:
    """Tell a burst as one event per model, user, label and reason, with a count."""
    told = [
        (*TOLD[acceptance.kind], item.place)
        for item, acceptance in zip(batch.taken, acceptances, strict=True)
        if acceptance.kind in TOLD
    ]
    told += [(SampleRejected, item.reason, item.place) for item in batch.refused]
    groups: defaultdict[tuple[type[SampleAccepted | SampleRejected], str, str, str, str], list[str]]
    groups = defaultdict(list)
    for event, reason, place in told:
        groups[event, reason, place.model, place.user, place.label].append(place.name)
    return [
        event(
            ts=ts,
            node=node,
            model=model,
            user=user,
            label=label,
            name=names[-1],
            count=len(names),
            reason=reason,
        )
        for (event, reason, model, user, label), names in groups.items()
    ]


# ── before the transaction ──────────────────────────────────────────────────────────────────────
def _prepare(desk: Desk, batch: Batch, samples: Sequence[NewSample], ts: str) -> Journal:
    """Steps 1 to 3."""
    store = desk.store
    with files.host_errors("taking samples"):
        _keep_inputs(store, batch)
        moves = {
            store.root / sample.path: item.claim.copy
            for item, sample in zip(batch.taken, samples, strict=True)
            if not item.known
        }
        originals = [_original(desk.inbox, item.found) for item in batch.taken]
        for item in batch.refused:
            target = _rejected_path(store, item)
            files.make_folder(target.parent)
            target.with_name(f"{target.name}.txt").write_text(f"{item.reason}\n", "utf-8")
            if item.claim:
                moves[target] = item.claim.copy
            originals.append(_original(desk.inbox, item.found, None if item.claim else target))
        _move_all(moves)
        journal = Journal(ts=ts, originals=tuple(originals))
        files.write_atomically(store.root / JOURNAL, msgspec.json.encode(journal))
    return journal


def _keep_inputs(store: Store, batch: Batch) -> None:
    for (model, user, signature), rows in batch.inputs.items():
        path = store.inputs(model, user)
        files.make_folder(path.parent)
        with inputs.opened(path) as db:
            inputs.put_inputs(db, signature, rows.items())


def _move_all(moves: dict[Path, Path]) -> None:
    """Rename private copies into place; every folder is fsynced once."""
    for folder in {target.parent for target in moves}:
        files.make_folder(folder)
    for target, copy in moves.items():
        copy.replace(target)
    for folder in {target.parent for target in moves}:
        files.fsync_folder(folder)


def _rejected_path(store: Store, item: Refused) -> Path:
    """Return where a refused file goes: under its own name, unless another file has it."""
    place = item.place
    folder = store.rejected.joinpath(*filter(None, (place.model, place.user, place.folder)))
    target = folder / file_name(place.name, "")
    if not target.exists() or (item.claim and files.sha256_of(target) == item.claim.digest):
        return target
    return folder / file_name(place.name, f"{item.claim.digest[:12] if item.claim else item.found.inode}-")


def _original(inbox: Path, found: Found, to: Path | None = None) -> Original:
    return Original(
        path=os.fsencode(found.path.relative_to(inbox)),
        mode=found.mode,
        inode=found.inode,
        size=found.size,
        mtime_ns=found.mtime_ns,
        to=os.fsencode(to) if to else b"",
    )


# ── after the transaction ───────────────────────────────────────────────────────────────────────
def _finish(
    desk: Desk, copies: Iterable[Path], acceptances: Iterable[Acceptance], journal: Journal
) -> list[Found]:
    """Step 5; returns the originals that could not be removed."""
    root = desk.store.root
    for copy, acceptance in zip(copies, acceptances, strict=True):
        with contextlib.suppress(
            OSError, HostError
        ):  # a copy too many, or too few, is no reason to lose the rest
            _put_right(root, copy, acceptance)
    left = _remove_originals(desk.inbox, journal)
    files.remove(root / JOURNAL)
    return left


def _put_right(root: Path, copy: Path, acceptance: Acceptance) -> None:
    """Let exactly one file be there for what the ledger holds: at `row.path`."""
    kept = root / acceptance.row.path
    if not kept.exists():
        files.move(copy, kept)
    elif copy != kept:
        copy.unlink(missing_ok=True)
    if acceptance.moved_from and root / acceptance.moved_from != kept:
        (root / acceptance.moved_from).unlink(missing_ok=True)


def _remove_originals(inbox: Path, journal: Journal) -> list[Found]:
    """Remove or move each original that nobody has touched; return those that resist."""
    left = []
    for original in journal.originals:
        path = inbox / Path(os.fsdecode(original.path))
        found = Found(path, original.mode, original.inode, original.size, original.mtime_ns)
        try:
            if original.to:
                move_original(inbox, found, Path(os.fsdecode(original.to)))
            else:
                remove_original(inbox, found)
        except OSError:
            left.append(found)
    return left


def discard(claims: Iterable[Claim]) -> None:
    """Remove private copies that nothing came of."""
    for claim in claims:
        claim.copy.unlink(missing_ok=True)
