"""The budget at work on a real training, with the kernel's own paths mounted over: whatever it does, the bytes are the same."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import buses
from acceptance.house import ENDINGS, LONG, House, digits, drop_digits, version_sha
from acceptance.world import (
    PACES,
    SPEEDS,
    a_manager,
    a_small_disk,
    a_world,
    believable_clock,
    needs_pressure,
    reached,
    rungs,
    seen_by_psutil,
    shown,
    ticks,
)
from finetuned.edge.demo_data import MODEL
from service.samples import until

if TYPE_CHECKING:
    from pathlib import Path

    from acceptance.house import Event

pytestmark = pytest.mark.timeout(180)

FULL, SLOW, SLOWER, SLOWEST, PAUSED = range(len(SPEEDS))


LIES = {
    "-273000": "not plausible: -273",
    "1000000": "not plausible: 1000",
    "warm": "temp says 'warm'",
    "": "temp is empty",
}


async def training(house: House) -> str:
    """Drop the samples and return the task, in the middle of its training."""
    drop_digits(house)
    task: str = (await house.ear.event("epochEnd"))["task"]
    return task


async def ended(house: House, undisturbed: str) -> None:
    """Wait for the one end, which is that of a task to which nothing has happened."""
    await house.ear.event("completed")
    assert [event["type"] for event in house.ear.events(*ENDINGS)] == ["completed"]
    assert version_sha(house) == undisturbed


async def times(house: House, kind: str, count: int) -> Event:
    """Wait until there are so many events of a kind, and return the last."""
    await house.ear.until(lambda: len(house.ear.events(kind)) == count, f"{kind} for the {count}. time")
    return house.ear.events(kind)[-1]


async def warned(house: House, said: str) -> None:
    """Wait until the state topic has a warning of this."""
    await house.ear.until(lambda: said in str(house.ear.retained["state"]["warnings"]), f"the warning {said}")


async def verdict(house: House) -> int:
    """Return the rung on which the budget stands now, ahead of any event; half of the cores is not told apart."""
    state = (await house.request("status"))["data"]["state"]
    return SPEEDS.index((state["pace"], state["duty"], 1.0))


def behind(event: Event) -> tuple[str, list[str], float, float | None]:
    """Return what an event of pace says of its cause."""
    return event["zone"], event["reasons"], event["reading"], event.get("trip")


# ── heat ────────────────────────────────────────────────────────────────────────────────────────
async def test_heat_slows_a_task_step_by_step_and_pauses_it_and_cooling_leads_back_up_the_same_steps(
    tmp_path: Path, undisturbed: str
) -> None:
    with a_manager(tmp_path) as manager:
        async with a_world(tmp_path, interval_s=0.1) as (house, _):
            house.sysfs.heat(50)
            await training(house)
            house.sysfs.heat(75)
            await reached(house, SLOWEST)
            slow = await shown(house, pace="slow", duty=0.25, reasons=["thermal"], readings={"thermal": 75.0})
            house.sysfs.heat(90)
            await reached(house, PAUSED)
            held = await shown(house, pace="paused", readings={"thermal": 90.0})
            house.sysfs.heat(55)
            await reached(house, FULL)
            await shown(house, pace="full", reasons=[])
            await ended(house, undisturbed)

    assert rungs(house) == [SLOW, SLOWER, SLOWEST, PAUSED, SLOWEST, SLOWER, SLOW, FULL]
    *told, last = house.ear.events(*PACES)
    heating, cooling = ("thermal", ["thermal"], 75.0, 70.0), ("thermal", ["thermal"], 55.0, 70.0)
    assert [behind(e) for e in told] == [*[heating] * 3, ("thermal", ["thermal"], 90.0, 80.0), *[cooling] * 3]
    assert not {"reasons", "zone", "reading", "trip"} & last.keys()
    assert slow["causes"] == [{"reason": "thermal", "zone": "thermal", "reading": 75.0, "trip": 70.0}]
    assert held["causes"] == [{"reason": "thermal", "zone": "thermal", "reading": 90.0, "trip": 80.0}]
    assert "STATUS=training 1, 0 waiting, pace slow (thermal 75 °C (trip 70 °C))" in manager.said
    assert "STATUS=training 0, 1 waiting, pace paused (thermal 90 °C (trip 80 °C))" in manager.said


async def test_a_temperature_that_flaps_moves_nothing_turns_nothing_around_and_pauses_once(
    tmp_path: Path, undisturbed: str
) -> None:
    async with a_world(tmp_path, min_running_s=3600.0, interval_s=0.02) as (house, world):
        await training(house)
        async with world.flapping(64, 71):
            await world.looked(20)
            assert await verdict(house) == FULL, "three readings in a row are needed"
        async with world.flapping(64, 71, dwell=4):
            await shown(house, pace="slow", duty=0.25)
            await world.looked(20)
            assert await verdict(house) == SLOWER, "it went up before an hour was over"
        async with world.flapping(79.9, 80.1):
            await reached(house, PAUSED)
            await world.looked(20)
        house.sysfs.heat(40)
        await ended(house, undisturbed)
        held = rungs(house).index(PAUSED)
        assert rungs(house)[:held] == sorted(rungs(house)[:held]), "it turned around"
        assert rungs(house)[held:] == sorted(rungs(house)[held:], reverse=True), "it was held more than once"


async def test_a_paused_task_uses_no_processor_and_where_memory_is_short_gives_its_own_back(
    tmp_path: Path, undisturbed: str
) -> None:
    needs_pressure()
    async with a_world(tmp_path) as (house, world):
        await training(house)
        worker = house.worker
        assert worker
        before = ticks(worker)
        await world.looked(10)
        assert ticks(worker) - before > 10
        house.sysfs.heat(90)
        await reached(house, PAUSED)
        before = ticks(worker)
        await world.looked(20)
        assert ticks(worker) - before <= 1, "one tick of the clock can hit it as it listens"
        world.press(65)
        await until(lambda: house.worker is None)
        assert (await shown(house, reasons=["memory", "thermal"]))["readings"]["memory"] == 65.0
        house.sysfs.heat(40)
        await shown(house, reasons=["memory"])
        world.press(0)
        await ended(house, undisturbed)
        first, second = (event["step"] for event in house.ear.events("trainingBegin"))
        assert first == 0 < second


async def test_a_task_that_heat_holds_for_long_is_released_and_after_a_power_cut_waits_until_it_is_cool(
    tmp_path: Path, undisturbed: str
) -> None:
    async with a_world(tmp_path, release_after_s=0.3, warm_s=0.0) as (house, world):
        await training(house)
        house.sysfs.heat(90)
        assert (await house.ear.event("paceChanged", pace="released"))["reasons"] == ["thermal"]
        await until(lambda: house.worker is None)
        await house.kill()
        await house.start()
        await world.looked(10)
        assert len(house.ear.events("trainingBegin")) == 1
        assert (await shown(house, reasons=["thermal"]))["running"] == []
        house.sysfs.heat(55)
        await ended(house, undisturbed)


# ── sensors that fail ───────────────────────────────────────────────────────────────────────────
async def test_a_sensor_that_lies_or_hangs_is_missing_one_that_is_gone_is_none_and_each_counts_when_it_is_back(
    tmp_path: Path, undisturbed: str
) -> None:
    async with a_world(tmp_path, missing="pause") as (house, world):
        await training(house)
        for count, (lie, why) in enumerate(LIES.items(), start=1):
            world.say(lie)
            await times(house, "paused", count)
            await warned(house, f"thermal sensor x86_pkg_temp: {why}")
            world.say("40000")
            await times(house, "resumed", count)

        await world.hang()
        await times(house, "paused", count + 1)
        await warned(house, "thermal sensor temperatures: still hangs")
        await world.answer("40000")
        await times(house, "resumed", count + 1)

        house.sysfs.heat(90)
        await times(house, "paused", count + 2)
        shutil.rmtree(world.zone)
        await times(house, "resumed", count + 2)
        house.sysfs.heat(91)
        assert (await times(house, "paused", count + 3))["reading"] == 91.0
        house.sysfs.heat(40)
        await ended(house, undisturbed)
        await shown(house, warnings=[], pace="full")


# ── power ───────────────────────────────────────────────────────────────────────────────────────
async def test_psutil_sees_what_the_state_topic_shows_of_a_laptop_that_is_unplugged_and_drained(
    tmp_path: Path, undisturbed: str
) -> None:
    async with a_world(tmp_path) as (house, _):
        house.sysfs.power("Charging", 80)
        await training(house)
        house.sysfs.power("Discharging", 80)
        assert behind(await reached(house, SLOWEST)) == ("battery", ["battery"], 80.0, None)
        seen = seen_by_psutil(house)
        assert seen["heat"]["x86_pkg_temp"][0][1] == 40.0
        assert (seen["battery"]["percent"], seen["battery"]["power_plugged"]) == (80, False)
        await shown(house, readings={"thermal": 40.0, "battery": 80.0}, reasons=["battery"])

        house.sysfs.power("Discharging", 25)
        assert behind(await reached(house, PAUSED)) == ("battery", ["battery"], 25.0, 30.0)
        assert seen_by_psutil(house)["battery"]["percent"] == 25
        await shown(house, readings={"thermal": 40.0, "battery": 25.0}, pace="paused")

        house.sysfs.power("Charging", 26)
        await reached(house, FULL)
        assert seen_by_psutil(house)["battery"]["power_plugged"]
        await ended(house, undisturbed)


async def test_an_urgent_model_trains_while_the_battery_holds_another_s_task(
    tmp_path: Path, undisturbed: str
) -> None:
    urgent = f'[models.alarm]\npath = "{MODEL}"\npriority = "urgent"\n'
    async with a_world(tmp_path, more=urgent, max_running=2) as (house, _):
        await training(house)
        house.sysfs.power("Discharging", 25)
        await reached(house, PAUSED)
        drop_digits(house, place="alarm")
        await house.ear.event("completed", model="alarm")
        assert not house.ear.events("resumed")
        house.sysfs.power("Charging", 26)
        await house.ear.event("completed", model="digits")
        assert version_sha(house) == undisturbed


async def test_upower_s_word_counts_where_it_runs(
    tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with buses.bus(tmp_path) as bus, bus.service("upower", buses.UPOWER):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        async with a_world(tmp_path) as (house, _):
            buses.show_battery(bus, 20, on_battery=False)
            await training(house)
            buses.show_battery(bus, 20, on_battery=True)
            assert behind(await reached(house, PAUSED)) == ("battery", ["battery"], 20.0, 30.0)
            buses.show_battery(bus, 21, on_battery=False)
            await ended(house, undisturbed)


# ── what else there is ──────────────────────────────────────────────────────────────────────────
async def test_a_program_that_prints_a_number_is_heeded(tmp_path: Path, undisturbed: str) -> None:
    watts = tmp_path / "watts"
    watts.write_text("200")
    solar = (
        f'[budget.commands.solar]\nrun = ["cat", "{watts}"]\nthrottle = 150.0\npause = 50.0\nresume = 180.0\n'
    )
    async with a_world(tmp_path, more=solar) as (house, _):
        await training(house)
        watts.write_text("120")
        assert behind(await reached(house, SLOWEST)) == ("command/solar", ["command"], 120.0, 150.0)
        watts.write_text("20")
        assert behind(await reached(house, PAUSED)) == ("command/solar", ["command"], 20.0, 50.0)
        watts.write_text("200")
        await ended(house, undisturbed)


async def test_outside_of_its_schedule_a_task_waits(
    tmp_path: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD", believable_clock(tmp_path))
    async with a_world(tmp_path, more=_window(2, 4)) as (house, world):
        drop_digits(house)
        await shown(house, queued=1, reasons=["schedule"], pace="paused")
        await world.looked(10)
        assert not house.ear.events("trainingBegin")
        await house.stop()
        house.more = house.more.replace(_window(2, 4), _window(-1, 2))
        await house.start()
        await ended(house, undisturbed)


def _window(begins_h: int, ends_h: int) -> str:
    """Return a schedule's line: from so many hours after now to so many."""
    now = datetime.now()  # noqa: DTZ005 - the machine's own time of day, as a schedule has it
    begin, end = (f"{now + timedelta(hours=hours):%H}:00" for hours in (begins_h, ends_h))
    return f'[budget.schedule]\nwindows = ["{begin}-{end}"]\n'


async def test_while_the_disk_is_full_nothing_is_taken_from_the_inbox(tmp_path: Path) -> None:
    with a_small_disk(tmp_path / "state", 40) as disk:
        async with digits(tmp_path, parameters=LONG, min_free_mb=20) as house:
            (disk / "filler").write_bytes(bytes(30_000_000))
            await shown(house, reasons=["disk"])
            drop_digits(house)
            await warned(house, "nothing is taken")
            assert len([path for path in house.inbox.rglob("*.png") if path.is_file()]) == 100
            assert not house.ear.events()
            (disk / "filler").unlink()
            assert (await house.ear.event("completed"))["samples"] == 100
            assert not list(house.inbox.rglob("*.png"))
