"""What requests do: to all tasks, where one that ends or refuses spoils it for nobody; to the mode, to versions, to traces."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benches import Bench, a_bench
from fakes import INFO
from finetuned.edge.verbs import Desk
from finetuned.errors import HostError, ParameterError, RequestError
from finetuned.policy.budget import Budget, Mode
from finetuned.service.governor import Governor
from finetuned.service.ledger_models import ModelRow, add_model
from finetuned.service.ledger_samples import accept_batch, list_samples
from finetuned.service.modes import Modes
from finetuned.service.selection import Selection
from forgetting import forgetting_of
from ledgers import a_sample, at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from finetuned.edge.payloads import StatusAnswer


async def at_no_glance() -> StatusAnswer:
    raise AssertionError


def at_no_inbox() -> int:
    raise AssertionError


def selection_of(bench: Bench) -> Selection:
    return Selection(desk=bench.desk, showcase=bench.tasks.showcase)


def modes_of(bench: Bench, configured: Mode = Mode.auto) -> Modes:
    return Modes(desk=bench.desk, governor=bench.governor, configured=configured)


def verbs_of(bench: Bench) -> Callable[[str, dict[str, Any]], Awaitable[Any]]:
    """Return what answers as a subscriber would hear it."""
    desk = Desk(
        bench.tasks,
        bench.desk.ledger,
        modes_of(bench),
        at_no_glance,
        selection=selection_of(bench),
        forgetting=forgetting_of(bench),
        rescan=at_no_inbox,
    )

    async def ask(verb: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return msgspec.to_builtins(await desk(verb, body))

    return ask


async def after_a_start(bench: Bench, configured: Mode = Mode.auto) -> tuple[Mode, float | None]:
    """Return the mode, and the seconds it has left, of the next daemon on this ledger."""
    governor = Governor([], Budget(mode=configured), clock=bench.clock)
    await Modes(desk=bench.desk, governor=governor, configured=configured).restore()
    return governor.mode, governor.mode_left_s


async def with_a_narrow_model(bench: Bench) -> None:
    """Register a model that allows small learning rates only, with a sample."""
    rate = msgspec.structs.replace(INFO.parameters["learningRate"], range=(0.0, 0.1))
    info = msgspec.structs.replace(INFO, parameters={**INFO.parameters, "learningRate": rate})
    await bench.desk.ledger.run(
        add_model, ModelRow(name="narrow", digest="c" * 64, info=info, added_at=at(0))
    )
    await bench.desk.ledger.run(accept_batch, [replace(a_sample(), model="narrow")])


@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_a_task_that_ends_while_all_are_asked_keeps_none_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    async with a_bench(tmp_path) as bench:
        ended = await bench.train()
        bench.clock.now += 1.0  # the one that ends is the older one
        alive = await bench.train("ann")
        if verb == "resume":
            await bench.tasks.pause(alive)
        all_alive, seen = bench.tasks.all_alive, []

        async def meanwhile() -> tuple[str, ...]:
            seen.append(await all_alive())
            if len(seen) == 1:
                run = await bench.executor.run(1)
                run.complete()
                await bench.is_clear(ended)
            return seen[-1]

        monkeypatch.setattr(bench.tasks, "all_alive", meanwhile)
        answer = await verbs_of(bench)(verb, {"task": "all"})
        assert seen[0] == (ended, alive)
        assert [shown["task"] for shown in answer["tasks"]] == [alive]
        assert (await bench.row(alive)).held is (verb == "pause")
        with pytest.raises(RequestError, match="has ended"):
            await verbs_of(bench)(verb, {"task": ended})


async def test_what_one_living_task_refuses_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.train()

        async def refused(_: str) -> None:
            raise error

        monkeypatch.setattr(bench.tasks, "pause", refused)
        for error in (RequestError("not now"), HostError("the disk is full")):
            with pytest.raises(type(error), match=str(error)):
                await verbs_of(bench)("pause", {"task": "all"})


async def test_a_learning_rate_that_one_model_refuses_changes_no_task(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await with_a_narrow_model(bench)
        wide, narrow = await bench.train(), (await bench.tasks.train("narrow", "", {})).id
        verbs = verbs_of(bench)
        await verbs("pause", {"task": "all"})
        with pytest.raises(ParameterError, match=r"model narrow: .*0 to 0.1.*; no task was changed"):
            await verbs("resume", {"task": "all", "parameters": {"learningRate": 0.5}})
        for task in (wide, narrow):
            row = await bench.row(task)
            assert (row.held, row.adjustments) == (True, ())
        answer = await verbs("resume", {"task": "all", "parameters": {"learningRate": 0.05}})
        assert {shown["task"] for shown in answer["tasks"]} == {wide, narrow}
        for task in (wide, narrow):
            row = await bench.row(task)
            assert (row.held, [each.learning_rate for each in row.adjustments]) == (False, [0.05])


# ── the mode ────────────────────────────────────────────────────────────────────────────────────
async def test_the_mode_is_changed_at_once_and_answered(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        assert await verbs_of(bench)("mode", {"mode": "never"}) == {"mode": "never", "forSeconds": None}
        assert bench.governor.verdict.reasons == ("mode",)
        answer = await verbs_of(bench)("mode", {"mode": "always", "forSeconds": 7200})
        assert answer == {"mode": "always", "forSeconds": 7200.0}
        assert (bench.governor.mode, bench.governor.mode_left_s) == (Mode.always, 7200.0)


async def test_a_mode_is_kept_before_it_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_bench(tmp_path) as bench:

        async def full(*_: object, **__: object) -> None:
            raise HostError("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(bench.desk.ledger, "run", full)
            with pytest.raises(HostError, match="the disk is full"):
                await verbs_of(bench)("mode", {"mode": "never"})
        assert bench.governor.mode is Mode.auto


@pytest.mark.parametrize("lived_s", [100.0, 3599.0])
async def test_after_a_start_a_mode_holds_for_as_long_as_it_would_have(
    tmp_path: Path, lived_s: float
) -> None:
    async with a_bench(tmp_path) as bench:
        await verbs_of(bench)("mode", {"mode": "never", "forSeconds": 3600})
        bench.clock.now += lived_s
        mode, left_s = await after_a_start(bench)
        assert mode is Mode.never
        assert left_s == pytest.approx(3600 - lived_s)


async def test_a_mode_that_was_over_before_the_start_has_fallen_back_to_auto(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await modes_of(bench, Mode.never).ask("always", 60.0)
        bench.clock.now += 60.0
        assert await after_a_start(bench, Mode.never) == (Mode.auto, None)


async def test_a_mode_without_an_end_holds_after_every_start(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await verbs_of(bench)("mode", {"mode": "never"})
        bench.clock.now += 1e6
        for _ in range(2):
            assert await after_a_start(bench) == (Mode.never, None)


async def test_a_configuration_that_has_changed_since_counts_and_the_wish_does_not_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path) as bench:
        await verbs_of(bench)("mode", {"mode": "never"})
        assert await after_a_start(bench, Mode.always) == (Mode.always, None)
        assert "mode is always now, and was auto when the mode never was asked for" in caplog.text
        assert await after_a_start(bench, Mode.auto) == (Mode.auto, None)


async def test_a_clock_that_begins_anew_makes_no_mode_longer_than_was_asked_for(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.clock.now += 1e6
        await verbs_of(bench)("mode", {"mode": "never", "forSeconds": 60})
        bench.clock.now -= 1e6
        assert await after_a_start(bench) == (Mode.never, 60.0)


async def test_a_mode_in_the_ledger_that_never_was_is_said_and_the_configuration_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_bench(tmp_path) as bench:
        await verbs_of(bench)("mode", {"mode": "never"})
        await bench.desk.ledger.run(lambda db: db.execute("UPDATE mode SET mode = 'sometimes'"))
        assert await after_a_start(bench) == (Mode.auto, None)
        assert "what cannot be ('sometimes')" in caplog.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"mode": "sometimes"}, "'sometimes' is no mode; there are auto, always, never"),
        ({"mode": "x" * 1000}, "'x{40}' is no mode"),
        ({}, "mode: .*it takes mode, forSeconds"),
        ({"mode": "auto", "forSeconds": 60}, "auto takes no duration"),
        *(
            ({"mode": "never", "forSeconds": seconds}, r"more than 0 and up to 31622400 seconds \(366 days\)")
            for seconds in (0, -1, float("nan"), float("inf"), 10**300, 31_622_401)
        ),
        *(
            ({"mode": "never", "forSeconds": wrong}, "it takes mode, forSeconds")
            for wrong in (True, "2h", [60], 10**400)
        ),
    ],
)
async def test_what_is_no_mode_or_no_duration_is_refused_and_changes_nothing(
    tmp_path: Path, body: dict[str, Any], said: str
) -> None:
    async with a_bench(tmp_path) as bench:
        with pytest.raises(RequestError, match=said):
            await verbs_of(bench)("mode", body)
        assert bench.governor.mode is Mode.auto
        assert await after_a_start(bench) == (Mode.auto, None)


# ── versions ────────────────────────────────────────────────────────────────────────────────────
async def test_versions_are_promoted_and_rolled_back_and_the_answer_says_what_was_used_before(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        for number in (1, 2):
            task, run = await bench.started("ann")
            run.complete(b"version %d" % number)
            await bench.is_clear(task)
        verbs, pair = verbs_of(bench), {"model": "gestures", "user": "ann"}
        answer = await verbs("promote", {**pair, "version": 0})
        assert answer == {**pair, "version": 0, "fromVersion": 2}
        assert await verbs("promote", {**pair, "version": 1}) == {**pair, "version": 1, "fromVersion": 0}
        assert await verbs("rollback", pair) == {**pair, "version": 0, "fromVersion": 1}
        with pytest.raises(RequestError, match=r"there are 0 \(the base\), 1, 2$"):
            await verbs("rollback", pair)


async def test_a_rescan_begins_and_says_how_many_files_wait(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        desk = Desk(
            bench.tasks,
            bench.desk.ledger,
            modes_of(bench),
            at_no_glance,
            selection=selection_of(bench),
            forgetting=forgetting_of(bench),
            rescan=lambda: 7,
        )
        assert msgspec.to_builtins(await desk("rescan", {})) == {"waitingSamples": 7}
        with pytest.raises(RequestError, match="it takes nothing"):
            await desk("rescan", {"model": "gestures"})


# ── forgetting ──────────────────────────────────────────────────────────────────────────────────
async def test_forgetting_answers_what_is_gone(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        verbs = verbs_of(bench)
        (sample, *_) = await bench.desk.ledger.run(list_samples, "gestures", "ann")
        answer = await verbs("forget", {"model": "gestures", "user": "ann", "sample": sample.digest.upper()})
        assert answer == {"model": "gestures", "user": "ann", "samples": 1, "versions": 0}
        assert (await verbs("forget", {"model": "gestures", "label": "✊"}))["samples"] == 10
        assert (await verbs("forget", {"model": "gestures", "user": "ann"}))["samples"] == 9
        assert (await verbs("forget", {"model": "gestures"}))["samples"] == 0
        with pytest.raises(RequestError, match="no model named gestures; registered are: none yet"):
            await verbs("forget", {"model": "gestures"})


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("forget", {"label": "✊", "sample": "0" * 64}, "a label or a sample, not both"),
        ("forget", {"sample": "0" * 63}, "its SHA-256, which are 64 hex digits"),
        ("forget", {"sample": "g" * 64}, "its SHA-256, which are 64 hex digits"),
        ("forget", {}, "it takes model, user, label, sample"),
        *(
            (verb, {"model": model, "user": user}, "cannot be a (model|user)'s name")
            for verb in ("train", "rollback", "forget")
            for model, user in [
                ("../x", ""),
                ("gestures", "../../x"),
                ("gestures", "_"),
                ("a/b", ""),
                ("#", ""),
            ]
        ),
        ("promote", {"model": "gestures", "user": "\0", "version": 0}, "cannot be a user's name"),
        ("promote", {"model": "gestures", "version": -1}, "it takes model, user, version"),
        ("promote", {"model": "gestures", "version": True}, "it takes model, user, version"),
    ],
)
async def test_what_is_no_such_request_is_refused(
    tmp_path: Path, verb: str, body: dict[str, Any], said: str
) -> None:
    async with a_bench(tmp_path) as bench:
        if said != "it takes model, user, label, sample":
            body = {"model": "gestures", **body}
        with pytest.raises(RequestError, match=said):
            await verbs_of(bench)(verb, body)
        assert len(await bench.desk.ledger.run(list_samples, "gestures", "")) == 10
