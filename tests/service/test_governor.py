"""The governor: real threads, made-up sensors, a clock that the test moves."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.policy.budget import Budget, Mode, Pace, Reading, Verdict
from finetuned.policy.kinds import disk_zone
from finetuned.service.governor import Governor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from finetuned.policy.budget import Sensor


@dataclass(kw_only=True)
class Thermometer:
    """Says `celsius`, or does what `trouble` does; counts the threads that are in it."""

    celsius: float | None = 50.0
    trouble: Callable[[], object] | None = None
    inside: int = 0
    name: str = "cpu"
    zone: str = "thermal"

    def read(self) -> Reading:
        """Read it, in the governor's thread."""
        self.inside += 1
        if self.trouble:
            self.trouble()
        self.inside -= 1
        return Reading(zone=self.zone, name=self.name, value=self.celsius)


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@dataclass
class Told:
    """What a listener has been told."""

    verdicts: list[Verdict] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, changes: AsyncIterator[Verdict]) -> None:
        """Keep every verdict."""
        async for verdict in changes:
            self.verdicts.append(verdict)
            self.more.set()

    async def next(self) -> Verdict:
        """Wait for something that was not told yet, and return the last of it."""
        await self.more.wait()
        self.more.clear()
        return self.verdicts[-1]


def governor(*sensors: Sensor, clock: Clock | None = None, deadline_s: float = 30.0) -> Governor:
    return Governor(
        sensors, Budget(min_paused_s=0), interval_s=0, deadline_s=deadline_s, clock=clock or Clock()
    )


async def test_a_hot_zone_pauses_and_a_cool_one_lets_go() -> None:
    sensor, clock = Thermometer(celsius=85.0), Clock()
    watched = governor(sensor, clock=clock)
    assert (await watched.look()).pace is Pace.paused
    assert watched.readings == {"thermal": 85.0}
    assert not watched.may_start().allowed
    sensor.celsius = 50.0
    paces = [str((await watched.look()).pace) for _ in range(12)]
    assert paces == ["paused"] * 2 + ["slow"] * 9 + ["full"]
    assert watched.may_start().allowed


async def test_listeners_hear_of_changes_only() -> None:
    sensor, told = Thermometer(), Told()
    watched = governor(sensor)
    listening = asyncio.create_task(told.listen(watched.changes()))
    assert (await told.next()).pace is Pace.full
    for celsius in (60.0, 85.0, 67.0, 82.0):  # paused at 85, and in effect nothing new after it
        sensor.celsius = celsius
        await watched.look()
        await watched.look()
    assert (await told.next()).pace is Pace.paused
    assert len(told.verdicts) == 2
    listening.cancel()


async def test_it_looks_for_as_long_as_it_runs() -> None:
    sensor, told = Thermometer(), Told()
    watched = governor(sensor)
    tasks = [asyncio.create_task(told.listen(watched.changes())), asyncio.create_task(watched.run())]
    await told.next()
    for celsius, pace in [(85.0, Pace.paused), (50.0, Pace.slow)]:
        sensor.celsius = celsius
        assert (await told.next()).pace is pace
    for task in tasks:
        task.cancel()


async def test_a_sensor_that_hangs_is_missing_and_its_thread_stays_the_only_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = threading.Event()
    stuck, fine = Thermometer(trouble=gate.wait, name="stuck"), Thermometer(celsius=71.0)
    watched = governor(stuck, fine, deadline_s=0.01)
    for _ in range(5):
        await watched.look()
    assert stuck.inside == 1
    assert watched.readings == {"thermal": 71.0}
    assert watched.warnings == ("thermal sensor stuck: still hangs",)
    assert watched.verdict.pace is Pace.slow
    assert [record.message for record in caplog.records] == ["thermal sensor stuck: hangs"]
    gate.set()


async def test_quick_sensors_share_a_thread_until_one_of_them_hangs() -> None:
    """Those behind it are read all the same, in another; it is missing, and nothing else is."""
    threads: list[str] = []
    gate = threading.Event()
    gate.set()

    def note() -> None:
        threads.append(threading.current_thread().name)
        gate.wait()

    sensors = [
        Thermometer(celsius=celsius, trouble=note, name=str(celsius)) for celsius in (40.0, 50.0, 60.0)
    ]
    watched = governor(*sensors, deadline_s=0.2)
    await watched.look()
    assert len(set(threads)) == 3, "of a new one nobody knows how long it takes"
    threads.clear()
    await watched.look()
    assert set(threads) == {"sensors 40.0, 50.0, 60.0"}
    gate.clear()
    sensors[2].trouble = None
    threads.clear()
    await watched.look()
    assert threads == ["sensors 40.0, 50.0, 60.0", "sensors 50.0"]
    assert watched.warnings == ("thermal sensor 40.0: hangs", "thermal sensor 50.0: hangs")
    assert watched.readings == {"thermal": 60.0}
    gate.set()
    while watched.warnings:
        await watched.look()


async def test_a_sensor_that_is_only_slow_for_once_is_heard_within_the_deadline() -> None:
    """The shared thread is left alone with it, and its reading is waited for."""
    gate = threading.Event()
    gate.set()
    sensors = [Thermometer(celsius=85.0, trouble=gate.wait, name="slow"), Thermometer(name="fine")]
    watched = governor(*sensors)
    await watched.look()
    gate.clear()
    asyncio.get_running_loop().call_later(0.7, gate.set)
    assert (await watched.look()).pace is Pace.paused
    assert (watched.warnings, watched.readings) == ((), {"thermal": 85.0})


async def test_a_sensor_that_wants_to_end_the_program_is_a_missing_reading() -> None:
    def leave() -> None:
        raise SystemExit(3)

    watched = governor(Thermometer(trouble=leave))
    for _ in range(2):
        await watched.look()
    assert watched.warnings == ("thermal sensor cpu: fails: SystemExit: 3",)


async def test_a_sensor_whose_thread_has_returned_is_read_again() -> None:
    gate = threading.Event()
    sensor = Thermometer(trouble=gate.wait)
    watched = governor(sensor, deadline_s=0.01)
    await watched.look()
    gate.set()
    while watched.warnings:
        await watched.look()
    assert watched.readings == {"thermal": 50.0}


def test_a_sensor_that_hangs_for_good_does_not_hold_up_the_end() -> None:
    gate = threading.Event()
    stuck = Thermometer(trouble=gate.wait)
    asyncio.run(governor(stuck, deadline_s=0.01).look())  # returns, though the thread does not
    assert stuck.inside == 1
    gate.set()


async def test_whatever_a_sensor_raises_or_returns_instead_of_a_reading_is_a_missing_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error", "/sys/secret/path")

    @dataclass(frozen=True)
    class Liar:
        name: str = "liar"
        zone: str = "battery"

        def read(self) -> tuple[Reading, ...]:
            return ("full",)  # type: ignore[return-value]  # a stranger's code returns what it likes

    watched = governor(Thermometer(trouble=fail), Thermometer(celsius=1000.0, name="far"), Liar())
    for _ in range(4):
        await watched.look()
    failed, lied, liar = sorted(watched.warnings, key=lambda text: "battery" in text)
    assert failed == "thermal sensor cpu: fails: OSError: Input/output error"
    assert lied == "thermal sensor far: not plausible: 1000"
    assert liar.startswith("battery sensor liar: fails: ")
    assert watched.verdict.pace is Pace.full
    assert len(caplog.records) == 3, "each is named once"


async def test_a_machine_without_a_sensor_has_no_such_budget_and_hears_of_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watched = governor(Thermometer())
    for _ in range(3):
        await watched.look()
    said = [record.message for record in caplog.records]
    assert said == ["this machine has no battery sensor: no budget of that kind"]
    assert watched.warnings == ()


async def test_a_mode_acts_at_once_and_falls_back_when_its_time_is_over() -> None:
    clock, told = Clock(), Told()
    watched = governor(Thermometer(), clock=clock)
    await watched.look()
    listening = asyncio.create_task(told.listen(watched.changes()))
    await told.next()
    watched.set_mode(Mode.never, for_s=600)
    assert ((await told.next()).pace, watched.verdict.reasons) == (Pace.paused, ("mode",))
    clock.now += 599
    assert (await watched.look()).pace is Pace.paused
    clock.now += 1
    assert ((await watched.look()).pace, watched.mode) == (Pace.full, Mode.auto)
    listening.cancel()


async def test_an_accelerator_in_use_is_left_first() -> None:
    watched = governor(Thermometer(celsius=75.0))
    watched.accelerator = True
    assert [str((await watched.look()).pace) for _ in range(3)] == ["full", "full", "cpu"]


async def test_who_waits_for_room_on_the_disk_hears_of_it_in_every_mode() -> None:
    room, told = Thermometer(celsius=100.0, zone="disk", name="free space"), Told()
    watched = Governor([room], Budget(zones=(disk_zone(min_free_mb=200.0),), min_paused_s=0), clock=Clock())
    watched.set_mode(Mode.never)
    listening = asyncio.create_task(told.listen(watched.changes()))
    await told.next()
    await watched.look()
    await told.next()
    assert watched.pauses_for("disk")
    room.celsius = 300.0
    for _ in range(3):
        await watched.look()
    await told.next()
    assert not watched.pauses_for("disk")
    listening.cancel()


async def test_an_urgent_task_is_released_by_its_own_time() -> None:
    """What has held the others for long has not held it at all."""
    clock = Clock()
    charge = Thermometer(celsius=10.0, zone="battery", name="BAT0")
    heat = Thermometer(celsius=50.0)
    budget = Budget(min_paused_s=0, release_after_s=60)
    watched = Governor([charge, heat], budget, clock=clock)
    await watched.look()
    clock.now += 100
    heat.celsius = 90.0
    await watched.look()
    assert (watched.verdict.pace, watched.verdict_for(urgent=True).pace) == (Pace.released, Pace.paused)
