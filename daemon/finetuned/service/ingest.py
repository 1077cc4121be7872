"""Ingestion: what is dropped into the inbox becomes samples, with nothing lost and nothing twice.

Theory of operation.  `Watch` finds files that have settled.  A file whose place means nothing (yet) waits where it
is; the others are claimed, decoded and, in batches of up to 256 files or 200 ms, committed.  There is one consumer,
so no file is handled twice at a time.  Whatever goes wrong with one file is told once and leaves it where it is; it
is tried again at the next scan.  Whatever goes wrong with the machine (a full disk, no decoder) ends the round, and
the next scan begins another.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections import Counter, deque
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from finetuned.errors import FinetunedError, HostError
from finetuned.files import host_errors, make_folder
from finetuned.service import batch, inputs
from finetuned.service.batch import Batch, Refused, Taken, Twin
from finetuned.service.cancellation import uninterrupted
from finetuned.service.claim import Changed, TooLargeError, claim
from finetuned.service.events import SampleRejected, SampleWaiting
from finetuned.service.journal import found_of, recover, remove_originals
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_samples import Kind, find_sample
from finetuned.service.messages import Undecodable
from finetuned.service.names import file_name
from finetuned.service.places import Waiting, classify, is_model
from finetuned.service.stamps import timestamp
from finetuned.service.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from finetuned.service.batch import Decoding, Workbench
    from finetuned.service.claim import Claim
    from finetuned.service.events import Outcome
    from finetuned.service.journal import Original
    from finetuned.service.ledger_samples import SampleRow
    from finetuned.service.messages import InputSpec
    from finetuned.service.places import Intake, Place
    from finetuned.service.store import Store
    from finetuned.service.watch import Found

BATCH_FILES = 256
BATCH_S = 0.2
BATCH_BYTES = 8 * 2**20  # of decoded inputs: they are held in memory until the commit
ENSURED_AT_ONCE = 32
WARNING_S = 60.0  # what has not gone wrong again for so long is over
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NEWS = frozenset({Kind.accepted, Kind.relabelled})

WaitingKey = tuple[str, str, str, str]  # model, user, label, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration's `[ingest]`; sizes in bytes."""

    users: bool = False
    settle_s: float = 1.0
    rescan_s: float = 30.0
    file_bytes: int = 64 * 2**20


class Listener(Protocol):
    """Who is told of what happened; nothing here may wait, except for `model_dropped`."""

    def accepted(self, model: str, user: str) -> None:
        """There are new samples."""

    def told(self) -> None:
        """The ledger has new outcomes."""

    def warned(self, warning: str) -> None:
        """Something went wrong, said once while it lasts."""

    async def model_dropped(self, found: Found) -> None:
        """A model lies in the inbox itself; it is for the listener to claim it and take it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The two times: `monotonic` for waiting, `utc` (seconds since 1970) for stamps."""

    monotonic: Callable[[], float]
    utc: Callable[[], float]


class Ingest:
    """The inbox's consumer; `intakes` says what each known model takes, or why it takes nothing.

    `closed` says why nothing at all is taken at present, or nothing; who opens it again asks for a `rescan`.
    """

    def __init__(
        self,
        bench: Workbench,
        settings: Settings,
        *,
        intakes: Callable[[], Mapping[str, Intake | str]],
        listener: Listener,
        clock: Clock,
    ) -> None:
        self.closed: Callable[[], str] = lambda: ""
        self.turn = asyncio.Lock()
        """Held while a batch is made: who holds it finds no sample half taken."""
        self._bench = bench
        self._settings = settings
        self._intakes = intakes
        self._listener = listener
        self._clock = clock
        self._watch = Watch(
            bench.inbox,
            settle_s=settings.settle_s,
            rescan_s=settings.rescan_s,
            monotonic=clock.monotonic,
            report=self._warn,
        )
        self._waiting: dict[Path, Waiting] = {}
        self._waiting_told: frozenset[WaitingKey] = frozenset()
        self._left: set[Found] = set()
        self._stuck: list[Original] = []
        self._warnings: dict[str, float] = {}
        self._next_prune = 0.0
        self._last_ms = 0

    @property
    def waiting(self) -> int:
        """How many files wait for their model or label to be known."""
        return len(self._waiting)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What goes wrong at present."""
        lasts = self._clock.monotonic() - max(WARNING_S, 2 * self._settings.rescan_s)
        return tuple(text for text, at in self._warnings.items() if at >= lasts)

    def rescan(self) -> None:
        """Look at everything again now: a model has come, there is room again, or somebody asked for it."""
        self._watch.rescan()

    async def run(self) -> None:
        """Take what comes, for ever."""
        await recover(self._bench.inbox, self._bench.store, self._bench.ledger)
        async with aclosing(self._watch.settled()) as rounds:
            async for files in rounds:
                await self._round(files)

    # ── one round ───────────────────────────────────────────────────────────────────────────────
    async def _round(self, files: Iterable[Found]) -> None:
        """Take what may be taken; what goes wrong with the machine ends the round, and a scan begins the next."""
        try:
            with host_errors("taking samples"):
                self._check_open()
                places = await self._sorted([found for found in files if found not in self._left])
                while places:
                    await self._batch(places)
                await self._prune()
                await self._tell_waiting()
        except HostError as error:
            self._warn(error)

    def _check_open(self) -> None:
        if why := self.closed():
            raise HostError(why)

    async def _sorted(self, files: Iterable[Found]) -> deque[tuple[Found, Place]]:
        """Return what may be taken; note what waits, hand over models, and report what is no file."""
        intakes = self._intakes()
        places: deque[tuple[Found, Place]] = deque()
        for found in files:
            relative = found.path.relative_to(self._bench.inbox)
            if not found.is_regular:
                await self._report_odd(found, classify(relative, intakes, users=self._settings.users))
            elif is_model(relative):
                await self._hand_over(found)
            elif isinstance(place := classify(relative, intakes, users=self._settings.users), Waiting):
                self._waiting[found.path] = place
            else:
                self._waiting.pop(found.path, None)
                places.append((found, place))
        return places

    async def _batch(self, places: deque[tuple[Found, Place]]) -> None:
        """Claim, decode and commit as many of `places` as make a batch."""
        gathered = Batch()
        async with self.turn:
            until = self._clock.monotonic() + BATCH_S
            try:
                while places and not (gathered.size and self._is_full(gathered, until)):
                    found, place = places.popleft()
                    if place.model in self._intakes():  # it may have been forgotten meanwhile
                        await self._add(gathered, found, place)
                if gathered.size:
                    await self._commit(gathered)
            finally:
                batch.discard(gathered.claims)

    def _is_full(self, gathered: Batch, until: float) -> bool:
        return (
            gathered.size >= BATCH_FILES
            or gathered.input_bytes >= BATCH_BYTES
            or self._clock.monotonic() >= until
        )

    async def _add(self, gathered: Batch, found: Found, place: Place) -> None:
        """Claim and decode one file; `HostError` where the disk is full or there is no decoder."""
        try:
            claimed = await asyncio.to_thread(
                claim, self._bench.inbox, found, self._bench.store.incoming, self._settings.file_bytes
            )
        except Changed:
            return  # it comes again when it has settled
        except TooLargeError as error:
            gathered.refused.append(Refused(found=found, place=place, claim=None, reason=str(error)))
            return
        except OSError as error:
            self._give_up(found, error)
            return
        try:
            await self._judge(gathered, found, place, claimed)
        except BaseException:
            batch.discard([claimed])
            raise

    async def _judge(self, gathered: Batch, found: Found, place: Place, claimed: Claim) -> None:
        """Decode a claimed file, unless the same content has been accepted before."""
        twin = gathered.twin_of(place, claimed.digest) or await self._twin(place, claimed.digest)
        if twin is None:
            raw = await self._bench.decoders.decode(claimed.copy, place.name, place.want)
            if isinstance(raw, Undecodable):
                gathered.refused.append(Refused(found=found, place=place, claim=claimed, reason=raw.reason))
                return
            gathered.inputs[place.model, place.user, place.want.signature][claimed.digest] = raw
        path = self._bench.store.sample_path(
            model=place.model, user=place.user, label=place.label, digest=claimed.digest, name=place.name
        )
        gathered.taken.append(Taken(found=found, place=place, claim=claimed, path=path, twin=twin))

    async def _twin(self, place: Place, digest: str) -> Twin | None:
        """Return the sample that has this content already."""
        there = await self._bench.ledger.run(find_sample, place.model, place.user, digest)
        return Twin(label=there.label, path=there.path) if there else None

    async def _commit(self, gathered: Batch) -> None:
        acceptances, left = await batch.commit(self._bench, gathered, self._stamp())
        self._stuck += left
        for found in (found_of(self._bench.inbox, original) for original in left):
            self._left.add(found)
            self._warn(HostError(f"{_shown(found.path)} was taken, but cannot be removed from the inbox"))
        self._listener.told()
        news = {(item.row.model, item.row.user) for item in acceptances if item.kind in NEWS}
        for model, user in sorted(news):
            self._listener.accepted(model, user)

    # ── what is not taken ───────────────────────────────────────────────────────────────────────
    async def _hand_over(self, found: Found) -> None:
        try:
            with host_errors(f"taking {_shown(found.path)}"):
                await self._listener.model_dropped(found)
        except FinetunedError as error:
            self._warn(error)

    async def _report_odd(self, found: Found, place: Place | Waiting) -> None:
        """Tell once of a link, a pipe or a device; it stays where it is."""
        self._left.add(found)
        kind = "a symbolic link" if stat.S_ISLNK(found.mode) else "not a regular file"
        event = SampleRejected(
            ts=self._stamp(),
            node=self._bench.node,
            model=place.model,
            user=place.user,
            label=place.label,
            name=place.name,
            reason=f"{kind}; it is left in the inbox",
        )
        await self._append([event])

    async def _tell_waiting(self) -> None:
        """Tell of each model and label that files have begun to wait for, once."""
        counts: Counter[WaitingKey] = Counter()
        names: dict[WaitingKey, str] = {}
        for waiting in self._waiting.values():
            key = (waiting.model, waiting.user, waiting.label, waiting.reason)
            counts[key] += 1
            names[key] = waiting.name
        news = [key for key in counts if key not in self._waiting_told]
        self._waiting_told = frozenset(counts)
        await self._append([self._waiting_event(key, names[key], counts[key]) for key in news])

    def _waiting_event(self, key: WaitingKey, name: str, count: int) -> SampleWaiting:
        model, user, label, reason = key
        return SampleWaiting(
            ts=self._stamp(),
            node=self._bench.node,
            model=model,
            user=user,
            label=label,
            name=name,
            count=count,
            reason=reason,
        )

    async def _append(self, events: Sequence[Outcome]) -> None:
        if events:
            await self._bench.ledger.run(append_outcomes, events)
            self._listener.told()

    async def _prune(self) -> None:
        """Try again, now and then, to remove what was taken; forget files that waited or were left and are gone."""
        now = self._clock.monotonic()
        if now < self._next_prune:
            return
        self._next_prune = now + self._settings.rescan_s
        self._stuck = await asyncio.to_thread(remove_originals, self._bench.inbox, self._stuck)
        paths = [*self._waiting, *(found.path for found in self._left)]
        gone = await asyncio.to_thread(lambda: {path for path in paths if not os.path.lexists(path)})
        self._waiting = {path: waiting for path, waiting in self._waiting.items() if path not in gone}
        self._left = {found for found in self._left if found.path not in gone}

    # ── what goes wrong ─────────────────────────────────────────────────────────────────────────
    def _give_up(self, found: Found, error: OSError) -> None:
        """Leave a file where it is until the next scan; a full disk ends the round."""
        if error.errno in FULL:
            raise HostError("the disk is full: nothing is taken until there is space again") from error
        self._warn(HostError(f"{_shown(found.path)} cannot be taken: {error.strerror}"))

    def _warn(self, error: Exception) -> None:
        """Say it, unless it has been said and still lasts."""
        text = _in_words(error)
        lasting = text in self.warnings
        self._warnings = {known: self._warnings[known] for known in self.warnings}
        self._warnings[text] = self._clock.monotonic()
        if not lasting:
            self._listener.warned(text)

    def _stamp(self) -> str:
        """Return the time, never the same twice: a batch is told by it."""
        self._last_ms = max(int(self._clock.utc() * 1000), self._last_ms + 1)
        return timestamp((self._last_ms + 0.5) / 1000)


# ── before a task ───────────────────────────────────────────────────────────────────────────────
async def ensure_inputs(
    store: Store, decoders: Decoding, samples: Sequence[SampleRow], want: InputSpec
) -> dict[str, str]:
    """Decode those of `samples` (of one model and user) again that inputs.db has no decoded input of.

    Returns why, by digest, where a kept original is no longer a sample; `HostError` where the machine refuses.
    """
    reasons: dict[str, str] = {}
    if not samples:
        return reasons
    path = store.inputs(samples[0].model, samples[0].user)
    digests = [row.digest for row in samples]
    # Not left to a thread that nobody waits for: it might write of what has been forgotten by then.
    missing = set(await uninterrupted(asyncio.to_thread(_missing, path, want.signature, digests)))
    rows: dict[str, bytes] = {}
    for row in samples:
        if row.digest in missing:
            raw = await decoders.decode(store.root / row.path, row.name, want)
            if isinstance(raw, Undecodable):
                reasons[row.digest] = raw.reason
            else:
                rows[row.digest] = raw
        if len(rows) >= ENSURED_AT_ONCE:
            await uninterrupted(asyncio.to_thread(_put, path, want.signature, rows))
            rows = {}
    await uninterrupted(asyncio.to_thread(_put, path, want.signature, rows))
    return reasons


def _missing(path: Path, signature: str, digests: Sequence[str]) -> list[str]:
    make_folder(path.parent)
    with inputs.opened(path) as db:
        return inputs.missing_inputs(db, signature, digests)


def _put(path: Path, signature: str, rows: Mapping[str, bytes]) -> None:
    with inputs.opened(path) as db:
        inputs.put_inputs(db, signature, rows.items())


def _in_words(error: Exception) -> str:
    """Say what went wrong by the name of the file or folder: where it lies is nobody's business."""
    if isinstance(error, OSError) and error.strerror:
        return f"{_shown(os.fsdecode(error.filename or 'inbox'))} cannot be read: {error.strerror}"
    return str(error)


def _shown(path: str | PurePath) -> str:
    return file_name(PurePath(path).name, "")
