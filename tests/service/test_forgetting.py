"""What is forgotten is gone: from the ledger's file and log, from every folder, from what waits to be told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benches import a_bench
from fakes import MODEL, batch, begin
from finetuned.errors import HostError, RequestError
from finetuned.service import events
from finetuned.service.forgetting import finish_forgetting
from finetuned.service.ledger import opened
from finetuned.service.ledger_forgetting import ANSWERED, Gone, Wish, finish, scrub
from finetuned.service.ledger_models import list_models
from finetuned.service.ledger_outcomes import append_outcomes, unsent
from finetuned.service.ledger_requests import BEGUN, Answer, recall, remember
from finetuned.service.ledger_samples import list_samples
from finetuned.service.ledger_tasks import alive_tasks, find_task
from finetuned.service.ledger_versions import list_versions
from finetuned.service.messages import Cancelled
from finetuned.service.outbox import OutcomeItem, ProgressItem, StateItem
from finetuned.service.store import Store
from forgetting import FILE, MARKER, USER, WHOLE, answered, forgetting_of, heard, keep, traces, with_traces
from ledgers import NODE, outcomes_of
from service.store_child import FORGOTTEN, last_word

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.service.outbox import Item, Subscription

CHILD = Path(__file__).with_name("store_child.py")


async def until_told(sink: Subscription, kind: str) -> AsyncIterator[Item]:
    """Yield what a sink is given up to an outcome of this type, each acknowledged when the next is wanted."""
    async for item in sink:
        yield item
        if isinstance(item, OutcomeItem):
            await sink.acknowledge(item.id)
            if item.type == kind:
                return


# ── how much ────────────────────────────────────────────────────────────────────────────────────
async def test_of_a_user_who_is_forgotten_nothing_is_left_in_the_state_folder(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        await bench.tasks.showcase.everything()
        task = await with_traces(bench)
        root, run = bench.desk.store.root, bench.desk.ledger.run
        assert {"ledger.db", f"models/{MODEL}/{USER}/inputs.db"} <= {
            path.removesuffix("-wal") for path in traces(root, USER, FILE, MARKER)
        }
        await bench.ear.state(f"model/{MODEL}/{USER}", current=1)
        gone = await forgetting_of(bench).forget(WHOLE)
        assert gone == Gone(wish=WHOLE, samples=3, versions=1)
        assert await heard(bench) == {"model": MODEL, "user": USER, "samples": 3, "versions": 1}
        assert traces(root, USER, json.dumps(USER).strip('"'), FILE, MARKER, task) == set()
        assert bench.ear.states[f"model/{MODEL}/{USER}"] is None
        assert await run(find_task, task) is None
        for transaction in ("t1", "t2", "t3"):
            answer = await run(recall, transaction)
            assert answer is not None, "it is not obeyed again"
            assert json.loads(answer.response) == {
                "transaction": transaction,
                "status": "error",
                "error": ANSWERED,
            }


async def test_others_are_left_as_they_were(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        for user in ("ann", ""):
            await with_traces(bench, user)
        await answered(bench, "t4", {"status": "ok", "data": {"model": MODEL, "user": "anna"}})
        begun = Answer(verb="forget", response=BEGUN)
        await bench.desk.ledger.run(remember, "t5", begun, at=bench.desk.now(), synchronised=True)
        await with_traces(bench)
        store, run = bench.desk.store, bench.desk.ledger.run
        before = {
            path: path.read_bytes() for path in store.user_folder(MODEL, "ann").rglob("*") if path.is_file()
        }
        await forgetting_of(bench).forget(WHOLE)
        await heard(bench)
        assert {path: path.read_bytes() for path in before} == before
        assert [(row.user, row.version) for row in await run(list_versions)] == [("", 1), ("ann", 1)]
        for user in ("", "ann"):
            assert len(await run(list_samples, MODEL, user)) == 3
        told = [row.payload for row in await run(unsent, 0, 1000)]
        assert {each.get("user", "") for each in told if each["type"] == "completed"} == {"", "ann"}
        kept = await run(recall, "t4")
        assert kept is not None
        assert ANSWERED not in kept.response
        assert await run(recall, "t5") == begun, "it is still to be answered"


async def test_a_model_goes_with_all_its_users_and_its_base(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("", "ann")) as bench:
        await bench.tasks.showcase.everything()
        for user in ("", USER):
            await with_traces(bench, user)
        wish = Wish(model=MODEL)
        gone = await forgetting_of(bench).forget(wish)
        assert gone == Gone(wish=wish, samples=6 + 20, versions=2)
        assert await heard(bench) == {"model": MODEL, "samples": 26, "versions": 2}
        assert traces(bench.desk.store.root, MODEL, USER, FILE, MARKER, "✊", "a base") == set()
        assert set(bench.ear.states.values()) == {None}
        with pytest.raises(RequestError, match=f"there is no model named {MODEL}"):
            await forgetting_of(bench).forget(wish)


@pytest.mark.parametrize("user", ["", USER])
async def test_a_labels_samples_go_and_versions_that_learnt_from_them_stay(tmp_path: Path, user: str) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        await with_traces(bench, user)
        other = await keep(bench, b"paper", user=user, label="✋", name="paper.jpg")
        wish = Wish(model=MODEL, user=user, label="✊")
        store, run = bench.desk.store, bench.desk.ledger.run
        if not user:
            folder = store.rejected / MODEL / "rock"
            folder.mkdir(exist_ok=True)
            (folder / "worse.jpg").write_bytes(MARKER)
        gone = await forgetting_of(bench).forget(wish)
        assert gone == Gone(wish=wish, samples=3, versions=0)
        assert (await heard(bench))["label"] == "✊"
        assert traces(store.root, FILE, MARKER) == set()
        assert [row.digest for row in await run(list_samples, MODEL, user)] == [other.digest]
        assert other.path.is_file()
        assert [row.version for row in await run(list_versions)] == [1]
        assert store.current(MODEL, user).resolve().name == "1"
        task, scripted = await bench.started(user)
        assert [sample.digest for sample in scripted.spec.samples] == [other.digest]
        scripted.complete()
        await bench.is_clear(task)


async def test_one_sample_goes_by_its_digest(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        one = await keep(bench, MARKER, user="")
        other = await keep(bench, b"another", user="", name="another.jpg")
        wish = Wish(model=MODEL, sample=one.digest)
        assert await forgetting_of(bench).forget(wish) == Gone(wish=wish, samples=1, versions=0)
        assert await heard(bench) == {"model": MODEL, "sample": one.digest, "samples": 1, "versions": 0}
        assert traces(bench.desk.store.root, FILE, MARKER, one.digest) == set()
        assert other.path.is_file()
        with pytest.raises(RequestError, match="there is no such sample of model gestures"):
            await forgetting_of(bench).forget(wish)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(model="digits"), "there is no model named digits; registered are: gestures"),
        (Wish(model=MODEL, user="nobody"), "there is no such user of model gestures$"),
        (Wish(model=MODEL, label="✋"), r"no sample of this label of model gestures \(or not of this user\)"),
        (Wish(model=MODEL, user="nobody", label="✊"), "no sample of this label"),
        (Wish(model=MODEL, user="ann", sample="0" * 64), "no such sample of model gestures"),
    ],
)
async def test_what_there_is_nothing_of_is_refused_and_no_task_is_cancelled(
    tmp_path: Path, wish: Wish, said: str
) -> None:
    async with a_bench(tmp_path) as bench:
        task, _ = await bench.started()
        with pytest.raises(RequestError, match=said):
            await forgetting_of(bench).forget(wish)
        assert (await bench.row(task)).state == "running"


# ── beside a task ───────────────────────────────────────────────────────────────────────────────
async def test_a_task_has_really_ended_before_anything_is_forgotten(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started("ann")
        other = await bench.train("")
        run.say(begin(), batch(1))
        run.checkpoint(1)
        await bench.ear.event("miniBatchEnd")
        forgetting = asyncio.create_task(forgetting_of(bench).forget(Wish(model=MODEL, user="ann")))
        await bench.ear.state(f"task/{task}", state="cancelling")
        assert len(await bench.desk.ledger.run(list_samples, MODEL, "ann")) == 10
        run.say(Cancelled())
        assert (await forgetting).samples == 10
        assert not bench.desk.store.task(task).exists()
        await heard(bench)
        assert bench.ear.states[f"task/{task}"] is None
        assert bench.ear.states[f"model/{MODEL}/ann"] is None
        assert traces(bench.desk.store.root, task) == set()
        assert [row.id for row in await bench.desk.ledger.run(alive_tasks)] == [other]
        assert [each["type"] for each in bench.ear.said if each.get("user") == "ann"][-1] == "forgotten"


async def test_ingestion_has_its_turn_again_only_when_all_know_that_a_model_is_gone(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=()) as bench:
        await with_traces(bench)
        turn, in_turn = asyncio.Lock(), []

        async def relook() -> None:
            in_turn.append(turn.locked())

        await replace(forgetting_of(bench), turn=turn, relook=relook).forget(Wish(model=MODEL))
        assert in_turn == [True]


async def test_a_task_that_is_made_in_between_is_cancelled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path) as bench:
        made: list[str] = []
        stop = bench.tasks.stop

        async def stopped(concerns: object) -> None:
            await stop(concerns)  # type: ignore[arg-type]
            if not made:
                made.append(await bench.train("ann"))
                await bench.tasks.pause(made[0])

        monkeypatch.setattr(bench.tasks, "stop", stopped)
        assert (await forgetting_of(bench).forget(Wish(model=MODEL, user="ann"))).samples == 10
        assert await bench.desk.ledger.run(find_task, made[0]) is None


async def test_a_worker_that_never_ends_keeps_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path) as bench:
        _, run = await bench.started("ann")
        monkeypatch.setattr("finetuned.service.forgetting.PATIENCE_S", 0)
        with pytest.raises(HostError, match="does not end; nothing is forgotten"):
            await forgetting_of(bench).forget(Wish(model=MODEL, user="ann"))
        assert len(await bench.desk.ledger.run(list_samples, MODEL, "ann")) == 10
        run.say(Cancelled())


# ── what waits to be told ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("user", [USER, ""])
async def test_of_what_waits_for_another_try_a_sink_can_ask_whether_it_was_forgotten(
    tmp_path: Path, user: str
) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench, bench.desk.outbox.subscribe("refused") as sink:
        await keep(bench, MARKER, user=user)
        await keep(bench, b"another", user=USER)
        item = await anext(sink)
        while not (isinstance(item, OutcomeItem) and item.payload.get("user", "") == user):
            if isinstance(item, OutcomeItem):
                await sink.acknowledge(item.id)
            item = await anext(sink)
        assert await sink.still_counts(item.id)
        await forgetting_of(bench).forget(WHOLE)
        assert await sink.still_counts(item.id) == (user != USER)
        await sink.acknowledge(item.id)


async def test_what_was_not_told_yet_is_not_told_any_more_but_for_the_last_word(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        async with bench.desk.outbox.subscribe("slow") as slow:
            first = events.SampleAccepted(ts=bench.desk.now(), node=NODE, model=MODEL, label="✊", name="1")
            await bench.desk.ledger.run(append_outcomes, [first])
            await with_traces(bench)
            item = await anext(slow)
            while not isinstance(item, OutcomeItem):
                item = await anext(slow)
            assert item.payload["name"] == "1", "it has read a page of more by now"
            await forgetting_of(bench).forget(WHOLE)
            await slow.acknowledge(item.id)
            told = [item async for item in until_told(slow, "forgotten")]
        assert [each.type for each in told if isinstance(each, OutcomeItem)] == ["forgotten"]
        assert [each for each in told if isinstance(each, ProgressItem)] == []
        assert {each.payload for each in told if isinstance(each, StateItem) and USER in each.key} == {None}


async def test_the_last_word_stays_until_every_sink_has_heard_it(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        root = bench.desk.store.root
        await with_traces(bench)
        async with bench.desk.outbox.subscribe("slow") as slow:
            await forgetting_of(bench).forget(WHOLE)
            await bench.ear.event("forgotten")
            assert traces(root, USER) <= {"ledger.db", "ledger.db-wal"}
            async for _ in until_told(slow, "forgotten"):
                assert traces(root, USER) != set()
        await bench.desk.outbox.drained()
        assert traces(root, USER) == set()


# ── interrupted ─────────────────────────────────────────────────────────────────────────────────
async def test_what_the_disk_would_not_let_go_of_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path, users=("ann",)) as bench:
        await with_traces(bench)
        store = bench.desk.store
        with monkeypatch.context() as patched:

            def refuses(*_: object) -> None:
                raise HostError("removing it failed: the disk is read-only")

            patched.setattr(Store, "remove_unknown", refuses)
            with pytest.raises(HostError, match="read-only"):
                await forgetting_of(bench).forget(WHOLE)
        assert bench.ear.events("forgotten") == []
        later = await keep(bench, b"came later", user=USER, name="later.jpg")
        await finish_forgetting(bench.desk)
        bench.desk.outbox.outcomes_written()
        assert await heard(bench) == {"model": MODEL, "user": USER, "samples": 3, "versions": 1}
        assert later.path.read_bytes() == b"came later", "what has come since stays"
        assert traces(store.root, FILE, MARKER) == set()
        assert [row.name for row in await bench.desk.ledger.run(list_samples, MODEL, USER)] == ["later.jpg"]
        assert [row.name for row in await bench.desk.ledger.run(list_models)] == [MODEL]


def test_a_crash_at_any_step_of_forgetting_leaves_all_of_it_or_after_the_next_start_nothing(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, str(CHILD), "forget", str(tmp_path)], check=True)
    found = []
    for number in range(1, len(list(tmp_path.iterdir())) + 1):
        store = Store(tmp_path / str(number))
        with opened(store.ledger) as db:
            finish(db, store, tell=last_word)
            scrub(db)
            rows = len(list_samples(db, MODEL, FORGOTTEN))
            assert len(list_samples(db, MODEL, "")) == 3
            assert [row.version for row in list_versions(db)] == [1]
            told = outcomes_of(db).count("forgotten")
        found.append((rows, told, len(traces(store.root, FORGOTTEN))))
    whole = found[0]
    assert whole[:2] == (2, 0)
    decided = found.index((0, 1, 0))
    assert found == [whole] * decided + [(0, 1, 0)] * (len(found) - decided)
    assert decided >= 2, "the steps before the decision were counted"
    assert len(found) - decided > 10, "the steps after the decision were counted"
