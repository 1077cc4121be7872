"""Requests that concern all tasks: one that ends, or refuses, spoils it for nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from benches import Bench, a_bench
from fakes import INFO
from finetuned.edge.verbs import Desk
from finetuned.errors import HostError, ParameterError, RequestError
from finetuned.service.ledger_models import ModelRow, add_model
from finetuned.service.ledger_samples import accept_batch
from ledgers import a_sample, at

if TYPE_CHECKING:
    from pathlib import Path


async def at_no_glance() -> dict[str, Any]:
    return {}


def verbs_of(bench: Bench) -> Desk:
    return Desk(bench.tasks, bench.desk.ledger, at_no_glance)


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
