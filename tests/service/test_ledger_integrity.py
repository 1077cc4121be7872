"""A ledger that is damaged is found so at the start, kept aside, and refused in words."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from finetuned import files
from finetuned.errors import HostError
from finetuned.service import ledger_integrity
from finetuned.service.ledger import Ledger, opened
from finetuned.service.ledger_integrity import CHECKS, check
from finetuned.service.ledger_models import list_models
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_tasks import create_task
from ledgers import a_task, an_outcome, with_model, with_samples

PAGE = 4096


def a_ledger(folder: Path) -> Path:
    """Make a ledger of some thirty pages, with rows in most tables."""
    path = folder / "ledger.db"
    with opened(path) as db:
        with_model(db)
        with_samples(db, 120)
        create_task(db, a_task())
        append_outcomes(db, [an_outcome(number) for number in range(200)])
    return path


def content_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


async def start(path: Path) -> None:
    async with Ledger.open(path) as ledger:
        await ledger.run(lambda db: db.execute("SELECT count(*) FROM samples").fetchall())


def damaged(path: Path) -> bytes:
    """Wipe the fourth page out, and return what is left."""
    data = path.read_bytes()
    path.write_bytes(data[: 3 * PAGE] + bytes(PAGE) + data[4 * PAGE :])
    return path.read_bytes()


def left_in(folder: Path) -> list[str]:
    """Return the files there but for SQLite's own shared memory."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith("-shm"))


def copies(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*broken*"))


# ── what is found ───────────────────────────────────────────────────────────────────────────────
async def test_a_sound_ledger_is_opened_and_nothing_is_laid_aside(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    before = content_of(path)
    await start(path)
    assert content_of(path) == before
    assert copies(path) == []


@pytest.mark.parametrize("filling", ["zeros", "noise"])
def test_whatever_page_is_damaged_it_is_found_or_no_row_was_on_it(tmp_path: Path, filling: str) -> None:
    path, noise = a_ledger(tmp_path), random.Random(7)  # noqa: S311 - reproducible, not secret
    sound, before = path.read_bytes(), content_of(path)
    pages = len(sound) // PAGE
    assert pages > 20
    found = 0
    for page in range(pages):
        bad = bytes(PAGE) if filling == "zeros" else noise.randbytes(PAGE)
        path.write_bytes(sound[: page * PAGE] + bad + sound[(page + 1) * PAGE :])
        try:
            check(path)
        except HostError:
            found += 1
        else:
            assert content_of(path) == before, f"page {page}"
        for copy in copies(path):
            copy.unlink()
    assert found >= pages - 1


@pytest.mark.parametrize("kept", [20, 100, 4096, 5000, 40_000])
async def test_a_ledger_that_was_cut_off_is_found(tmp_path: Path, kept: int) -> None:
    path = a_ledger(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HostError, match="is broken"):
        await start(path)


async def test_a_reference_that_leads_nowhere_is_found_and_named(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM tasks")  # without PRAGMA foreign_keys, as another program would
    with pytest.raises(
        HostError, match=r"broken \(row 1 of samples refers to one of tasks that is not there"
    ):
        await start(path)


def changed(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes in place, as a bad card does."""
    data = path.read_bytes()
    head, found, tail = data.rpartition(old)
    assert found
    path.write_bytes(head + new + tail)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"completed[", b"Completed[", r"'Completed' is no state of tasks"),
        (b"fully told", b"fully t\xe9ld", r"Could not decode to UTF-8 column 'error'"),
        (b"CREATE TABLE sinks", b"CREATE TABL\xe9 sinks", r'near "TABL\\xe9": syntax error'),
        (
            b"how many of its workers",
            b"how m\xe9ny of its workers",
            r"Could not decode to UTF-8 column 'sql'",
        ),
    ],
)
async def test_a_byte_that_makes_a_value_or_the_schema_unreadable_is_found_and_a_copy_kept(
    tmp_path: Path, old: bytes, new: bytes, said: str
) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE tasks SET state = 'completed', error = 'fully told'")
        db.commit()
    changed(path, old, new)
    before = path.read_bytes()
    with pytest.raises(HostError, match=said):
        await start(path)
    (copy,) = copies(path)
    assert copy.read_bytes() == path.read_bytes() == before


async def test_a_second_row_of_the_clock_is_found(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("INSERT INTO clock VALUES (2, 0, 0, 0)")
    with pytest.raises(HostError, match="2 is no id of clock"):
        await start(path)


def test_every_check_of_the_schema_is_made() -> None:
    schema = (Path(ledger_integrity.__file__).parent / "ledger.sql").read_text("utf-8")
    assert schema.count("CHECK (") == len(CHECKS)
    for column, _ in CHECKS.values():
        assert f"CHECK ({column} " in schema


def test_a_command_says_in_words_that_the_schema_is_damaged(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    changed(path, b"CREATE TABLE sinks", b"CREATE TABL\xe9 sinks")
    with pytest.raises(HostError, match=r"cannot be used: malformed .*the file is damaged"), opened(path):
        pass


def test_a_command_says_in_words_that_a_row_is_damaged(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE models SET info = CAST(x'e9' AS TEXT)")
    with pytest.raises(HostError, match=r"column 'info'; the file is damaged"), opened(path) as db:
        list_models(db)


async def test_damage_that_lies_in_the_write_ahead_log_is_found_and_the_log_is_kept(tmp_path: Path) -> None:
    sound, path = a_ledger(tmp_path), tmp_path / "state" / "ledger.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(sound, isolation_level=None)) as db:
        db.execute("DELETE FROM tasks")
        for part in ("", "-wal"):  # as a power cut leaves them: the log is not folded in yet
            shutil.copyfile(f"{sound}{part}", f"{path}{part}")
    log = path.with_name("ledger.db-wal").read_bytes()
    assert log
    for _ in range(3):
        with pytest.raises(HostError, match="is broken"):
            await start(path)
    assert [copy.name[len("ledger.db.broken-01234567") :] for copy in copies(path)] == ["", "-shm", "-wal"]
    assert copies(path)[2].read_bytes() == log
    # SQLite finds the copy whole, with its log.
    with closing(sqlite3.connect(copies(path)[0])) as db:
        assert db.execute("SELECT count(*) FROM samples, tasks").fetchone() == (0,)


# ── what is said and kept ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("content", [b"no database, but long enough to be taken for one" * 100, b"short"])
async def test_a_file_that_is_no_database_is_kept_aside_and_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(HostError, match=r"ledger\.db is broken \(file is not a database\)"):
        await start(path)
    (copy,) = copies(path)
    assert copy.read_bytes() == path.read_bytes() == content


async def test_a_refusal_says_what_was_found_where_the_copy_lies_and_what_to_do(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    data = damaged(path)
    copy = path.with_name(f"ledger.db.broken-{hashlib.sha256(data).hexdigest()[:8]}")
    for _ in range(3):  # a service that starts again and again
        with pytest.raises(HostError) as refusal:
            await start(path)
        said = str(refusal.value)
        assert f"the ledger {path} is broken (" in said
        assert f"nothing was changed, and a copy of it lies in {copy}" in said
        assert "Put a backup in its place, or begin anew with the samples and models" in said
        assert path.read_bytes() == copy.read_bytes() == data
        assert copies(path) == [copy]


async def test_a_full_disk_does_not_hide_that_the_ledger_is_broken_and_leaves_no_half_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database" * 1000)
    monkeypatch.setattr(files, "fsync_file", full)
    with pytest.raises(HostError, match=r"is broken .*no copy of it could be made: No space left on device"):
        await start(path)
    assert left_in(tmp_path) == ["ledger.db"]


async def test_a_command_does_not_pay_for_the_check(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM tasks")
    with opened(path) as db:
        assert db.execute("SELECT count(*) FROM samples").fetchone()[0] == 120
    with pytest.raises(HostError):
        await start(path)


def test_a_broken_ledger_of_an_older_schema_is_not_changed(tmp_path: Path) -> None:
    first = Path(__file__).parents[1] / "data" / "ledger-1.sql"
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(first.read_text("utf-8"))
        db.execute("DELETE FROM models")
        db.commit()
    before = content_of(path)
    with pytest.raises(HostError, match="is broken"), opened(path):
        pass
    assert content_of(path) == before
    assert list(tmp_path.glob("*.v1")) == []
