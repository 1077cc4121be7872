"""The ledger's file, its thread and its transactions; its models and its memory of requests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetuned.errors import HostError, RequestError
from finetuned.service import ledger_requests
from finetuned.service.ledger import Ledger, atomic, connect, opened
from finetuned.service.ledger_models import add_model, get_model, list_models, register_model
from finetuned.service.ledger_requests import BEGUN, Answer, recall, remember
from finetuned.service.stamps import new_id, seconds_of, timestamp
from finetuned.service.store import Store
from ledgers import a_baseline, at, with_model

CHILD = Path(__file__).with_name("store_child.py")
DAY = 86_400


def a_store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.prepare()
    return store


# ── the file ────────────────────────────────────────────────────────────────────────────────────
def test_a_new_ledger_is_durable_and_keeps_its_references(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as db:
        pragmas = [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert pragmas == ["wal", 2, 1]
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("INSERT INTO versions VALUES ('nobody', '', 1, 0, 'no task', '', '', '', 0)")


def test_a_ledger_is_found_again_with_all_that_it_held(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as db:
        with_model(db)
    with opened(tmp_path / "ledger.db") as db:
        assert [model.name for model in list_models(db)] == ["gestures"]


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(HostError, match=r"newer finetuned .*schema is 99.*update finetuned"), opened(path):
        pass


def test_a_file_that_is_no_ledger_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    before = path.read_bytes()
    with pytest.raises(HostError, match=r"ledger\.db cannot be used.*no ledger"), opened(path):
        pass
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(HostError, match="no ledger of finetuned"), opened(path):
        pass


def test_a_missing_folder_is_a_host_error(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match=r"nowhere failed: No such file"),
        opened(tmp_path / "nowhere" / "ledger.db"),
    ):
        pass


def fill(path: Path) -> None:
    with opened(path) as db:
        db.execute("PRAGMA max_page_count = 1")
        remember(db, "1", Answer(verb="status", response="x" * 1_000_000), at=at(0), synchronised=True)


def test_a_full_disk_is_said_in_words_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with pytest.raises(HostError, match="disk is full: free some space"):
        fill(path)
    with opened(path) as db:
        assert recall(db, "1") is None


# ── transactions and the thread ─────────────────────────────────────────────────────────────────
@atomic
def add_two_models(db: sqlite3.Connection, store: Store, second: str) -> None:
    register_model(db, store, a_baseline("first"), at=at(0))
    register_model(db, store, a_baseline(second), at=at(0))


def test_an_error_in_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with opened(store.ledger) as db:
        with pytest.raises(RequestError):
            add_two_models(db, store, "../second")
        assert list_models(db) == ()
        add_two_models(db, store, "second")
        assert len(list_models(db)) == 2


async def test_all_calls_run_in_order_on_one_thread_that_is_not_ours(tmp_path: Path) -> None:
    threads: list[int] = []

    def note(_: sqlite3.Connection, number: int) -> int:
        threads.append(threading.get_ident())
        return number

    async with Ledger.open(tmp_path / "ledger.db") as ledger:
        answers = await asyncio.gather(*(ledger.run(note, number) for number in range(20)))
    assert answers == list(range(20))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_a_caller_that_is_cancelled_does_not_take_back_what_it_asked_for(tmp_path: Path) -> None:
    path, gate = tmp_path / "ledger.db", threading.Event()
    async with Ledger.open(path) as ledger:
        busy = asyncio.create_task(ledger.run(lambda _: gate.wait()))
        asked = asyncio.create_task(ledger.run(with_model))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set()
        await busy
    with opened(path) as db:
        assert get_model(db, "gestures").name == "gestures"


async def test_an_error_of_the_file_reaches_the_daemon_as_a_host_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with Ledger.open(path) as ledger:
        await ledger.run(lambda db: db.execute("DROP TABLE transactions").fetchall())
        with pytest.raises(HostError, match="no such table"):
            await ledger.run(recall, "1")


@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_acknowledged_that_went_into_a_file_nobody_finds_again(
    tmp_path: Path, *, replaced: bool
) -> None:
    path = tmp_path / "ledger.db"
    async with Ledger.open(path) as ledger:
        aside = path.rename(tmp_path / "aside.db")
        if replaced:
            shutil.copyfile(aside, path)
        with pytest.raises(HostError, match="was replaced by another file" if replaced else "is gone"):
            await ledger.run(with_model)
        path.unlink(missing_ok=True)
        aside.rename(path)
        assert await ledger.run(list_models), "back in its place, it is the ledger again"


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def test_the_same_model_twice_is_one_and_another_under_its_name_is_refused(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with opened(store.ledger) as db:
        assert register_model(db, store, a_baseline(data=b"one"), at=at(0))
        assert not register_model(db, store, a_baseline(data=b"one"), at=at(1))
        with pytest.raises(RequestError, match=r"another content.*--name NAME"):
            register_model(db, store, a_baseline(data=b"two"), at=at(2))
        model = get_model(db, "gestures")
    assert (model.info, model.added_at) == (a_baseline().info, at(0))
    assert store.base("gestures").read_bytes() == b"one"


def test_a_base_that_a_crash_left_without_a_ledgers_word_gives_way(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.add_model("gestures", b"the ledger never heard of it")
    with opened(store.ledger) as db:
        register_model(db, store, a_baseline(data=b"another"), at=at(0))
    assert store.base("gestures").read_bytes() == b"another"


def test_a_base_that_is_missing_is_put_back_by_adding_it_again(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with opened(store.ledger) as db:
        register_model(db, store, a_baseline(), at=at(0))
        store.base("gestures").unlink()
        register_model(db, store, a_baseline(), at=at(1))
    assert store.base("gestures").read_bytes() == a_baseline().data


def test_an_unknown_model_is_answered_with_those_that_are_known() -> None:
    with contextlib.closing(connect(Path(":memory:"))) as db:
        with_model(db, "gestures")
        with_model(db, "digits")
        with pytest.raises(RequestError, match="no model named hands; registered are: digits, gestures"):
            get_model(db, "hands")
        assert not add_model(db, get_model(db, "digits"))


def test_processes_that_add_models_at_once_lose_none_and_agree_on_each(tmp_path: Path) -> None:
    """Four processes meet on a ledger that is not there yet; each adds its own ten and fights for one name."""
    store = a_store(tmp_path)
    command = [sys.executable, str(CHILD), "add", str(store.root)]
    adders = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for n in range(4)
    ]
    for adder in adders:
        assert adder.stdout is not None
        assert adder.stdout.readline() == b"ready\n"
    answers = [adder.communicate(b"go\n", timeout=60)[0].decode().split() for adder in adders]
    assert [adder.returncode for adder in adders] == [0] * 4
    assert sorted(answer for (answer,) in answers) == ["added", "refused", "refused", "refused"]
    with opened(store.ledger) as db:
        models = list_models(db)
    assert len(models) == 41
    for model in models:
        assert hashlib.sha256(store.base(model.name).read_bytes()).hexdigest() == model.digest


# ── requests, ids and times ─────────────────────────────────────────────────────────────────────
def test_a_request_keeps_its_first_answer_for_a_day() -> None:
    with contextlib.closing(connect(Path(":memory:"))) as db:
        first, other = Answer(verb="train", response="{}"), Answer(verb="train", response="another")
        assert recall(db, "1") is None
        assert remember(db, "1", first, at=at(0), synchronised=True) == first
        assert remember(db, "1", other, at=at(DAY - 1), synchronised=True) == first
        remember(db, "2", first, at=at(DAY + 1), synchronised=True)
        assert recall(db, "1") is None


def test_a_request_that_was_begun_gets_its_answer_once_and_is_bounded_like_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger_requests, "MOST", 2)
    begun, first, other = (Answer(verb="train", response=text) for text in (BEGUN, "{}", "another"))
    with contextlib.closing(connect(Path(":memory:"))) as db:
        assert remember(db, "1", begun, at=at(0), synchronised=True) == begun
        assert remember(db, "1", first, at=at(1), synchronised=True) == first
        for late in (begun, other):
            assert remember(db, "1", late, at=at(2), synchronised=True) == first
        for number in range(2, 5):
            remember(db, str(number), begun, at=at(3), synchronised=True)
        assert [number for number in range(1, 5) if recall(db, str(number))] == [3, 4]
        remember(db, "5", begun, at=at(DAY + 4), synchronised=True)
        assert recall(db, "4") is None


def test_while_the_clock_cannot_be_believed_no_answer_is_forgotten_for_its_age() -> None:
    with contextlib.closing(connect(Path(":memory:"))) as db:
        answer = Answer(verb="train", response="{}")
        remember(db, "known", answer, at=at(0), synchronised=True)
        remember(db, "in 1970", answer, at=timestamp(0), synchronised=False)
        remember(db, "in a century", answer, at=at(36_500 * DAY), synchronised=False)
        assert recall(db, "known") == answer
        # Nor is one, later, for the age that a clock which was wrong has given it.
        remember(db, "now", answer, at=at(1), synchronised=True)
        assert recall(db, "in 1970") == answer


def test_answers_are_bounded_by_their_number_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_requests, "MOST", 3)
    with contextlib.closing(connect(Path(":memory:"))) as db:
        for number in range(10):
            # A clock that runs backwards: what came last stays.
            remember(db, str(number), Answer(verb="train", response=""), at=at(-number), synchronised=False)
        assert [number for number in range(10) if recall(db, str(number))] == [7, 8, 9]


def test_ids_sort_by_time_whatever_the_random_part_is() -> None:
    ids = [
        new_id(ms, random) for ms in (1, 31, 32, 1_795_000_000_000) for random in (b"\0" * 10, b"\xff" * 10)
    ]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {26}
    # The example of github.com/ulid/spec: this time is written 01ARYZ6S41.
    assert new_id(1_469_918_176_385, b"\0" * 10) == "01ARYZ6S410000000000000000"
    assert new_id(2**48 - 1, b"\xff" * 10) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"


def test_a_timestamp_is_utc_with_milliseconds_and_reads_back() -> None:
    assert timestamp(1_795_409_412.418) == "2026-11-23T04:50:12.418Z"
    assert seconds_of("2026-11-23T04:50:12.418Z") == pytest.approx(1_795_409_412.418)


def test_a_ledger_that_is_gone_is_not_begun_anew_over_samples_and_versions(tmp_path: Path) -> None:
    (tmp_path / "models/gestures/_/versions/1").mkdir(parents=True)
    with pytest.raises(HostError, match="missing or empty"), opened(tmp_path / "ledger.db"):
        pass
    (tmp_path / "ledger.db").write_bytes(b"")
    with pytest.raises(HostError, match="restore it"), opened(tmp_path / "ledger.db"):
        pass
