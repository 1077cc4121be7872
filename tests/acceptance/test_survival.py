"""Tasks survive, shown on a real daemon: releases, power cuts, broken checkpoints, two at once, a damaged ledger."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from acceptance.house import ENDINGS, LONG, House, digits, drop_digits, version_sha
from finetuned.edge.demo_data import DROPS, pictures
from service.samples import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = ("ann", "bob")

pytestmark = pytest.mark.timeout(180)


def checkpoints(house: House, task: str) -> dict[int, Path]:
    """Return a task's checkpoints that the ledger knows, by step, the newest first."""
    with closing(sqlite3.connect(f"file:{house.state / 'ledger.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT step, path FROM checkpoints ORDER BY attempt DESC, step DESC").fetchall()
    return {step: house.state / "tasks" / task / path for step, path in rows}


async def trained(house: House, *, kept: int = 2) -> str:
    """Drop the samples and wait until the task has so many checkpoints; in the heat, lest it end before it has two."""
    drop_digits(house)
    task: str = (await house.ear.event("trainingBegin"))["task"]
    house.sysfs.heat(75 if kept > 1 else 50)
    await until(lambda: len(checkpoints(house, task)) >= kept)
    house.sysfs.heat(50)
    return task


async def counted(house: House, what: str, count: int) -> None:
    """Wait until the daemon says that so many tasks are queued, or run."""

    def told() -> bool:
        state = house.ear.retained["state"]
        return count == (state["queued"] if what == "queued" else len(state["running"]))

    await house.ear.until(told, f"{count} {what}")


async def ended(house: House, undisturbed: str) -> None:
    """Wait for the one end, which is that of a task to which nothing has happened."""
    await house.ear.event("completed")
    assert [event["type"] for event in house.ear.events(*ENDINGS)] == ["completed"]
    assert version_sha(house) == undisturbed
    assert not list((house.state / "tasks").iterdir())


def steps(house: House) -> Iterator[int]:
    """Yield where each attempt began."""
    yield from (event["step"] for event in house.ear.events("trainingBegin"))


async def test_a_task_that_is_held_for_long_leaves_no_worker_and_goes_on_from_its_checkpoint(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG, release_after_s=0.3, warm_s=0.0) as house:
        task = await trained(house, kept=1)
        await house.request("pause", task=task)
        released = await house.ear.event("paceChanged", pace="released")
        assert released["reasons"] == ["user"]
        await until(lambda: house.worker is None)
        await house.request("resume", task=task)
        await ended(house, undisturbed)
        first, second = steps(house)
        assert first == 0 < second
        assert [event["type"] for event in house.ear.events("paused", "resumed")] == ["paused", "resumed"]


async def test_after_a_power_cut_a_task_goes_on_from_its_checkpoint(tmp_path: Path, undisturbed: str) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        await trained(house)
        await house.kill()
        await house.start()
        await ended(house, undisturbed)
        assert max(steps(house)) > 0


async def test_a_daemon_that_is_asked_to_stop_leaves_a_checkpoint_of_this_very_moment(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        heard = (await house.ear.event("epochEnd"))["step"]
        assert await house.stop() == 0
        await house.start()
        await ended(house, undisturbed)
        assert max(steps(house)) >= heard


@pytest.mark.parametrize("broken", [1, 2], ids=["the newest is broken", "both are broken"])
async def test_a_broken_checkpoint_falls_back_to_the_one_before_then_to_the_start(
    tmp_path: Path, undisturbed: str, broken: int
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        task = await trained(house)
        await house.kill()
        kept = checkpoints(house, task)
        for path in list(kept.values())[:broken]:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        await house.start()
        await ended(house, undisturbed)
        assert list(steps(house))[-1] == (min(kept) if broken == 1 else 0)
        assert house.log.count("it is damaged: its SHA-256 is") == broken


async def test_tasks_of_two_users_run_side_by_side_and_end_in_the_same_bytes(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG, users="true", max_running=2, least=100) as house:
        await house.request("mode", mode="never")  # until both can start
        for user in USERS:
            drop_digits(house, place=f"digits/{user}")
        await counted(house, "queued", 2)
        await house.request("mode", mode="auto")
        await counted(house, "running", 2)
        house.sysfs.heat(75)  # lest one ends before the other has begun
        for user in USERS:
            await house.ear.event("trainingBegin", user=user)
        house.sysfs.heat(50)
        for user in USERS:
            await house.ear.event("completed", user=user)
            assert version_sha(house, place=f"digits/{user}") == undisturbed
        told = [event["type"] for event in house.ear.events("trainingBegin", "completed")]
        assert told == ["trainingBegin"] * 2 + ["completed"] * 2


async def test_samples_that_come_while_a_task_runs_wait_for_the_next_one(tmp_path: Path) -> None:
    async with digits(tmp_path, parameters=LONG, least=50) as house:
        drop_digits(house, 50)
        await house.ear.event("trainingBegin")
        for picture in pictures(DROPS)[50:]:
            house.drop(f"digits/{picture.label}/{picture.path.name}", picture.path)
        await house.ear.event("completed", samples=50)
        await house.ear.event("completed", samples=100)


async def test_a_damaged_ledger_is_kept_aside_and_refused_in_a_sentence(tmp_path: Path) -> None:
    async with digits(tmp_path) as house:
        drop_digits(house)
        await house.ear.event("completed")
        assert await house.stop() == 0
        ledger = house.state / "ledger.db"
        whole = ledger.read_bytes()
        damaged = bytearray(whole)
        damaged[4096:12288] = bytes(8192)
        ledger.write_bytes(damaged)
        with pytest.raises(AssertionError, match="the daemon has ended"):
            await house.start()
        assert "Traceback" not in house.said
        assert str(ledger) in house.said
        (aside,) = house.state.glob("ledger.db.broken-*")
        assert aside.read_bytes() == damaged
        ledger.write_bytes(whole)
        await house.start()
        assert (await house.request("status"))["data"]["models"][0]["current"] == 1


async def test_a_task_pauses_and_goes_on_though_everything_was_stopped_for_a_while(
    tmp_path: Path, undisturbed: str
) -> None:
    """As a machine does that was suspended to RAM."""
    async with digits(tmp_path, parameters=LONG) as house:
        await trained(house, kept=1)
        house.freeze(frozen=True)
        await asyncio.sleep(0.5)  # nothing happens now that could be waited for
        house.freeze(frozen=False)
        await ended(house, undisturbed)
        assert list(steps(house)) == [0]
