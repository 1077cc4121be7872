"""A batch of claimed and decoded files becomes samples: files into place, one ledger transaction, originals gone.

The order, and what a crash after each step leaves:

1. decoded inputs into inputs.db               a cache, written again
2. copies into samples/ and rejected/          written again under the same names
3. batch.json: what step 5 has to do           thrown away, since the ledger has no outcome of its time
4. the ledger's transaction, with the outcomes step 5 is done at the next start
5. copies too many, originals, batch.json gone nothing is left to do

So nothing is lost, and nothing is told twice.  Where a power cut takes batch.json away, the ledger still knows
the originals of accepted samples by their `source`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Protocol

from finetuned import files
from finetuned.service import inputs
from finetuned.service.events import SampleAccepted, SampleRejected
from finetuned.service.journal import Journal, Kept, finish, original, write
from finetuned.service.ledger_samples import Kind, NewSample, accept_batch
from finetuned.service.names import REASON, SPARE, file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from finetuned.service.claim import Claim
    from finetuned.service.clock import Reading
    from finetuned.service.events import Outcome
    from finetuned.service.journal import Original
    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_samples import Acceptance
    from finetuned.service.messages import InputSpec, Undecodable
    from finetuned.service.places import Place
    from finetuned.service.store import Store
    from finetuned.service.watch import Found

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
class Twin:
    """A sample with the same content: its label, and its path relative to the state folder."""

    label: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A good file, to be kept at `path` (relative to the state folder); `twin` is there already, if any is."""

    found: Found
    place: Place
    claim: Claim
    path: str
    twin: Twin | None

    @property
    def known(self) -> bool:
        """Say whether the same content is a sample under the same label, so that this copy is not needed."""
        return self.twin is not None and self.twin.label == self.place.label


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

    def twin_of(self, place: Place, digest: str) -> Twin | None:
        """Return the same content as it has been taken into this batch, None where it has not."""
        twins = (
            Twin(label=item.place.label, path=item.path)
            for item in reversed(self.taken)
            if (item.place.model, item.place.user, item.claim.digest) == (place.model, place.user, digest)
        )
        return next(twins, None)

    @property
    def claims(self) -> list[Claim]:
        """All private copies."""
        refused = [item.claim for item in self.refused if item.claim]
        return [*(item.claim for item in self.taken), *refused]


class Decoding(Protocol):
    """What ingestion needs of `Decoders`."""

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes | Undecodable:
        """Return the raw array, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Where samples are worked on, and with what.

    `inbox` must be free of symbolic links; `node` is this machine's name in outcomes; `clock` says how old samples are.
    """

    inbox: Path
    store: Store
    ledger: Ledger
    decoders: Decoding
    node: str
    clock: Callable[[], Reading]


# ── the whole of it ─────────────────────────────────────────────────────────────────────────────
async def commit(bench: Workbench, batch: Batch, ts: str) -> tuple[tuple[Acceptance, ...], list[Original]]:
    """Make samples of a batch; `ts` is the time of its outcomes and no other batch's.

    Returns what became of each taken file, and the originals that could not be removed.
    Raises `HostError`; then the originals are all there still.
    """
    clock = bench.clock()
    samples = [new_sample(bench, item, ts, clock.lived_s) for item in batch.taken]
    journal = await asyncio.to_thread(_prepare, bench, batch, ts)
    acceptances = await bench.ledger.run(
        accept_batch,
        samples,
        tell=lambda acceptances: outcomes(batch, acceptances, bench.node, ts),
        clock=clock,
    )
    return acceptances, await finish(journal, inbox=bench.inbox, store=bench.store, ledger=bench.ledger)


def new_sample(bench: Workbench, item: Taken, ts: str, lived_s: float) -> NewSample:
    """Return the row that asks to be accepted."""
    return NewSample(
        model=item.place.model,
        user=item.place.user,
        digest=item.claim.digest,
        label=item.place.label,
        name=item.place.name,
        path=item.path,
        bytes=item.claim.size,
        held_out=False,  # settled when a task takes its samples (`making`)
        source=source_of(bench.inbox, item.found),
        accepted_at=ts,
        accepted_s=lived_s,
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
def _prepare(bench: Workbench, batch: Batch, ts: str) -> Journal:
    """Steps 1 to 3."""
    store = bench.store
    with files.host_errors("taking samples"):
        _keep_inputs(store, batch)
        targets = _rejected_paths(store, batch.refused)
        moves = {store.root / item.path: item.claim.copy for item in batch.taken if not item.known}
        moves |= {targets[item.found]: item.claim.copy for item in batch.refused if item.claim}
        _move_all(moves)
        # Behind the files: a reason that lies alone is somebody else's file, and stays.
        _explain(batch.refused, targets)
        everything: list[Taken | Refused] = [*batch.taken, *batch.refused]
        unread = {item.found: targets[item.found] for item in batch.refused if not item.claim}
        journal = Journal(
            ts=ts,
            samples=tuple(_kept(store.root, item) for item in batch.taken),
            originals=tuple(original(bench.inbox, item.found, unread.get(item.found)) for item in everything),
        )
        write(store, journal)
    return journal


def _explain(refused: Iterable[Refused], targets: Mapping[Found, Path]) -> None:
    """Write beside each refused file why it is none."""
    for item in refused:
        target = targets[item.found]
        files.make_folder(target.parent)
        _reason_of(target).write_text(f"{item.reason}\n", "utf-8")


def _kept(root: Path, item: Taken) -> Kept:
    own = str(item.claim.copy.relative_to(root)) if item.known else item.path
    copies = (own, item.twin.path) if item.twin else (own,)
    return Kept(model=item.place.model, user=item.place.user, digest=item.claim.digest, copies=copies)


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


def _rejected_paths(store: Store, refused: Iterable[Refused]) -> dict[Found, Path]:
    """Return where each refused file goes: under its own name, unless another file (or its reason) has it."""
    paths: dict[Found, Path] = {}
    taken: set[Path] = set()
    for item in refused:
        path = next(path for path in _candidates(store, item) if _is_free(path, item, taken))
        taken |= {path, _reason_of(path)}
        paths[item.found] = path
    return paths


def _candidates(store: Store, item: Refused) -> Iterator[Path]:
    place = item.place
    folder = store.rejected.joinpath(*filter(None, (place.model, place.user, place.folder)))
    mark = item.claim.digest[:12] if item.claim else str(item.found.inode)
    yield folder / file_name(place.name, "", spare=SPARE)
    for number in count():
        yield folder / file_name(place.name, f"{mark}-{number or ''}", spare=SPARE)


def _is_free(path: Path, item: Refused, taken: set[Path]) -> bool:
    """Say whether the file may lie there; the same content from before may be replaced by itself."""
    if taken.intersection({path, _reason_of(path)}):
        return False
    if not path.exists():
        return not _reason_of(path).exists()
    return item.claim is not None and path.is_file() and files.sha256_of(path) == item.claim.digest


def _reason_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{REASON}")


def discard(claims: Iterable[Claim]) -> None:
    """Remove private copies that nothing came of; what a broken disk keeps is swept at the next start."""
    for claim in claims:
        with contextlib.suppress(OSError):
            claim.copy.unlink(missing_ok=True)
