"""Nothing of what is forgotten is left in what SQLite does not use of the ledger's file, nor in its log."""

from __future__ import annotations

import itertools
import random
import resource
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benches import a_bench
from finetuned.service.forgetting import finish_forgetting
from finetuned.service.ledger import hurry, opened
from finetuned.service.ledger_forgetting import Wish, forget, scrub
from finetuned.service.ledger_outcomes import keep_sinks
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.store import Store
from forgetting import FILE, USER, WHOLE, forgetting_of, heard, traces, with_traces
from ledgers import a_sample, with_model
from service.store_child import last_word

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_left_in_what_sqlite_does_not_use_of_the_ledgers_file(tmp_path: Path, seed: int) -> None:
    store = Store(tmp_path)
    store.prepare()
    with opened(store.ledger) as db:
        with_model(db)
        with_a_life(db, random.Random(seed))  # noqa: S311 - the same for every run
        assert b"anna-" in store.ledger.with_name("ledger.db-wal").read_bytes()
        forget(db, store, Wish(model="gestures", user="anna"), rejected=[], tell=last_word)
        scrub(db)
        assert traces(tmp_path, "anna-") == set()
        assert traces(tmp_path, "bert-") == {"ledger.db"}


def with_a_life(db: sqlite3.Connection, chance: random.Random) -> None:
    """Let samples of three users come, grow and go, so that SQLite balances its trees again and again."""
    number = itertools.count()
    for _ in range(8):
        rows = []
        for _ in range(chance.randrange(20, 80)):
            user = chance.choice(("anna", "bert", "carl"))
            name = f"{user}-{next(number)}-{'n' * chance.randrange(200)}"
            digest = f"{chance.getrandbits(256):064x}"
            row = replace(a_sample(user=user), digest=digest, name=name, path=f"models/{name}", source=name)
            rows.append(row)
        accept_batch(db, rows)
        grown = "UPDATE samples SET source = source || ? WHERE id % 7 = ?"
        db.execute(grown, ("x" * chance.randrange(100), chance.randrange(7)))
        db.execute("DELETE FROM samples WHERE id % 11 = ? AND user != 'anna'", (chance.randrange(11),))


async def test_a_disk_without_room_to_write_the_ledger_anew_is_said_and_the_next_start_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        await with_traces(bench)
        for user in ("forgetting", "outbox"):
            monkeypatch.setattr(f"finetuned.service.{user}.scrub", without_room)
        assert (await forgetting_of(bench).forget(WHOLE)).samples == 3
        assert "may still be read in the ledger's file: the ledger cannot be used" in caplog.text
        await heard(bench)
        monkeypatch.setattr("finetuned.service.forgetting.scrub", scrub)
        assert await bench.desk.ledger.run(is_due)
        await finish_forgetting(bench.desk)
        assert not await bench.desk.ledger.run(is_due)
        assert traces(bench.desk.store.root, USER, FILE) == set()


def without_room(db: sqlite3.Connection) -> None:
    """Write the ledger anew on a disk that takes no file of that size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, hard))
    try:
        scrub(db)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def is_due(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM residue").fetchone() is not None


async def test_a_program_that_reads_the_ledger_is_named_and_the_log_is_emptied_once_it_has_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        await with_traces(bench)
        await bench.desk.ledger.run(hurry)
        with opened(bench.desk.store.ledger) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM samples").fetchone()
            assert (await forgetting_of(bench).forget(WHOLE)).samples == 3
            assert "may still be read in the ledger's file: another program reads the ledger" in caplog.text
            await heard(bench)
            assert "ledger.db-wal" in traces(bench.desk.store.root, FILE)
        await finish_forgetting(bench.desk)
        assert traces(bench.desk.store.root, USER, FILE) == set()


async def test_a_last_word_that_only_a_removed_sink_has_not_heard_goes_with_that_sink(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        await with_traces(bench)
        root, run = bench.desk.store.root, bench.desk.ledger.run
        async with bench.desk.outbox.subscribe("removed"):
            await forgetting_of(bench).forget(WHOLE)
            await bench.ear.event("forgotten")
        await bench.desk.outbox.drained()
        (ear,) = [name for name in await run(sinks) if name != "removed"]
        assert traces(root, USER) != set()
        await run(keep_sinks, {ear})
        await finish_forgetting(bench.desk)
        assert traces(root, USER) == set()


def sinks(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sinks")]
