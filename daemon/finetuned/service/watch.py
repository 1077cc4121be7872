"""Watching a folder without losing a file: inotify hints, scanning tells.

Theory of operation.  Bare inotify loses files: those dropped into a folder before its watch is set, whole trees
renamed in, everything after a queue overflow, without an error.  So an event is only a hint to look: at a file, or at
a folder, now and once more after a second.  The whole folder is read when the watch is open, every `rescan_s`, and
after every error; where there is no inotify (no watches left, a network mount), often.  A file has settled when its
inode, size and mtime stood still for `settle_s`; then it is passed on.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import stat
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

from finetuned.errors import HostError
from finetuned.service.places import is_unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

POLL_S = 2.0  # between scans where there is no inotify
AGAIN_S = 1.0  # after which a folder that was hinted at is read once more
FORCE_POLLING = "WATCHFILES_FORCE_POLLING"
STEP_MS = 400  # how often the watch is asked: every wake-up of an idle daemon costs a tenth of a millisecond
MAX_DEPTH = 32  # of folders below one that is looked at
MAX_HINTS = 10_000  # more, and the whole folder is read instead


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was seen; two sightings are equal when nothing has touched it in between."""

    path: Path
    mode: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> Found:
        """Return what a stat (or lstat) says."""
        return cls(path, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def is_regular(self) -> bool:
        """No link, pipe, socket or device."""
        return stat.S_ISREG(self.mode)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
def scan(folder: Path, report: Callable[[OSError], None]) -> Iterator[Found]:
    """Yield every finished file below `folder`; no link is followed, what cannot be read is reported.

    A folder that is nested too deep for a path to be opened is left alone, and reported.
    """
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        for path, status in _entries(here, report):
            if not stat.S_ISDIR(status.st_mode):
                yield Found.of(path, status)
            elif depth < MAX_DEPTH:
                waiting.append((path, depth + 1))
            else:
                report(OSError(errno.ELOOP, f"folders are nested more than {MAX_DEPTH} deep", path.name))


def _entries(folder: Path, report: Callable[[OSError], None]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what lies in a folder; what is gone already is left out."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        report(error)
        return
    for name in names:
        if not is_unfinished(name) and (status := _status(folder / name, report)):
            yield folder / name, status


def _status(path: Path, report: Callable[[OSError], None]) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        report(error)
        return None


def look(path: Path, report: Callable[[OSError], None]) -> Iterator[Found]:
    """Yield the file at `path`, or what is below it; nothing when it is gone already."""
    status = _status(path, report)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        yield from scan(path, report)
    else:
        yield Found.of(path, status)


class Settling:
    """The files that were seen, and since when they stand still; times are the caller's."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[Path, tuple[Found, float]] = {}

    def see(self, files: Iterable[Found], now: float) -> None:
        """Note sightings; a file that has changed begins anew."""
        for found in files:
            before = self._seen.get(found.path)
            if before is None or before[0] != found:
                self._seen[found.path] = (found, now)

    def due(self, now: float) -> list[Found]:
        """Return and forget those that have stood still for long enough."""
        settled = [found for found, since in self._seen.values() if since + self._settle_s <= now]
        for found in settled:
            del self._seen[found.path]
        return settled

    @property
    def next(self) -> float:
        """When the next one is due."""
        return min((since for _, since in self._seen.values()), default=math.inf) + self._settle_s


# ── hints ───────────────────────────────────────────────────────────────────────────────────────
async def hints(root: Path, report: Callable[[Exception], None]) -> AsyncGenerator[frozenset[Path] | None]:
    """Yield the paths that something happened to, or None: anything may have happened, look everywhere.

    The first None comes when the watch is open.  Without inotify only None comes, every two seconds.
    """
    while True:
        if FORCE_POLLING not in os.environ:
            try:
                async with aclosing(_inotify(root)) as changes:
                    async for paths in changes:
                        yield paths
            except (OSError, RuntimeError) as error:  # no folder, no watches left, or watchfiles' own
                report(_unwatchable(error))
            except (
                ExceptionGroup
            ) as group:  # the same while it waits; a name that is no UTF-8 is enough for that
                for fault in group.exceptions:
                    report(_unwatchable(fault))
        yield None
        await asyncio.sleep(POLL_S)


def _unwatchable(error: Exception) -> HostError:
    """Say what is wrong without watchfiles' list of paths."""
    return HostError(f"the inbox cannot be watched: {str(error).partition(' about [')[0]}")


async def _inotify(root: Path) -> AsyncGenerator[frozenset[Path] | None]:
    """Yield hints until the root itself is touched: it may be another folder then, which needs another watch."""
    # ignore_permission_denied would swallow "no watches left" and a missing root, too, and then hear nothing.
    changes = awatch(root, watch_filter=None, step=STEP_MS, ignore_permission_denied=False)
    # The watch is open when this has begun to wait for changes.
    step = asyncio.ensure_future(anext(changes))
    try:
        await asyncio.sleep(0)
        if not step.done():
            yield None
        while root not in (paths := frozenset(Path(path) for _, path in await step)):
            yield paths
            step = asyncio.ensure_future(anext(changes))
    finally:
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        await changes.aclose()


# ── the watch ───────────────────────────────────────────────────────────────────────────────────
class Watch:
    """A folder under watch; `report` is told what could not be read, again and again while it lasts."""

    def __init__(
        self,
        root: Path,
        *,
        settle_s: float,
        rescan_s: float,
        monotonic: Callable[[], float],
        report: Callable[[Exception], None],
    ) -> None:
        self._root = root
        self._rescan_s = rescan_s
        self._now = monotonic
        self._report = report
        self._settling = Settling(settle_s)
        self._hinted: set[Path] = set()
        self._again: dict[Path, float] = {}
        self._next_scan = 0.0
        self._woken = asyncio.Event()

    def rescan(self) -> None:
        """Read the whole folder now."""
        self._next_scan = 0.0
        self._woken.set()

    async def settled(self) -> AsyncGenerator[list[Found]]:
        """Yield files that have settled; a file that is still there comes again after every scan.

        Lists may be empty: one comes at least every `rescan_s`.
        """
        listening = asyncio.create_task(self._listen(), name="inbox hints")
        try:
            while not listening.done():
                await self._wait()
                complete = await self._look()
                files = await self._take()
                if files or complete:
                    yield files
            listening.result()  # it never ends by itself: this raises what ended it
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            async with aclosing(hints(self._root, self._report)) as source:
                async for paths in source:
                    self._note(paths)
        finally:
            self._woken.set()

    def _note(self, paths: frozenset[Path] | None) -> None:
        if paths is None or len(self._hinted) > MAX_HINTS:
            self._hinted.clear()
            self._next_scan = 0.0
        else:
            self._hinted |= paths
        self._woken.set()

    async def _wait(self) -> None:
        """Wait for a hint or for whatever is due first; at the start for the first hint, when the watch is open."""
        due = min((self._next_scan or math.inf, self._settling.next, *self._again.values()))
        left = None if due == math.inf else max(0.0, due - self._now())
        with suppress(TimeoutError):
            async with asyncio.timeout(left):  # wait_for may swallow a cancellation (before Python 3.12)
                await self._woken.wait()
        self._woken.clear()

    async def _look(self) -> bool:
        """Follow the hints, or read the whole folder when it is time; say whether it was that."""
        now = self._now()
        again = {folder for folder, at in self._again.items() if at <= now}
        hinted, self._hinted = self._hinted, set()
        complete = now >= self._next_scan
        if complete:
            self._next_scan = now + self._rescan_s
        files, folders, errors = await asyncio.to_thread(
            self._sightings, {self._root} if complete else hinted | again, hinted
        )
        self._again = {folder: at for folder, at in self._again.items() if folder not in again}
        self._again |= dict.fromkeys(folders, now + AGAIN_S)
        for error in errors:
            self._report(error)
        self._settling.see(files, self._now())
        return complete

    def _sightings(
        self, paths: Iterable[Path], hinted: Iterable[Path]
    ) -> tuple[list[Found], list[Path], list[OSError]]:
        """Look at `paths`; return the files, those of `hinted` that are folders, and what could not be read."""
        errors: list[OSError] = []
        files = [found for path in paths if self._concerns(path) for found in look(path, errors.append)]
        folders = [
            path for path in hinted if self._concerns(path) and path.is_dir() and not path.is_symlink()
        ]
        return files, folders, errors

    def _concerns(self, path: Path) -> bool:
        """Say whether `path` lies below the root and in no unfinished folder."""
        if not path.is_relative_to(self._root):
            return False
        return not any(map(is_unfinished, path.relative_to(self._root).parts))

    async def _take(self) -> list[Found]:
        """Return the files that have settled and, looked at once more, are still the same."""
        due = self._settling.due(self._now())
        if not due:
            return []
        now = await asyncio.to_thread(_sight, due)
        same = set(due) & set(now)
        self._settling.see([found for found in now if found not in same], self._now())
        return [found for found in due if found in same]


def _sight(files: Iterable[Found]) -> list[Found]:
    ignored: list[OSError] = []  # the next scan reports it
    return [again for found in files for again in look(found.path, ignored.append)]
