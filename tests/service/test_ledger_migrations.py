"""A ledger of an older finetuned becomes one of this: the same schema as a new one's, and nothing lost on the way."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.ledger import connect, opened
from finetuned.service.ledger_migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from finetuned.service.ledger_models import list_models
from finetuned.service.ledger_outcomes import sink_cursor, unsent
from finetuned.service.ledger_requests import Answer, recall
from finetuned.service.ledger_samples import list_samples, new_samples
from finetuned.service.ledger_tasks import alive_tasks, get_task, task_samples
from finetuned.service.ledger_versions import Change, current_version, list_versions, roll_back
from finetuned.service.views import model_states
from finetuned.states import TaskState
from ledgers import an_outcome

DATA = Path(__file__).parents[1] / "data"
FIRST = DATA / "ledger-1.sql"
CHILD = Path(__file__).with_name("ledger_child.py")
COMPLETED, FAILED, KEPT, HELD, CANCELLED, RUNNING = (f"000000000{n}0000000000000000" for n in range(1, 7))

Rows = dict[str, set[tuple[Any, ...]]]


def a_ledger(folder: Path, version: int = 1) -> Path:
    """Make a ledger as that schema's finetuned left it in the middle of its work."""
    path = folder / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((DATA / f"ledger-{version}.sql").read_text("utf-8"))
    return path


def tables(db: sqlite3.Connection) -> list[str]:
    return [
        name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    ]


def schema_of(db: sqlite3.Connection) -> dict[str, list[list[tuple[Any, ...]]]]:
    """Return what SQLite itself says of every table: columns, indices and theirs, references, strictness."""

    def told(pragma: str, name: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in db.execute(f"PRAGMA {pragma}('{name}')")]

    indices = {name: sorted(row[1] for row in told("index_list", name)) for name in tables(db)}
    listed = {row[1]: row[2:] for row in told_all(db)}
    return {
        name: [
            told("table_xinfo", name),
            sorted(row[1:] for row in told("index_list", name)),
            sorted(told("foreign_key_list", name)),
            *(told("index_xinfo", index) for index in indices[name]),
            [listed[name]],
        ]
        for name in tables(db)
    }


def told_all(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.execute("PRAGMA table_list")]


def rows_of(path: Path) -> Rows:
    """Return every row, as the columns of the first schema."""
    with closing(sqlite3.connect(":memory:")) as first:
        first.executescript(FIRST.read_text("utf-8"))
        columns = {
            name: ", ".join(f'"{row[1]}"' for row in first.execute(f"PRAGMA table_info('{name}')"))
            for name in tables(first)
        }
    with closing(sqlite3.connect(path)) as db:
        return {
            name: set(db.execute(f"SELECT {listed} FROM {name}").fetchall())  # noqa: S608 - our own names
            for name, listed in columns.items()
        }


def without_idle_lists(rows: Rows) -> Rows:
    """Leave out the lists of samples of tasks that ended without a version: the migration lets them go."""
    kept = {row for row in rows["task_samples"] if row[0] not in {FAILED, CANCELLED}}
    return rows | {"task_samples": kept}


# ── every earlier schema ────────────────────────────────────────────────────────────────────────
def test_there_is_a_ledger_of_every_earlier_schema_to_be_tried() -> None:
    assert {path.name for path in DATA.glob("ledger-*.sql")} == {
        f"ledger-{version}.sql" for version in range(1, SCHEMA_VERSION)
    }


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_ledger_gets_the_schema_of_a_new_one(tmp_path: Path, version: int) -> None:
    with opened(a_ledger(tmp_path, version)) as led, closing(connect(Path(":memory:"))) as new:
        assert schema_of(led) == schema_of(new)
        assert led.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert led.execute("PRAGMA integrity_check").fetchall()[0][0] == "ok"
        assert led.execute("PRAGMA foreign_key_check").fetchall() == []


def test_every_row_of_the_first_schema_is_still_there(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    before = rows_of(path)
    assert all(before.values()), "each table has rows to be lost"
    with opened(path):
        pass
    assert rows_of(path) == without_idle_lists(before)


def test_what_the_first_schema_knew_is_read_by_todays_functions(tmp_path: Path) -> None:
    with opened(a_ledger(tmp_path)) as db:
        assert [model.name for model in list_models(db)] == ["digits", "gestures"]
        assert [s.seen for s in list_samples(db, "gestures", "")] == [True, True, True, True, True, False]
        assert [(s.user, s.count, s.oldest_s) for s in new_samples(db)] == [("", 1, 0.0), ("bob", 1, 0.0)]
        assert [row.version for row in list_versions(db, "gestures")] == [1, 2]
        current = current_version(db, "gestures", "")
        assert current is not None
        assert (current.version, current.task) == (1, COMPLETED)
        assert [s.label for s in task_samples(db, KEPT)] == ["✊", "✋", "✊", "✊"]
        assert (get_task(db, FAILED).error, get_task(db, FAILED).fault) == ("it diverged", "")
        assert get_task(db, COMPLETED).parameters == {"learningRate": 0.05, "epochs": 3}
        assert len(unsent(db, 0, 100)) == 19
        assert sink_cursor(db, "mqtt") == 9
        shown = [(each.user, each.current, each.candidate) for each in model_states(db, list_models(db)[1])]
        assert shown == [("", 1, 2), ("anna", None, None), ("bob", None, None)]
        assert recall(db, "a1b2") == Answer(verb="train", response='{"status": "ok"}')


def test_a_ledger_that_remembers_no_previous_version_leads_back_to_the_parent(tmp_path: Path) -> None:
    path = a_ledger(tmp_path, 3)
    with opened(path) as db:
        assert db.execute("SELECT mode, until_s FROM mode").fetchall()[0][:] == ("never", 90000.5)
        back = roll_back(db, ("gestures", ""), 0, tell=lambda _: an_outcome())
        assert back == Change(version=0, parent=0, before=1)
        assert current_version(db, "gestures", "") is None


def test_a_task_that_a_person_held_is_still_held_and_no_other(tmp_path: Path) -> None:
    with opened(a_ledger(tmp_path)) as db:
        alive = {task.id: (task.state, task.held, task.paused) for task in alive_tasks(db)}
    assert alive == {
        HELD: (TaskState.suspended, True, True),
        RUNNING: (TaskState.running, False, False),  # it was told to be paused, and then to go on
    }


# ── the copy aside ──────────────────────────────────────────────────────────────────────────────
def test_the_ledger_as_it_was_lies_beside_the_new_one_and_stays(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    before, copy = rows_of(path), tmp_path / "ledger.db.v1"
    for _ in range(2):
        with opened(path) as db:
            db.execute("DELETE FROM transactions")
        with closing(sqlite3.connect(copy)) as old:
            assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert rows_of(copy) == before


def test_a_copy_that_lies_there_already_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.v1").write_bytes(b"an earlier copy")
    path = a_ledger(tmp_path)
    before = rows_of(path)
    with opened(path):
        pass
    assert (tmp_path / "ledger.db.v1").read_bytes() == b"an earlier copy"
    assert rows_of(tmp_path / "ledger.db.v1.2") == before


def test_every_way_back_that_taught_something_has_its_own_copy_the_newest_the_highest_number(
    tmp_path: Path,
) -> None:
    path = a_ledger(tmp_path)
    with opened(path):
        pass
    copy = newest = tmp_path / "ledger.db.v1"
    for name in ("taught once", "taught twice"):
        shutil.copyfile(newest, path)  # the way back; and the older finetuned works on it
        with closing(sqlite3.connect(path)) as db:
            db.execute("INSERT INTO sinks VALUES (?, 1)", (name,))
            db.commit()
        before = rows_of(path)
        for _ in range(2):  # the second time, nothing was done with the older one
            with opened(path):
                pass
            newest = tmp_path / f"ledger.db.v1.{2 if name == 'taught once' else 3}"
            assert rows_of(newest) == before
            shutil.copyfile(newest, path)
    assert sorted(each.name for each in tmp_path.glob("ledger.db.v*")) == [
        copy.name,
        f"{copy.name}.2",
        f"{copy.name}.3",
    ]


@pytest.mark.parametrize("kilobytes", [0, 40])
def test_a_disk_that_fills_during_the_copy_is_named_and_nothing_of_the_copy_stays(
    tmp_path: Path, kilobytes: int
) -> None:
    path = a_ledger(tmp_path)
    before = rows_of(path)
    connect(path.with_name("other.db")).close()  # what is loaded only once is loaded before the limit
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
        try:
            with pytest.raises(
                HostError, match=r"copying the ledger to .*ledger\.db\.v1 failed: .*; the disk "
            ):
                migrate(db, path, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert rows_of(path) == before
    assert [each.name for each in tmp_path.iterdir() if "v1" in each.name] == []


def test_where_no_copy_can_be_made_the_ledger_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    path = a_ledger(tmp_path)
    monkeypatch.setattr(files, "fsync_file", full)
    with pytest.raises(HostError, match=r"copying the ledger to .*v1 failed: the disk is full"), opened(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert [each.name for each in tmp_path.iterdir() if "v1" in each.name] == []


# ── interrupted ─────────────────────────────────────────────────────────────────────────────────
def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        before = (rows_of(path), schema_of(db))
    for statement in ("no such statement;", "UPDATE samples SET model = 'nobody';"):
        monkeypatch.setitem(MIGRATIONS, 1, f"{MIGRATIONS[1]}{statement}")
        with pytest.raises((HostError, sqlite3.IntegrityError)), opened(path):
            pass
        with closing(sqlite3.connect(path)) as db:
            assert (rows_of(path), schema_of(db)) == before
            assert db.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_kill_at_any_step_leaves_the_old_schema_or_the_new_and_the_next_start_the_new(
    tmp_path: Path,
) -> None:
    path = a_ledger(tmp_path)
    schemas = {}
    for version in range(1, SCHEMA_VERSION):
        (tmp_path / str(version)).mkdir()
        with closing(sqlite3.connect(a_ledger(tmp_path / str(version), version))) as db:
            schemas[version] = schema_of(db)
    rows = rows_of(path)
    with closing(connect(Path(":memory:"))) as db:
        new = schemas[SCHEMA_VERSION] = schema_of(db)
    killed = tmp_path / "killed"
    killed.mkdir()
    subprocess.run([sys.executable, str(CHILD), str(FIRST), str(killed)], check=True)
    rounds = [killed / str(number) / "ledger.db" for number in range(1, len(list(killed.iterdir())) + 1)]
    left = []
    for one in rounds:
        with closing(sqlite3.connect(one)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            assert schema_of(db) == schemas[version]
        assert rows_of(one) == (rows if version == 1 else without_idle_lists(rows))
        left.append(version)
        with opened(one) as db:
            assert schema_of(db) == new
        assert rows_of(one) == without_idle_lists(rows)
        assert rows_of(one.with_name("ledger.db.v1")) == rows
        assert list(one.parent.glob(".*")) == []
    assert left == sorted(left)
    assert left.count(1) > len(MIGRATIONS[1].split(";")), "a step for each statement"
    for version in range(2, SCHEMA_VERSION):
        assert left.count(version) > len(MIGRATIONS[version].split(";")), "and so for every other"
    assert left.count(SCHEMA_VERSION) >= 1


def test_a_schema_that_never_was_is_refused(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = -7")
    with (
        pytest.raises(HostError, match=r"damaged, or no ledger of finetuned \(its schema is -7\)"),
        opened(path),
    ):
        pass
    assert list(tmp_path.glob("*v-7*")) == []


# ── who else is there ───────────────────────────────────────────────────────────────────────────
def test_the_ledger_is_not_changed_beneath_a_daemon_of_the_older_finetuned(tmp_path: Path) -> None:
    path, daemon = a_ledger(tmp_path), os.getppid()
    with (tmp_path / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{daemon}\n")
        lock.flush()
        with (
            pytest.raises(HostError, match=rf"daemon still runs \(pid {daemon}\): restart it first"),
            opened(path),
        ):
            pass
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")  # the daemon that has the folder is this very process
        lock.flush()
        with opened(path) as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_a_lock_that_a_dead_daemon_left_keeps_nobody_from_the_ledger(tmp_path: Path) -> None:
    path = a_ledger(tmp_path)
    (tmp_path / "lock").write_text(f"{os.getppid()}\n")
    with opened(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
