"""A person chooses the version that is used, and no task overrules that."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from benches import Bench, a_bench
from fakes import MODEL
from finetuned.errors import HostError, RequestError, StateError
from finetuned.files import sha256_of
from finetuned.service.ledger_versions import Change, drop_versions, list_dropped, list_versions
from finetuned.service.selection import Selection
from finetuned.service.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from fakes import ScriptedRun

CHOICES = ("promoted", "rolledBack")


def selection_of(bench: Bench) -> Selection:
    return Selection(desk=bench.desk, showcase=bench.tasks.showcase)


async def with_versions(bench: Bench, count: int, user: str = "") -> None:
    """Train so many versions, each better than the one before it, and hence in use."""
    for version in range(1, count + 1):
        task, run = await bench.started(user)
        run.complete(b"version %d" % version)
        await bench.is_clear(task)
    await bench.ear.event("completed", count)


def used(bench: Bench, user: str = "") -> bytes:
    """Return the content of the model that `current` leads to; the base where it leads nowhere."""
    store = bench.desk.store
    link = store.current(MODEL, user)
    return ((link / "model.mlmodel") if link.is_symlink() else store.base(MODEL)).read_bytes()


def told(bench: Bench) -> list[tuple[str, int, int]]:
    """Return the choices that were told: type, version, and its parent or what was used before."""
    events = bench.ear.events(*CHOICES)
    beside = {"promoted": "parent", "rolledBack": "fromVersion"}
    return [(each["type"], each["version"], each[beside[each["type"]]]) for each in events]


async def completed_under(bench: Bench, run: ScriptedRun, task: str) -> dict[str, object]:
    run.complete(b"late")
    await bench.is_clear(task)
    return await bench.ear.event("completed", task=task)


# ── promoting ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("user", ["", "ann"])
async def test_any_kept_version_and_the_base_may_be_chosen_and_everything_says_so(
    tmp_path: Path, user: str
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 3, user)
        choose, key = selection_of(bench).promote, f"model/gestures/{user}" if user else "model/gestures"
        assert await choose(MODEL, user, 1) == Change(version=1, parent=0, before=3)
        assert used(bench, user) == b"version 1"
        await bench.ear.state(key, current=1, candidate=3)
        assert await choose(MODEL, user, 0) == Change(version=0, parent=0, before=1)
        assert used(bench, user) == bench.desk.store.base(MODEL).read_bytes()
        await bench.ear.state(key, current=None, candidate=3, metrics=None)
        await bench.ear.event("promoted", 5)
        assert told(bench)[3:] == [("promoted", 1, 0), ("promoted", 0, 0)]
        assert bench.ear.events("promoted")[-1].get("user", "") == user


async def test_what_is_in_use_is_chosen_again_without_a_word(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 2)
        selection = selection_of(bench)
        for version in (2, 1, 1):
            await selection.promote(MODEL, "", version)
        assert await selection.promote(MODEL, "", 1) == Change(version=1, parent=0, before=1)
        assert await selection.roll_back(MODEL, "") == Change(version=2, parent=1, before=1), (
            "still remembered"
        )
        await bench.ear.event("rolledBack")
        assert told(bench)[2:] == [("promoted", 1, 0), ("rolledBack", 2, 1)]


async def test_a_version_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 3)
        await bench.desk.ledger.run(drop_versions, 1)
        selection = selection_of(bench)
        for version in (1, 9):
            with pytest.raises(
                RequestError,
                match=rf"no version {version} of model gestures; there are 0 \(the base\), 2, 3$",
            ):
                await selection.promote(MODEL, "", version)
        with pytest.raises(RequestError, match=r"no version 2 of model gestures; there are 0 \(the base\)$"):
            await selection.promote(MODEL, "nobody", 2)
        with pytest.raises(RequestError, match="registered are: gestures"):
            await selection.promote("digits", "", 0)
        await selection.promote(MODEL, "nobody", 0)
        assert "model/gestures/nobody" not in bench.desk.outbox.states


@pytest.mark.parametrize(("content", "said"), [(None, "is gone"), (b"version 7", "is damaged")])
@pytest.mark.parametrize("version", [0, 1])
async def test_a_version_whose_file_is_gone_or_another_is_not_chosen_and_no_path_is_told(
    tmp_path: Path, version: int, content: bytes | None, said: str
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, version + 1)
        store = bench.desk.store
        file = store.model_file(MODEL, "", version)
        file.chmod(0o600)
        file.unlink() if content is None else file.write_bytes(content)
        what = f"version {version} of model gestures" if version else "the base of model gestures"
        for choice in (
            selection_of(bench).promote(MODEL, "", version),
            selection_of(bench).roll_back(MODEL, ""),
        ):
            with pytest.raises(HostError, match=f"^{what} {said}.*restore it from a backup") as refused:
                await choice
            assert "/" not in str(refused.value)
        assert used(bench) == b"version %d" % (version + 1)
        assert len(told(bench)) == version + 1


async def test_a_link_that_cannot_be_made_follows_later_and_the_choice_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 2)

        def refuses(*_: object) -> None:
            raise HostError("linking current failed: the disk is full")

        monkeypatch.setattr(Store, "set_current", refuses)
        assert (await selection_of(bench).promote(MODEL, "", 1)).version == 1
        await bench.ear.state("model/gestures", current=1)
        assert (await selection_of(bench).roll_back(MODEL, "")).version == 2
        await bench.ear.state("model/gestures", current=2)
        assert caplog.text.count("follows at the next start: linking current failed") == 2


async def test_a_rollback_that_would_lead_elsewhere_than_was_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 3)
        selection = selection_of(bench)
        loop, chosen = asyncio.get_running_loop(), list[int]()

        def meanwhile(path: Path) -> str:
            if not chosen:
                chosen.append(1)
                asyncio.run_coroutine_threadsafe(selection.promote(MODEL, "", 1), loop).result()
            return sha256_of(path)

        monkeypatch.setattr("finetuned.service.selection.sha256_of", meanwhile)
        with pytest.raises(StateError, match="has come into use meanwhile; ask again"):
            await selection.roll_back(MODEL, "")
        assert used(bench) == b"version 1"


# ── going back ──────────────────────────────────────────────────────────────────────────────────
async def test_a_rollback_leads_to_what_was_used_before_and_the_next_along_the_parents(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 4)
        selection = selection_of(bench)
        await selection.promote(MODEL, "", 2)
        back = [await selection.roll_back(MODEL, "") for _ in range(4)]
        assert [(each.before, each.version) for each in back] == [(2, 4), (4, 3), (3, 2), (2, 1)]
        assert used(bench) == b"version 1"
        await selection.roll_back(MODEL, "")
        with pytest.raises(
            RequestError, match=r"base of model gestures is in use: .* there are 0 \(the base\), 1, 2"
        ):
            await selection.roll_back(MODEL, "")
        await bench.ear.event("rolledBack", 5)
        assert told(bench)[-1] == ("rolledBack", 0, 1)
        await bench.ear.state("model/gestures", current=None, candidate=4)


async def test_history_keeps_what_a_rollback_would_lead_to_and_says_what_is_left_beyond(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 5)
        selection, run = selection_of(bench), bench.desk.ledger.run
        await selection.promote(MODEL, "", 2)
        await selection.promote(MODEL, "", 4)
        await run(drop_versions, 1)
        assert [row.version for row in await run(list_versions)] == [2, 4, 5]
        assert [row.version for row in await run(list_dropped)] == [1, 3]
        assert (await selection.roll_back(MODEL, "")).version == 2
        with pytest.raises(
            RequestError, match=r"no version 1 of model gestures; there are 0 \(the base\), 2, 4, 5$"
        ):
            await selection.roll_back(MODEL, "")


# ── beside a task ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("choice", "started_from"), [("promote", 2), ("roll back", 2), ("promote", 0)])
async def test_what_a_person_chose_while_a_task_ran_stays_in_use_and_the_result_is_kept(
    tmp_path: Path, choice: str, started_from: int
) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 2)
        selection = selection_of(bench)
        await selection.promote(MODEL, "", started_from)
        task, run = await bench.started()
        if choice == "promote":
            await selection.promote(MODEL, "", 1)
        else:
            await selection.roll_back(MODEL, "")
        ended = await completed_under(bench, run, task)
        began = f"version {started_from}" if started_from else "the base"
        reason = f"{began}, from which it started, is no longer in use"
        assert (ended["promotion"], ended["promotionReason"]) == ("kept", reason)
        assert used(bench) == b"version 1"
        await bench.ear.state("model/gestures", current=1, candidate=3, task=None)
        (version,) = [row for row in await bench.desk.ledger.run(list_versions) if row.version == 3]
        card = (bench.desk.store.version(MODEL, "", 3) / "card.json").read_text()
        assert card == version.card
        assert json.loads(card)["promotionReason"] == reason
        assert [path.name for path in bench.desk.store.versions(MODEL, "").rglob(".*")] == []
        assert bench.ear.events("promoted", task=task) == []


async def test_who_went_away_and_came_back_has_changed_nothing_for_the_task(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await with_versions(bench, 2)
        selection = selection_of(bench)
        task, run = await bench.started()
        for version in (1, 2):
            await selection.promote(MODEL, "", version)
        assert (await completed_under(bench, run, task))["promotion"] == "promoted"
        assert used(bench) == b"late"
        assert (await selection.roll_back(MODEL, "")).version == 2
