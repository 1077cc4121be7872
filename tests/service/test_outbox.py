"""Outcomes until they are acknowledged, progress while somebody listens, states at their latest."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import PluginError
from finetuned.service import ledger_outcomes
from finetuned.service.backlog import KEPT
from finetuned.service.events import EpochEnd, MiniBatchEnd, TrainingBegin
from finetuned.service.ledger import Ledger, opened
from finetuned.service.ledger_outcomes import advance_sink, append_outcomes, keep_sinks, sink_cursor, unsent
from finetuned.service.outbox import (
    Item,
    Outbox,
    OutcomeItem,
    ProgressItem,
    StateItem,
    Subscription,
)
from ledgers import an_outcome
from progress import a_batch, a_begin, an_epoch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def an_outbox(tmp_path: Path) -> AsyncIterator[tuple[Ledger, Outbox]]:
    async with Ledger.open(tmp_path / "ledger.db") as ledger:
        yield ledger, Outbox(ledger)


async def write(ledger: Ledger, outbox: Outbox, *numbers: int) -> None:
    await ledger.run(append_outcomes, [an_outcome(number) for number in numbers])
    outbox.outcomes_written()


async def take(subscription: Subscription, count: int, *, acknowledge: bool = True) -> list[Item]:
    items = []
    for _ in range(count):
        items.append(await anext(subscription))
        if acknowledge and isinstance(items[-1], OutcomeItem):
            await subscription.acknowledge(items[-1].id)
    return items


async def nothing_comes(subscription: Subscription, ledger: Ledger) -> bool:
    """Let a reader go as far as it can: through the ledger and back."""
    waiting = asyncio.ensure_future(anext(subscription))
    for _ in range(3):
        await ledger.run(lambda _: None)
    done = waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return not done


def said(items: list[Item]) -> list[object]:
    """Return an outcome as its version, progress as its step, a state as key and payload."""
    words: list[object] = []
    for item in items:
        match item:
            case OutcomeItem():
                words.append(f"outcome {item.payload['version']}")
            case ProgressItem():
                words.append(f"step {item.event.step}")
            case StateItem():
                words.append((item.key, item.payload))
    return words


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────
async def test_a_new_sink_gets_every_outcome_that_is_kept_in_order_with_its_row(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        await write(ledger, outbox, *range(1, 101))
        async with outbox.subscribe("mqtt") as subscription:
            items = await take(subscription, 100)
            await write(ledger, outbox, 101)
            items += await take(subscription, 1)
    assert said(items) == [f"outcome {number}" for number in range(1, 102)]
    first = items[0]
    assert isinstance(first, OutcomeItem)
    assert list(first.payload)[:2] == ["type", "id"]
    assert (first.type, first.payload["type"], first.payload["id"]) == ("modelSaved", "modelSaved", first.id)


async def test_no_outcome_comes_before_the_one_ahead_of_it_is_acknowledged(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        await write(ledger, outbox, 1, 2)
        async with outbox.subscribe("mqtt") as subscription:
            (first,) = await take(subscription, 1, acknowledge=False)
            assert isinstance(first, OutcomeItem)
            assert await nothing_comes(subscription, ledger)
            with pytest.raises(PluginError, match="acknowledges outcome 2; on its way is 1"):
                await subscription.acknowledge(2)
            waiting = asyncio.ensure_future(anext(subscription))
            await subscription.acknowledge(first.id)
            assert said([await waiting]) == ["outcome 2"]


async def test_what_was_not_acknowledged_comes_again_the_same_after_a_restart(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        await write(ledger, outbox, 1, 2)
        async with outbox.subscribe("mqtt") as subscription:
            await take(subscription, 1)
            lost = await take(subscription, 1, acknowledge=False)
    async with an_outbox(tmp_path) as (_, outbox), outbox.subscribe("mqtt") as subscription:
        assert await take(subscription, 1) == lost


async def test_sinks_acknowledge_each_for_itself(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        await write(ledger, outbox, 1)
        async with outbox.subscribe("mqtt") as one, outbox.subscribe("log") as other:
            assert await take(one, 1) == await take(other, 1)
            with pytest.raises(PluginError, match="needs a name of its own"):
                async with outbox.subscribe("mqtt"):
                    pass


def test_history_is_bounded_by_what_every_sink_has_and_by_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_outcomes, "KEPT", 3)
    with opened(tmp_path / "ledger.db") as db:
        sink_cursor(db, "slow")
        advance_sink(db, "quick", 10)
        append_outcomes(db, [an_outcome(number) for number in range(1, 11)])
        assert len(unsent(db, 0, 100)) == 10, "the slow one still needs them"
        advance_sink(db, "slow", 2)
        append_outcomes(db, [an_outcome(11)])
        assert [row.id for row in unsent(db, 0, 100)] == list(range(3, 12))
        keep_sinks(db, ["quick"])
        append_outcomes(db, [an_outcome(12)])
        assert [row.id for row in unsent(db, 0, 100)] == [10, 11, 12]
        advance_sink(db, "quick", 4)
        assert sink_cursor(db, "quick") == 10, "a cursor never goes back"


# ── progress ────────────────────────────────────────────────────────────────────────────────────
async def test_a_sink_that_stands_still_loses_the_least_important_progress_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        outbox.progress(a_batch(0))  # nobody listens
        async with outbox.subscribe("mqtt") as subscription:
            outbox.progress(a_begin(1))
            most, _ = KEPT[MiniBatchEnd]
            for step in range(1, most + 11):
                outbox.progress(a_batch(step))
            assert subscription.dropped == 10
            items = await take(subscription, 1 + most)
            assert said(items)[:2] == ["step 0", "step 11"]
            assert await nothing_comes(subscription, ledger)


async def test_mini_batches_push_out_no_epoch_while_a_sink_stands_still(tmp_path: Path) -> None:
    epochs = KEPT[EpochEnd][0]
    async with an_outbox(tmp_path) as (ledger, outbox), outbox.subscribe("mqtt") as subscription:
        outbox.progress(a_begin(1))
        for step in range(1, 20 * epochs + 1):
            outbox.progress(an_epoch(step // 20) if step % 20 == 0 else a_batch(step))
        items = [await anext(subscription) for _ in range(1 + epochs + KEPT[MiniBatchEnd][0])]
        assert await nothing_comes(subscription, ledger)
    events = [item.event for item in items if isinstance(item, ProgressItem)]
    assert isinstance(events[0], TrainingBegin)
    assert [event.step for event in events if isinstance(event, EpochEnd)] == list(range(1, epochs + 1))


async def test_progress_flows_while_an_outcome_is_on_its_way(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox), outbox.subscribe("mqtt") as subscription:
        await write(ledger, outbox, 1)
        await take(subscription, 1, acknowledge=False)
        outbox.progress(a_batch(7))
        assert said(await take(subscription, 1)) == ["step 7"]


async def test_an_outcome_does_not_overtake_the_progress_before_it(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox), outbox.subscribe("mqtt") as subscription:
        for step in (1, 2, 4):
            outbox.progress(a_batch(step))
        await write(ledger, outbox, 2, 3)
        items = await take(subscription, 5)
    assert said(items) == ["step 1", "step 2", "outcome 2", "outcome 3", "step 4"]


# ── states ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_sink_begins_with_every_state_and_then_sees_only_the_latest_of_each(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox):
        outbox.state("state", b"1")
        outbox.state("task/T/state", b"1")
        outbox.state("task/T/state", b"2")
        async with outbox.subscribe("mqtt") as subscription:
            assert said(await take(subscription, 2)) == [("state", b"1"), ("task/T/state", b"2")]
            for payload in (b"3", b"4", None):
                outbox.state("task/T/state", payload)
            outbox.state("state", b"1")
            assert said(await take(subscription, 1)) == [("task/T/state", None)]
            assert await nothing_comes(subscription, ledger)
        assert outbox.states == {"state": b"1"}


async def test_tasks_that_come_and_go_leave_nothing_with_a_sink_that_stands_still(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox), outbox.subscribe("mqtt") as subscription:
        for number in range(1000):
            outbox.state(f"task/{number}/state", b"running")
            outbox.state(f"task/{number}/state", None)
        assert await nothing_comes(subscription, ledger)


async def test_states_and_events_take_turns(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (_, outbox), outbox.subscribe("mqtt") as subscription:
        for number in (1, 2):
            outbox.state(f"model/{number}/state", b"")
            outbox.progress(a_batch(number))
        items = await take(subscription, 4)
    assert said(items) == [("model/1/state", b""), "step 1", ("model/2/state", b""), "step 2"]


async def test_a_wait_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    async with an_outbox(tmp_path) as (ledger, outbox), outbox.subscribe("mqtt") as subscription:
        assert await nothing_comes(subscription, ledger)
        await write(ledger, outbox, 1)
        reading = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)  # it has asked the ledger, and is called off before the answer
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert said(await take(subscription, 1)) == ["outcome 1"]
