from __future__ import annotations

import asyncio
import os
import shutil
import time
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.service import watch
from finetuned.service.places import Intake, Place, Waiting, classify
from finetuned.service.watch import Found, Settling, Watch
from service.samples import PICTURE, HandClock, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


# ── settling ────────────────────────────────────────────────────────────────────────────────────
def sighting(name: str, size: int = 1, mtime_ns: int = 1) -> Found:
    return Found(Path(name), 0o100644, 1, size, mtime_ns)


def test_a_file_is_due_when_it_has_stood_still_for_long_enough() -> None:
    settling = Settling(1.0)
    settling.see([sighting("a")], 10.0)
    settling.see([sighting("a")], 10.9)
    assert settling.due(10.9) == []
    assert settling.next == 11.0
    assert settling.due(11.0) == [sighting("a")]
    assert settling.due(12.0) == []


@pytest.mark.parametrize("later", [sighting("a", size=2), sighting("a", mtime_ns=2)])
def test_a_file_that_changes_begins_anew(later: Found) -> None:
    settling = Settling(1.0)
    settling.see([sighting("a")], 10.0)
    settling.see([later], 10.5)
    assert settling.due(11.4) == []
    assert settling.due(11.5) == [later]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 2)), max_size=30))
def test_whatever_is_due_had_its_last_change_long_enough_ago(sightings: list[tuple[float, int]]) -> None:
    settling = Settling(1.0)
    changed = dict[int, float]()
    last = None
    for at, size in sorted(sightings):
        for found in settling.due(at):
            assert at - changed[found.size] >= 1.0
            last = None
        if size != last:
            changed[size] = at
            last = size
        settling.see([sighting("a", size=size)], at)


# ── places ──────────────────────────────────────────────────────────────────────────────────────
INTAKES: dict[str, Intake | str] = {
    "gestures": Intake(want=PICTURE, labels=("rock", "7"), mapping={"stone": "rock"}),
    "open": Intake(want=PICTURE, labels=("1",), mapping={"stone": "-03"}, new_labels="int64"),
    "frozen": "it cannot be updated: its isUpdatable flag is not set",
}


@pytest.mark.parametrize(
    ("path", "users", "expected"),
    [
        ("gestures/rock/a.png", False, ("gestures", "", "rock")),
        ("gestures/stone/a.png", False, ("gestures", "", "rock")),
        ("gestures/7/a.png", False, ("gestures", "", "7")),
        ("open/007/a.png", False, ("open", "", "7")),
        ("open/stone/a.png", False, ("open", "", "-3")),
        ("gestures/rock/a/b/c.png", False, ("gestures", "", "rock")),
        ("gestures/anna/rock/a.png", True, ("gestures", "anna", "rock")),
    ],
)
def test_a_place_tells_model_user_and_label(path: str, users: bool, expected: tuple[str, str, str]) -> None:  # noqa: FBT001 - a row of the table
    place = classify(Path(path), INTAKES, users=users)
    assert isinstance(place, Place)
    assert (place.model, place.user, place.label) == expected


@pytest.mark.parametrize(
    ("path", "users", "reason"),
    [
        ("a.png", False, "no label's folder; the inbox's layout is <model>/<label>/<file>"),
        ("gestures/a.png", False, "no label's folder"),
        (
            "gestures/rock/a.png",
            True,
            "no label's folder; the inbox's layout is <model>/<user>/<label>/<file>",
        ),
        ("unknown/rock/a.png", False, "no model named unknown"),
        ("frozen/rock/a.png", False, "cannot be updated"),
        ("gestures/spock/a.png", False, "spock is no label of gestures; its labels are rock, 7"),
        ("open/spock/a.png", False, "spock is no label of open; its labels are whole numbers of 64 bits"),
        ("gestures/_/rock/a.png", True, "'_' cannot be a user's name"),
        ("gestures/x\udcff/a.png", False, "cannot be a folder's name"),
    ],
)
def test_a_file_without_a_known_place_waits_for_a_reason(path: str, users: bool, reason: str) -> None:  # noqa: FBT001 - a row of the table
    waiting = classify(Path(path), INTAKES, users=users)
    assert isinstance(waiting, Waiting)
    assert reason in waiting.reason
    assert all(word.isprintable() for word in (waiting.model, waiting.user, waiting.label, waiting.name))


# ── the real thing ──────────────────────────────────────────────────────────────────────────────
class Seen:
    """What a watch has passed on."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.errors: list[str] = []

    @property
    def names(self) -> set[str]:
        """Their names."""
        return {path.name for path in self.paths}

    def report(self, error: Exception) -> None:
        """Note it."""
        self.errors.append(str(error))


@asynccontextmanager
async def watching(
    root: Path,
    *,
    settle_s: float = 0.05,
    rescan_s: float = 3600,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Seen]:
    """Watch `root`; it is open, and has been read once, when this begins."""
    seen = Seen()
    opened = asyncio.Event()
    watched = Watch(root, settle_s=settle_s, rescan_s=rescan_s, monotonic=clock, report=seen.report)

    async def collect() -> None:
        async with aclosing(watched.settled()) as rounds:
            async for files in rounds:
                opened.set()
                seen.paths += [found.path for found in files]

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(30):
            await opened.wait()
        yield seen
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_there_before_and_what_comes_later_is_found(tmp_path: Path) -> None:
    (tmp_path / "before").write_text("x")
    async with watching(tmp_path) as seen:
        (tmp_path / "later").write_text("x")
        await until(lambda: seen.names == {"before", "later"})


async def test_a_flood_into_fresh_nested_folders_is_found_whole(tmp_path: Path) -> None:
    wanted = {f"{number}" for number in range(2000)}

    def flood() -> None:
        for number in wanted:
            folder = tmp_path / "m" / f"{int(number) % 7}" / f"{int(number) // 11}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / number).write_text(number)

    async with watching(tmp_path, rescan_s=3) as seen:
        await asyncio.to_thread(flood)
        await until(lambda: seen.names == wanted)


async def test_a_whole_tree_renamed_in_is_found(tmp_path: Path) -> None:
    root, tree = tmp_path / "root", tmp_path / "tree"
    root.mkdir()
    for number in range(300):
        path = tree / f"{number % 5}" / f"{number % 13}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    async with watching(root, rescan_s=3) as seen:
        tree.rename(root / "tree")
        await until(lambda: len(seen.names) == 300)


async def test_a_file_that_is_still_being_written_is_not_passed_on(tmp_path: Path) -> None:
    path, clock = tmp_path / "growing", HandClock()
    async with watching(tmp_path, settle_s=0.1, clock=clock) as seen:
        for size in range(1, 6):
            path.write_bytes(bytes(size))
            clock.now += 0.09
            await clock.looked_at()
            assert seen.paths == []
        clock.let_go()
        await until(lambda: seen.paths == [path])


async def test_unfinished_files_and_folders_are_passed_over_until_they_are_renamed(tmp_path: Path) -> None:
    (tmp_path / ".folder").mkdir()
    (tmp_path / ".folder" / "inner").write_text("x")
    async with watching(tmp_path) as seen:
        for name in (".hidden", "a.part", "b.tmp", "c~"):
            (tmp_path / name).write_text("x")
        (tmp_path / ".folder" / "later").write_text("x")
        (tmp_path / "done").write_text("x")
        await until(lambda: "done" in seen.names)
        (tmp_path / "a.part").rename(tmp_path / "a")
        await until(lambda: "a" in seen.names)
        assert seen.names == {"done", "a"}


async def test_a_root_that_is_replaced_is_watched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.05)
    root = tmp_path / "root"
    root.mkdir()
    async with watching(root) as seen:
        shutil.rmtree(root)
        await until(lambda: seen.errors)
        root.mkdir()
        (root / "a").write_text("x")
        await until(lambda: "a" in seen.names)
        (root / "b").write_text("x")
        await until(lambda: "b" in seen.names)


async def test_a_root_that_comes_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.05)
    async with watching(tmp_path / "root") as seen:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "a").write_text("x")
        await until(lambda: "a" in seen.names)


async def test_without_inotify_the_folder_is_read_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.05)
    monkeypatch.setenv(watch.FORCE_POLLING, "1")
    async with watching(tmp_path) as seen:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "a").write_text("x")
        await until(lambda: "a" in seen.names)


async def test_an_inotify_that_fails_is_reported_and_replaced_by_reading_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_watches_left(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watch, "POLL_S", 0.05)
    monkeypatch.setattr(watch, "awatch", no_watches_left)
    async with watching(tmp_path) as seen:
        (tmp_path / "a").write_text("x")
        await until(lambda: "a" in seen.names)
        assert seen.errors[0] == "the inbox cannot be watched: OS file watch limit reached"


async def test_a_scan_finds_what_no_hint_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(*_: object) -> AsyncIterator[None]:
        yield None
        await asyncio.Event().wait()

    monkeypatch.setattr(watch, "_inotify", deaf)
    async with watching(tmp_path, rescan_s=0.1) as seen:
        (tmp_path / "a").write_text("x")
        await until(lambda: "a" in seen.names)


async def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        """Refuse one folder (to root no real one is locked)."""
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iter(entries(path))

    entries = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    (tmp_path / "locked").mkdir()
    async with watching(tmp_path) as seen:
        (tmp_path / "a").write_text("x")
        await until(lambda: "a" in seen.names)
        assert "Permission denied" in seen.errors[0]
