"""History is bounded, what is still needed stays, and a crash at any step harms neither."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benches import a_desk
from finetuned.service import ledger_outcomes
from finetuned.service.ledger import connect, opened, transaction
from finetuned.service.ledger_checkpoints import known_checkpoints, record_checkpoint
from finetuned.service.ledger_outcomes import advance_sink, append_outcomes, sink_cursor, unsent
from finetuned.service.ledger_queue import troubles
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.ledger_tasks import (
    begin_attempt,
    create_task,
    find_task,
    get_task,
    task_samples,
    transition,
)
from finetuned.service.ledger_versions import (
    drop_versions,
    list_current,
    list_dropped,
    list_versions,
    next_version,
)
from finetuned.service.messages import CheckpointRef
from finetuned.service.retention import forget_tasks, trim, trim_history
from finetuned.service.store import Store
from finetuned.states import Verb
from ledgers import (
    a_sample,
    a_task,
    an_outcome,
    failed,
    moment,
    with_history,
    with_model,
    with_samples,
    with_saved,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

CHILD = Path(__file__).with_name("store_child.py")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.prepare()
    return store


@pytest.fixture
def db(store: Store) -> Iterator[sqlite3.Connection]:
    with opened(store.ledger) as db:
        yield db


def listed(db: sqlite3.Connection) -> list[int]:
    return [row.version for row in list_versions(db)]


def folders(store: Store) -> list[str]:
    return sorted(path.name for path in store.versions("gestures", "").iterdir())


def fail(db: sqlite3.Connection, number: int, user: str = "") -> str:
    """Make a task that ends without a version."""
    task = create_task(db, a_task(number, user=user))
    begin_attempt(db, task.id, moment=moment(number))
    transition(db, task.id, Verb.fail, moment=moment(number), outcomes=[failed(task.id)])
    return task.id


# ── versions ────────────────────────────────────────────────────────────────────────────────────
def test_the_newest_versions_stay_and_the_others_go_from_ledger_and_disk(
    db: sqlite3.Connection, store: Store
) -> None:
    with_history(db, store, parents=range(7), promoted=range(1, 8))
    trim_history(db, store, 3)
    assert listed(db) == [5, 6, 7]
    assert folders(store) == ["5", "6", "7"]
    assert (store.current("gestures", "") / "model.mlmodel").read_bytes() == b"version 7"


def test_the_current_version_and_the_way_back_stay_however_old_they_are(
    db: sqlite3.Connection, store: Store
) -> None:
    with_history(db, store, parents=(0, 1, 1, 3, 3, 3), promoted=(1, 3))
    trim_history(db, store, 1)
    assert listed(db) == [1, 3, 6]
    assert folders(store) == ["1", "3", "6"]


def test_what_a_living_task_started_from_stays_until_it_has_ended(
    db: sqlite3.Connection, store: Store
) -> None:
    with_history(db, store, parents=range(5), promoted=range(1, 6))
    task = create_task(db, replace(a_task(9), parent=3))
    trim_history(db, store, 1)
    assert listed(db) == [3, 4, 5]
    transition(db, task.id, Verb.cancel, moment=moment(9))
    transition(db, task.id, Verb.fail, moment=moment(9), outcomes=[failed(task.id)])
    trim_history(db, store, 1)
    assert listed(db) == [4, 5]


def test_every_user_has_a_history_of_their_own(db: sqlite3.Connection, store: Store) -> None:
    with_history(db, store, parents=range(3), promoted=())
    with_samples(db, user="anna")
    db.execute(
        "INSERT INTO versions SELECT model, 'anna', version, parent, task, sha256, card, saved_at, 0 FROM versions"
    )
    trim_history(db, store, 2)
    assert [(row.user, row.version) for row in list_versions(db)] == [
        ("", 2),
        ("", 3),
        ("anna", 2),
        ("anna", 3),
    ]


@pytest.mark.parametrize("keep", [0, 1])
def test_a_number_that_a_version_had_is_never_given_again(
    db: sqlite3.Connection, store: Store, keep: int
) -> None:
    with_history(db, store, parents=(0, 0, 0), promoted=())
    drop_versions(db, keep)
    assert next_version(db, "gestures", "") == 4
    trim_history(db, store, keep)
    assert listed(db) == [3]
    assert next_version(db, "gestures", "") == 4
    with_saved(db, store, 4, parent=0, promoted=True)
    assert listed(db) == [3, 4]


def test_a_dropped_version_is_seen_by_nobody_though_its_folder_is_there(
    db: sqlite3.Connection, store: Store
) -> None:
    with_history(db, store, parents=(0, 0), promoted=())
    drop_versions(db, 1)
    assert listed(db) == [2]
    assert [row.version for row in list_dropped(db)] == [1]
    assert folders(store) == ["1", "2"]


def test_a_crash_at_any_step_of_a_trim_leaves_every_listed_version_whole_and_the_next_start_ends_it(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, str(CHILD), "trim", str(tmp_path)], check=True)
    stores = [Store(path) for path in sorted(tmp_path.iterdir(), key=lambda path: int(path.name))]
    assert len(stores) > 12
    for store in stores:
        with opened(store.ledger) as db:
            assert set(listed(db)) >= {1, 3, 5}
            told = store.repair(
                versions=list_versions(db),
                current=list_current(db),
                dropped=list_dropped(db),
                alive=(),
                checkpoints=(),
            )
            assert not [sentence for sentence in told if "does not know" in sentence]
            assert folders(store) == [str(version) for version in listed(db)]
            trim_history(db, store, 1)
            assert listed(db) == [1, 3, 5]
            assert list_dropped(db) == ()
            assert folders(store) == ["1", "3", "5"]
            assert next_version(db, "gestures", "") == 6


async def test_a_disk_that_refuses_is_said_and_the_next_trim_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Path, target: Path) -> Path:
        raise OSError(30, f"Read-only file system: {target}")

    async with a_desk(tmp_path) as desk:
        await desk.ledger.run(with_history, desk.store, parents=(0, 0), promoted=())
        with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
            broken.setattr(Path, "replace", refuse)
            await trim(desk, 1)
        assert "history is longer than it should be: dropping version 1 of gestures failed" in caplog.text
        assert folders(desk.store) == ["1", "2"]
        await trim(desk, 1)
        assert folders(desk.store) == ["2"]
        assert await desk.ledger.run(list_dropped) == ()


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────
def test_tasks_beyond_the_newest_go_unless_a_version_or_a_sample_names_them(
    db: sqlite3.Connection, store: Store
) -> None:
    (saved,) = with_history(db, store, parents=(0,), promoted=())
    with_samples(db, user="anna")
    named = fail(db, 2, user="anna")
    # Ids of a clock that runs backwards: newest is what came last.
    others = [fail(db, number) for number in range(19, 9, -1)]
    forget_tasks(db, keep=3)
    assert [task for task in others if find_task(db, task)] == others[-3:]
    assert get_task(db, saved).version == 1
    assert get_task(db, named).user == "anna"


def test_what_the_circuit_breaker_counts_is_not_forgotten_whatever_others_do(db: sqlite3.Connection) -> None:
    with_model(db)
    for user in ("", "anna"):
        with_samples(db, user=user)
    for number in range(1, 4):
        task = create_task(db, a_task(number))
        transition(db, task.id, Verb.fail, moment=moment(number), outcomes=[failed(task.id)])
    for number in range(10, 20):
        task = create_task(db, a_task(number, user="anna"))
        transition(db, task.id, Verb.fail, moment=moment(number), outcomes=[failed(task.id)])
    forget_tasks(db, keep=2)
    assert {pair: trouble.failures for pair, trouble in troubles(db).items()} == {
        ("gestures", ""): 3,
        ("gestures", "anna"): 3,
    }


def test_a_task_that_lives_is_never_forgotten(db: sqlite3.Connection) -> None:
    with_model(db)
    with_samples(db)
    task = create_task(db, a_task())
    begin_attempt(db, task.id, moment=moment(1))
    record_checkpoint(db, task.id, 1, CheckpointRef(path="1/a", sha256="0" * 64, step=5))
    forget_tasks(db, keep=0)
    assert [sample.id for sample in task_samples(db, task.id)] == [1, 2, 3]
    assert known_checkpoints(db) == ((task.id, "1/a"),)


def test_the_list_of_samples_stays_with_a_version_and_goes_with_everything_else(
    db: sqlite3.Connection, store: Store
) -> None:
    with_model(db)
    with_samples(db)
    lost = fail(db, 9)
    first, second = (with_saved(db, store, version, parent=0, promoted=version == 2) for version in (1, 2))
    running = create_task(db, a_task(10))
    trim_history(db, store, 1)
    assert {task: len(task_samples(db, task)) for task in (lost, first, second, running.id)} == {
        lost: 0,
        first: 0,
        second: 3,
        running.id: 3,
    }


def test_checkpoints_of_a_task_that_has_ended_are_forgotten(db: sqlite3.Connection) -> None:
    with_model(db)
    with_samples(db)
    task = create_task(db, a_task())
    begin_attempt(db, task.id, moment=moment(1))
    record_checkpoint(db, task.id, 1, CheckpointRef(path="1/a", sha256="0" * 64, step=5))
    transition(db, task.id, Verb.fail, moment=moment(2), outcomes=[failed(task.id)])
    forget_tasks(db)
    assert known_checkpoints(db) == ()


# ── the ledger's file ───────────────────────────────────────────────────────────────────────────
def test_a_sink_that_never_acknowledges_does_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_outcomes, "KEPT", 5)
    monkeypatch.setattr(ledger_outcomes, "MOST", 20)
    with closing(connect(Path(":memory:"))) as db:
        sink_cursor(db, "away for ever")
        sink_cursor(db, "mqtt")
        for number in range(1, 31):
            append_outcomes(db, [an_outcome(number)])
            advance_sink(db, "mqtt", number)
        assert [row.id for row in unsent(db, 0, 100)] == list(range(11, 31))
        advance_sink(db, "away for ever", 22)
        append_outcomes(db, [an_outcome(31)])
        assert [row.id for row in unsent(db, 0, 100)] == list(range(23, 32))


def test_two_thousand_tasks_of_fifty_samples_leave_a_ledger_no_larger_than_half_of_them(
    db: sqlite3.Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_outcomes, "KEPT", 100)
    with_model(db)
    accept_batch(db, [a_sample(number) for number in range(1, 51)])
    sizes = []
    for number in range(1, 2001):
        with transaction(db):  # the disk's pace is not what is tested here
            fail(db, number)
            forget_tasks(db)
        if number % 1000 == 0:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes.append(store.ledger.stat().st_size)
    counts = [db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("tasks", "task_samples")]  # noqa: S608
    assert counts == [1000, 0]
    assert sizes[1] <= 1.05 * sizes[0]
    assert sizes[1] < 2**20  # their hundred thousand rows in task_samples alone would take several
