"""What `finetuned budget` says of readings, real and simulated, and which it refuses."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from finetuned.edge import budget_cli
from finetuned.edge.budget_view import parts
from finetuned.edge.config import parse
from finetuned.edge.limits import budget_of
from finetuned.edge.prospect import found
from finetuned.edge.simulation import simulated
from finetuned.errors import ParameterError
from finetuned.policy.budget import Reading
from finetuned.service.governor import Governor

if TYPE_CHECKING:
    from finetuned.policy.budget import Budget

PACKAGE = Reading(zone="thermal", name="x86_pkg_temp", value=50.0)
BOARD = Reading(zone="thermal", name="acpitz", value=40.0, passive=70.0)
CHARGE = Reading(zone="battery", name="BAT0", value=88.0, on_battery=False)


def a_budget(text: str = "") -> Budget:
    return budget_of(parse(text).budget)


def said(*simulate: str, readings: tuple[Reading, ...] = (PACKAGE, CHARGE), text: str = "") -> dict[str, Any]:
    """Return the prospect as a script reads it."""
    budget = a_budget(text)
    prospect = found(budget, simulated(budget, readings, simulate), simulate=simulate)
    answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(prospect.as_json()))
    return answer


def zone_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(zone for zone in answer["zones"] if zone["name"] == name)


def places_of(answer: dict[str, Any], zone: str) -> dict[str, Any]:
    return {place["name"]: place for place in zone_of(answer, zone)["places"]}


def shown(*simulate: str, readings: tuple[Reading, ...] = (PACKAGE, CHARGE), text: str = "") -> str:
    """Return what a person reads on a wide terminal."""
    budget, page = a_budget(text), StringIO()
    prospect = found(budget, simulated(budget, readings, simulate), simulate=simulate)
    terminal = Console(file=page, width=160)
    for part in parts(prospect):
        terminal.print(part)
    return page.getvalue()


# ── where the zones stand ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("celsius", "standing", "pace", "starts"),
    [
        (64.9, "fine", "full", True),
        (69.9, "between", "full", True),
        (70.0, "throttles", "slow", False),
        (80.0, "pauses", "paused", False),
    ],
)
def test_a_temperature_stands_where_the_drawn_loop_has_it(
    celsius: float, standing: str, pace: str, *, starts: bool
) -> None:
    answer = said(readings=(Reading(zone="thermal", name="cpu", value=celsius),))
    assert places_of(answer, "thermal")["cpu"]["standing"] == standing
    assert (answer["verdict"]["pace"], answer["verdict"]["starts"]) == (pace, starts)


def test_the_trips_of_a_place_are_those_in_force_there() -> None:
    answer = said(readings=(PACKAGE, BOARD))
    assert zone_of(answer, "thermal")["trips"] == {
        "side": "above",
        "throttle": 70.0,
        "pause": 80.0,
        "resume": 65.0,
    }
    board = places_of(answer, "thermal")["acpitz"]
    assert (board["trips"]["throttle"], board["trips"]["pause"], board["lowered"]) == (60.0, 65.0, True)
    assert "own trip point 70 °C" in shown(readings=(PACKAGE, BOARD))


def test_a_zone_without_a_sensor_and_one_that_is_off_are_named() -> None:
    answer = said()
    assert (zone_of(answer, "gpu")["places"], zone_of(answer, "gpu")["missing"]) == ([], True)
    assert answer["off"] == ["command", "cpuBusy", "idle", "schedule"]
    assert any("gpu" in line and "no sensor" in line for line in shown().splitlines())


@pytest.mark.parametrize(("missing", "pace"), [("ignore", "full"), ("throttle", "slow"), ("pause", "paused")])
def test_a_missing_reading_says_why_and_does_what_the_configuration_says(missing: str, pace: str) -> None:
    hung = Reading(zone="thermal", name="cpu", value=None, why="hangs")
    answer = said(readings=(hung,), text=f'[budget]\nmissing = "{missing}"')
    assert places_of(answer, "thermal")["cpu"]["missing"] == "hangs"
    assert answer["verdict"]["pace"] == pace
    assert "hangs" in shown(readings=(hung,), text=f'[budget]\nmissing = "{missing}"')


def test_a_reading_that_is_a_lie_is_missing() -> None:
    answer = said(readings=(Reading(zone="thermal", name="cpu", value=-273.0),))
    assert places_of(answer, "thermal")["cpu"]["missing"] == "not plausible: -273"
    assert zone_of(answer, "thermal")["reading"] is None


def test_the_mode_of_the_configuration_counts() -> None:
    never, always = (f'[budget]\nmode = "{mode}"' for mode in ("never", "always"))
    assert said(text=never)["verdict"]["reasons"] == ["mode"]
    assert said("thermal=75", text=always)["verdict"]["pace"] == "full"
    assert said("thermal=85", text=always)["verdict"]["pace"] == "paused"


# ── simulated ───────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Said:
    """A sensor that says one reading."""

    reading: Reading
    name: str = "said"

    @property
    def zone(self) -> str:
        """The reading's."""
        return self.reading.zone

    def read(self) -> Reading:
        """Say it."""
        return self.reading


@pytest.mark.parametrize("celsius", [50.0, 72.0, 85.0])
async def test_a_simulated_reading_ends_where_a_governor_ends_that_reads_it_for_long(celsius: float) -> None:
    now, budget = 0.0, a_budget()
    sensor = Said(reading=Reading(zone="thermal", name="cpu", value=celsius))
    governor = Governor([sensor], budget, clock=lambda: now)
    for _ in range(60):
        now += 4.0
        await governor.look()
    verdict = said(f"thermal={celsius}")["verdict"]
    assert (verdict["pace"], verdict["duty"], verdict["cores"]) == governor.verdict.effect[:3]
    assert tuple(verdict["reasons"]) == governor.verdict.reasons
    assert verdict["starts"] is governor.may_start().allowed


def test_a_zones_name_stands_for_all_its_places_each_with_its_own_trips() -> None:
    answer = said("thermal=66", readings=(PACKAGE, BOARD))
    standings = {name: place["standing"] for name, place in places_of(answer, "thermal").items()}
    assert standings == {"x86_pkg_temp": "between", "acpitz": "pauses"}
    assert answer["simulated"] == ["thermal=66"]


def test_one_place_can_be_simulated_and_the_others_stay_as_they_were_read() -> None:
    answer = said("thermal/X86_pkg_temp=75", readings=(PACKAGE, BOARD))
    assert {name: place["reading"] for name, place in places_of(answer, "thermal").items()} == {
        "x86_pkg_temp": 75.0,
        "acpitz": 40.0,
    }


def test_a_pattern_of_the_configuration_can_be_simulated_where_no_place_fits_it() -> None:
    text = '[budget.thermal.places."nvme[01]*"]\nthrottle = 55.0\npause = 60.0\nresume = 50.0\n'
    answer = said("thermal/nvme[01]*=57", text=text)
    assert zone_of(answer, "thermal/nvme[01]*")["reading"] == 57.0
    assert zone_of(answer, "thermal")["reading"] == 50.0
    assert answer["verdict"]["pace"] == "slow"


@pytest.mark.parametrize(
    ("simulate", "pace"),
    [
        ("battery=20", "paused"),
        ("battery=90", "slow"),
        ("battery=mains", "full"),
        ("schedule=outside", "paused"),
        ("schedule=inside", "full"),
        ("power=limited", "slow"),
        ("disk=10", "paused"),
        ("memory/available=3", "paused"),
        ("thermal=missing", "full"),
    ],
)
def test_values_are_numbers_or_the_words_that_people_have_for_them(simulate: str, pace: str) -> None:
    drained = Reading(zone="battery", name="BAT0", value=50.0, on_battery=False)
    answer = said(simulate, readings=(drained,), text='[budget.schedule]\nwindows = ["22:00-06:00"]')
    assert answer["verdict"]["pace"] == pace


@pytest.mark.parametrize(
    ("simulate", "allowed"),
    [
        ("thermal", "ZONE=VALUE"),
        ("thermal=", "from -55 up to 150"),
        ("thermal=nan", "from -55 up to 150"),
        ("thermal=1000", "from -55 up to 150"),
        ("thermal=1e2", "from -55 up to 150"),
        ("thermal=²", "from -55 up to 150"),
        ("battery=101", "on battery, or mains"),
        ("thermal=mains", "a number"),
        ("power=1", "limited, unlimited or missing"),
        ("cpuBusy=50", "there are thermal, gpu, power, battery, memory, memory/available, disk"),
        ("thermal/nvme0=50", r"thermal/x86_pkg_temp, battery/bat0"),
        ("\x1b[31m=50", "'�\\[31m'"),
    ],
)
def test_an_unknown_zone_or_value_is_refused_with_what_is_allowed(simulate: str, allowed: str) -> None:
    with pytest.raises(ParameterError, match=allowed):
        said(simulate)


def test_what_is_simulated_is_said_and_so_is_what_comes_of_it() -> None:
    page = shown("thermal=75")
    assert page.startswith("simulated, as if it stayed so: thermal=75; nothing is touched")
    assert "works 25% of the time on 50% of its cores (pace slow), one step each 12 s" in page
    assert "thermal 75 °C (trip 70 °C)" in page
    assert "No task would start; it is held back for a while because of thermal." in page
    assert "simulated" not in shown()


def test_names_of_places_are_text_and_no_markup() -> None:
    page = shown(readings=(Reading(zone="thermal", name="[red]\x1b]0;x\x07", value=50.0),))
    assert "[red]�]0;x�" in page
    assert "\x1b" not in page


# ── reading ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Counted:
    """Says how often it was asked."""

    zone: str
    name: str = "counted"
    asked: int = 0

    def read(self) -> Reading:
        """Count."""
        self.asked += 1
        return Reading(zone=self.zone, name=self.name, value=float(self.asked))


async def test_what_is_a_difference_of_two_looks_is_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_cli, "LOOK_S", 0)
    busy, cpu = Counted(zone="cpuBusy"), Counted(zone="thermal")
    readings = await budget_cli.read([busy, cpu])
    assert {reading.zone: reading.value for reading in readings} == {"cpuBusy": 2.0, "thermal": 1.0}


async def test_a_sensor_that_hangs_is_a_missing_reading_and_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget_cli, "DEADLINE_S", 0.01)
    let_go = threading.Event()

    class Hanging(Counted):
        def read(self) -> Reading:
            let_go.wait()
            return super().read()

    try:
        async with asyncio.timeout(30):
            (reading,) = await budget_cli.read([Hanging(zone="thermal")])
        assert (reading.value, reading.why) == (None, "hangs")
    finally:
        let_go.set()


def test_the_verdict_has_no_number_that_json_has_not() -> None:
    battery = zone_of(said(), "battery")
    assert battery["trips"] == {
        "side": "below",
        "throttle": None,
        "pause": 30.0,
        "resume": 40.0,
        "onBattery": "throttle",
    }
    assert math.isinf(next(zone for zone in a_budget().zones if zone.name == "battery").throttle or 0)
