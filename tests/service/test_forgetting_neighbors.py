"""Forgetting a sample that versions hold: nearest neighbours keep the very numbers that they learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from benches import a_bench
from fakes import INFO, MODEL, begin
from finetuned.errors import HostError, RequestError
from finetuned.service.forgetting import finish_forgetting
from finetuned.service.ledger_forgetting import Gone, Wish
from finetuned.service.ledger_versions import list_versions, version_in_use
from finetuned.service.store import Store
from forgetting import forgetting_of, heard, keep, traces

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from benches import Bench

VECTOR = b"the very numbers"
FOLDER = ".unknown-7-00ff"
APPLE = Wish(model=MODEL, label="apple")


def _open(db: sqlite3.Connection) -> None:
    info = msgspec.structs.replace(INFO, open_labels=True, label_kind="string", class_labels=())
    db.execute("UPDATE models SET info = ?", (msgspec.json.encode(info).decode(),))


async def with_versions(bench: Bench) -> list[str]:
    """Let samples of two labels be learnt, twice; return the digests of those that are no apples."""
    await bench.desk.ledger.run(_open)
    kept = [
        await keep(bench, content, user="", label=label, name=content.decode())
        for content, label in ((b"z", "pear"), (b"apple", "apple"), (b"a", "plum"))
    ]
    for _ in range(2):
        task, run = await bench.started()
        assert run.spec.base_path == str(bench.desk.store.base(MODEL))
        assert [sample.digest for sample in run.spec.samples] == [each.digest for each in kept]
        run.say(begin())
        run.complete(VECTOR)
        await bench.is_clear(task)
    (bench.desk.store.versions(MODEL, "") / FOLDER).mkdir()
    (bench.desk.store.versions(MODEL, "") / FOLDER / "model.mlmodel").write_bytes(VECTOR)
    return [kept[0].digest, kept[2].digest]


async def test_all_versions_go_with_a_label_and_what_is_left_is_learnt_again_at_once(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        left = await with_versions(bench)
        store, run = bench.desk.store, bench.desk.ledger.run
        assert await forgetting_of(bench).forget(APPLE) == Gone(wish=APPLE, samples=1, versions=2)
        assert (await heard(bench))["versions"] == 2
        assert traces(store.root, VECTOR, b"apple") == set()
        assert await run(version_in_use, MODEL, "") == 0
        again = await bench.executor.run(3)
        assert [sample.digest for sample in again.spec.samples] == left
        assert again.spec.model_path == again.spec.base_path
        again.say(begin())
        again.complete(b"without apples")
        await bench.is_clear(again.spec.task)
        assert [(row.version, row.parent) for row in await run(list_versions)] == [(3, 0)], "no number twice"
        assert store.current(MODEL, "").resolve().name == "3"
        assert len(bench.executor.runs) == 3


async def test_a_label_that_was_taken_back_is_forgotten_with_the_versions_that_learnt_it(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        await with_versions(bench)
        await bench.desk.ledger.run(_take_back)
        found = await forgetting_of(bench).forget(APPLE)
        assert found == Gone(wish=APPLE, samples=0, versions=2)
        assert traces(bench.desk.store.root, VECTOR) == set()
        with pytest.raises(RequestError, match="no sample of this label"):
            await forgetting_of(bench).forget(APPLE)


def _take_back(db: sqlite3.Connection) -> None:
    db.execute("UPDATE samples SET label = 'plum', task = NULL WHERE label = 'apple'")


async def test_a_sample_that_no_task_has_seen_takes_no_version_along(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        await with_versions(bench)
        late = await keep(bench, b"late", user="", label="apple", name="late")
        wish = Wish(model=MODEL, sample=late.digest)
        assert await forgetting_of(bench).forget(wish) == Gone(wish=wish, samples=1, versions=0)
        assert bench.desk.store.current(MODEL, "").resolve().name == "2"
        assert len(bench.executor.runs) == 2


async def test_after_a_crash_the_next_start_removes_the_versions_and_learns_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        left = await with_versions(bench)

        def refuses(*_: object) -> None:
            raise HostError("removing it failed: the disk is read-only")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "remove_unknown", refuses)
            with pytest.raises(HostError, match="read-only"):
                await forgetting_of(bench).forget(APPLE)
        again = await bench.executor.run(3)
        again.say(begin())
        again.complete(b"without apples")
        await bench.is_clear(again.spec.task)
        await finish_forgetting(bench.desk)
        assert [sample.digest for sample in again.spec.samples] == left
        assert traces(bench.desk.store.root, VECTOR) == set()
        assert bench.desk.store.current(MODEL, "").resolve().name == "3", "what has come since stays"
        assert bench.desk.store.model_file(MODEL, "", 3).read_bytes() == b"without apples"
