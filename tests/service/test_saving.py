"""From a result to a version: folder, ledger, link, event, and what is left where one of them refuses."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benches import Clock, a_desk, with_samples
from fakes import BASE, GOOD, MODEL, POOR, ScriptedExecutor, a_spec, begin
from finetuned.errors import HostError, StateError
from finetuned.policy.budget import Verdict
from finetuned.service import messages as m
from finetuned.service.events import Card
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_tasks import begin_attempt, create_task, get_task, transition
from finetuned.service.ledger_versions import complete_task, current_version, list_versions
from finetuned.service.outbox import OutcomeItem
from finetuned.service.running import Attempt
from finetuned.service.saving import save
from finetuned.service.store import Store
from finetuned.states import TaskState, Verb
from ledgers import a_task, at, cancelled, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RESULT = b"better"
DIGEST = hashlib.sha256(RESULT).hexdigest()
SAVED_S = 1_800_000_100.0


@asynccontextmanager
async def a_result(folder: Path) -> AsyncIterator[Attempt]:
    """Yield an attempt at a task, which began a minute and a half ago, whose worker has left its result."""
    async with a_desk(folder, Clock(SAVED_S)) as desk:
        await with_samples(desk, "")
        task = await desk.ledger.run(create_task, a_task())
        row = await desk.ledger.run(begin_attempt, task.id, moment=moment(10))
        assert row is not None
        spec = a_spec(row.id, desk.store.task(row.id))
        result = m.result_path(spec, row.attempt)
        result.parent.mkdir()
        result.write_bytes(RESULT)
        executor = ScriptedExecutor()
        yield Attempt(desk=desk, row=row, spec=spec, executor=executor, verdict=Verdict, began=begin())


def completed(before: m.Metrics = POOR, after: m.Metrics = GOOD, sha256: str = DIGEST) -> m.Completed:
    return m.Completed(sha256=sha256, before=before, after=after, held_out=True)


async def told(attempt: Attempt) -> list[str]:
    return [row.type for row in await attempt.desk.ledger.run(unsent, 0, 100)]


async def test_a_better_result_becomes_a_version_with_its_card_and_is_used(tmp_path: Path) -> None:
    async with a_result(tmp_path) as attempt:
        store, ledger = attempt.desk.store, attempt.desk.ledger
        ended = await save(attempt.desk, attempt, completed())
        assert (ended.state, ended.version) == (TaskState.completed, 1)
        assert await told(attempt) == ["modelSaved", "promoted", "completed"]
        payload = (await ledger.run(unsent, 0, 100))[-1].payload
        assert payload["durationSeconds"] == 90.0
        assert payload["promotionReason"] == "better on 2 held-out samples"

        folder = store.current(MODEL, "").resolve()
        assert folder == store.version(MODEL, "", 1)
        assert (folder / "model.mlmodel").read_bytes() == RESULT
        text = (folder / "card.json").read_text()
        assert Card(
            model=MODEL,
            user="",
            version=1,
            parent=0,
            task=attempt.row.id,
            base=hashlib.sha256(BASE).hexdigest(),
            sha256=DIGEST,
            saved_at=at(100),
            parameters={"epochs": 2},
            samples={"✊": 10},
            held_out=2,
            before=POOR,
            after=GOOD,
            promotion="promoted",
            promotion_reason="better on 2 held-out samples",
            finetuned=msgspec.json.decode(text)["finetuned"],
        ) == msgspec.json.decode(text, type=Card)
        (version,) = await ledger.run(list_versions)
        assert (version.card, version.sha256) == (text, DIGEST)


async def test_a_result_that_is_no_better_is_kept_beside_what_is_used(tmp_path: Path) -> None:
    async with a_result(tmp_path) as attempt:
        await save(attempt.desk, attempt, completed(before=GOOD, after=POOR))
        assert await told(attempt) == ["modelSaved", "completed"]
        assert await attempt.desk.ledger.run(current_version, MODEL, "") is None
        assert not attempt.desk.store.current(MODEL, "").exists()
        assert (attempt.desk.store.version(MODEL, "", 1) / "model.mlmodel").read_bytes() == RESULT


async def test_a_result_that_is_not_what_its_worker_wrote_is_no_version(tmp_path: Path) -> None:
    async with a_result(tmp_path) as attempt:
        with pytest.raises(HostError, match=f"not what its worker wrote.*{DIGEST}"):
            await save(attempt.desk, attempt, completed(sha256="0" * 64))
        m.result_path(attempt.spec, attempt.row.attempt).unlink()
        with pytest.raises(HostError, match=r"reading .*result"):
            await save(attempt.desk, attempt, completed())
        assert not attempt.desk.store.versions(MODEL, "").exists()
        assert await told(attempt) == []


async def test_a_version_that_the_ledger_refuses_leaves_no_folder(tmp_path: Path) -> None:
    async with a_result(tmp_path) as attempt:
        ledger, task = attempt.desk.ledger, attempt.row.id
        await ledger.run(transition, task, Verb.cancel, moment=moment(50))
        await ledger.run(transition, task, Verb.fail, moment=moment(51), outcomes=[cancelled(task)])
        with pytest.raises(StateError):
            await save(attempt.desk, attempt, completed())
        assert list(attempt.desk.store.versions(MODEL, "").iterdir()) == []
        assert await told(attempt) == ["cancelled"]
        assert not attempt.desk.store.current(MODEL, "").is_symlink()


async def test_a_folder_that_a_refusing_disk_has_left_gives_way_to_the_same_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_result(tmp_path) as attempt:
        store, ledger = attempt.desk.store, attempt.desk.ledger
        run = ledger.run

        async def refuses_versions(work: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the ledger takes
            if work is complete_task:
                raise HostError("disk I/O error")
            return await run(work, *arguments, **named)

        def refuses(*_: object) -> None:
            raise HostError("Input/output error")

        with monkeypatch.context() as patched:
            patched.setattr(ledger, "run", refuses_versions)
            patched.setattr(Store, "drop_version", refuses)
            with pytest.raises(HostError, match="Input/output error"):
                await save(attempt.desk, attempt, completed())
        assert store.version(MODEL, "", 1).is_dir()
        m.result_path(attempt.spec, attempt.row.attempt).write_bytes(RESULT)
        await save(attempt.desk, attempt, completed())
        assert (store.version(MODEL, "", 1) / "model.mlmodel").read_bytes() == RESULT
        assert [row.version for row in await ledger.run(list_versions)] == [1]


async def test_a_link_that_the_disk_refuses_is_put_right_at_the_next_start(tmp_path: Path) -> None:
    async with a_result(tmp_path) as attempt:
        store, ledger = attempt.desk.store, attempt.desk.ledger
        obstacle = store.user_folder(MODEL, "") / ".current.tmp"
        (obstacle / "full").mkdir(parents=True)
        async with attempt.desk.outbox.subscribe("ear") as heard:
            first = asyncio.create_task(anext(heard))
            for _ in range(3):
                await ledger.run(lambda _: None)  # by now it has found nothing, and waits
            with pytest.raises(HostError, match="linking"):
                await save(attempt.desk, attempt, completed())
            item = await first
            assert isinstance(item, OutcomeItem)
            assert item.type == "modelSaved"
        assert (await ledger.run(get_task, attempt.row.id)).state is TaskState.completed
        assert await told(attempt) == ["modelSaved", "promoted", "completed"]
        versions = await ledger.run(list_versions)
        store.repair(versions=versions, current=versions, dropped=(), alive=(), checkpoints=())
        assert (store.current(MODEL, "") / "model.mlmodel").read_bytes() == RESULT
