"""Where a reading stands among its trips, which zone it belongs to, and which place of several counts."""

from __future__ import annotations

import math

import pytest

from finetuned.policy.zones import (
    Kind,
    Missing,
    OnBattery,
    Position,
    Reading,
    Zone,
    battery_zone,
    checked,
    homes,
    lowered,
    position,
    summary,
    thermal_zone,
)

HEAT = Zone(name="thermal", throttle=70, pause=80, resume=65)
ROOM = Zone(name="disk", kind=Kind.below, throttle=500, pause=200, resume=600)


def reading(
    zone: str, name: str = "", value: float | None = None, *, on_battery: bool | None = None
) -> Reading:
    return Reading(zone=zone, name=name, value=value, on_battery=on_battery)


def words(at: Position | None) -> set[str]:
    """Return where it stands; no word between `resume` and `throttle`."""
    assert at is not None
    return {word for word in ("pause", "throttle", "resume", "blind") if getattr(at, word)}


# ── among the trips ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("zone", "value", "stands"),
    [
        (HEAT, 64.9, {"resume"}),
        (HEAT, 65, set()),  # `resume below`: not at it
        (HEAT, 69.9, set()),
        (HEAT, 70, {"throttle"}),
        (HEAT, 79.9, {"throttle"}),
        (HEAT, 80, {"throttle", "pause"}),
        (ROOM, 601, {"resume"}),
        (ROOM, 600, set()),  # `resume above`: not at it
        (ROOM, 500, set()),  # `less than`: not at it
        (ROOM, 499, {"throttle"}),
        (ROOM, 200, {"throttle"}),
        (ROOM, 199, {"throttle", "pause"}),
    ],
)
def test_a_value_at_a_trip_counts_where_hot_is_bad_and_not_where_empty_is(
    zone: Zone, value: float, stands: set[str]
) -> None:
    assert words(position(zone, reading(zone.name, value=value), Missing.ignore)) == stands


@pytest.mark.parametrize("never", [None, math.inf])
def test_a_trip_of_heat_that_is_none_or_infinite_is_never_reached(never: float | None) -> None:
    zone = Zone(name="thermal", throttle=never, pause=never, resume=65)
    assert words(position(zone, reading("thermal", value=149), Missing.ignore)) == set()


@pytest.mark.parametrize(
    ("means", "percent", "stands"),
    [
        (OnBattery.ignore, 41, {"resume"}),
        (OnBattery.throttle, 41, {"resume", "throttle"}),
        (OnBattery.pause, 41, {"pause"}),
        (OnBattery.ignore, 30, set()),
        (OnBattery.throttle, 30, {"throttle"}),
        (OnBattery.throttle, 29.9, {"throttle", "pause"}),
        (OnBattery.ignore, 29.9, {"pause"}),
        (OnBattery.throttle, None, {"throttle"}),
        (OnBattery.pause, None, {"pause"}),
    ],
)
def test_what_it_means_to_run_on_battery_is_a_choice(
    means: OnBattery, percent: float | None, stands: set[str]
) -> None:
    on_battery = reading("battery", "BAT0", percent, on_battery=True)
    on_mains = reading("battery", "BAT0", percent, on_battery=False)
    zone = battery_zone(on_battery=means)
    assert words(position(zone, on_battery, Missing.ignore)) == stands
    assert words(position(zone, on_mains, Missing.pause)) == {"resume"}


def test_a_charge_that_cannot_be_read_is_ignored_where_the_battery_may_not_throttle() -> None:
    zone = battery_zone(on_battery=OnBattery.ignore)
    assert position(zone, reading("battery", on_battery=True), Missing.ignore) is None


def test_the_stricter_of_being_on_battery_and_of_missing_its_charge_counts() -> None:
    unread = reading("battery", on_battery=True)
    assert words(position(battery_zone(), unread, Missing.pause)) == {"pause", "throttle", "blind"}
    assert words(position(battery_zone(), unread, Missing.throttle)) == {"throttle"}


# ── lies ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("zone", "value"),
    [
        ("thermal", math.nan),
        ("thermal", math.inf),
        ("thermal", -273),
        ("gpu", 1000),
        ("battery", 100.1),
        ("battery", -0.1),
        ("disk", -1),
        ("idle", -1),
        ("schedule", 2),
        ("command", -math.inf),
    ],
)
def test_a_lie_is_a_missing_reading_that_says_why(zone: str, value: float) -> None:
    lie = checked(reading(zone, value=value))
    assert (lie.value, lie.why) == (None, f"not plausible: {value:g}")


@pytest.mark.parametrize(
    ("zone", "value"),
    [("thermal", -55), ("thermal", 150), ("battery", 0), ("battery", 100), ("command", -1e12)],
)
def test_what_can_be_is_believed(zone: str, value: float) -> None:
    assert checked(reading(zone, value=value)).value == value


# ── a place's own trip point ────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("trips", "passive", "expected"),
    [
        ((70, 80, 65), 60, (50, 55, 45)),
        ((70, 80, 65), 79, (69, 74, 64)),
        ((70, 80, 65), 82, (70, 77, 65)),  # only the pause is lower
        ((70, 80, 65), 95, (70, 80, 65)),
        ((70, 80, 65), 29.9, (70, 80, 65)),  # cannot be meant
        ((70, 80, 65), 30, (20, 25, 15)),
        ((70, 80, 65), None, (70, 80, 65)),
        ((None, 80, 65), 60, (None, 55, 40)),
        ((math.inf, 80, 65), 60, (math.inf, 55, 40)),
        ((70, None, 65), 60, (50, None, 45)),
        ((None, None, 65), 60, (None, None, 65)),
    ],
)
def test_a_lower_passive_trip_point_lowers_the_trips_that_there_are(
    trips: tuple[float | None, float | None, float],
    passive: float | None,
    expected: tuple[float | None, float | None, float],
) -> None:
    throttle, pause, resume = trips
    zone = lowered(Zone(name="thermal", throttle=throttle, pause=pause, resume=resume), passive)
    assert (zone.throttle, zone.pause, zone.resume) == expected


# ── whose reading it is ─────────────────────────────────────────────────────────────────────────
def test_a_place_with_a_zone_of_its_own_is_no_other_zones() -> None:
    zones = [thermal_zone(), Zone(name="thermal/nvme*", throttle=60, pause=75, resume=55)]
    cpu, disk = reading("thermal", "x86_pkg_temp", 50), reading("thermal", "NVMe0", 72)
    battery = reading("battery", "nvme", 72)
    assert homes(zones, [cpu, disk, battery]) == {"thermal": [cpu], "thermal/nvme*": [disk]}


def test_of_two_patterns_that_fit_the_first_has_the_place() -> None:
    zones = [
        Zone(name=f"thermal/{pattern}", throttle=60, pause=75, resume=55) for pattern in ("nvme1*", "nvme*")
    ]
    found = homes(zones, [reading("thermal", "nvme10"), reading("thermal", "nvme2")])
    assert {name: [each.name for each in of] for name, of in found.items()} == {
        "thermal/nvme1*": ["nvme10"],
        "thermal/nvme*": ["nvme2"],
    }


def test_a_place_without_a_zone_of_its_own_or_of_its_kind_has_none() -> None:
    zones = [Zone(name="thermal/nvme*", throttle=60, pause=75, resume=55)]
    assert homes(zones, [reading("thermal", "cpu", 90), reading("gpu", "0", 90)]) == {"thermal/nvme*": []}


def test_the_reason_is_the_kind_of_zone_also_where_the_place_has_a_stroke() -> None:
    zone = Zone(name="command/a/b", throttle=1, pause=None, resume=0)
    assert (zone.reason, zone.place, zone.has(reading("command", "a/b"))) == ("command", "a/b", True)


# ── which place counts ──────────────────────────────────────────────────────────────────────────
def worst(zone: Zone, *readings: Reading, missing: Missing = Missing.throttle) -> Position:
    seen = [position(zone, each, missing) for each in readings]
    return max((each for each in seen if each is not None), key=lambda each: each.severity)


@pytest.mark.parametrize(
    ("zone", "values", "expected"),
    [
        (HEAT, (40, 60, 50), 60),
        (HEAT, (-20, -40), -20),
        (HEAT, (72, 85, 75), 85),
        (HEAT, (72, None), 72),  # a throttle trip that was read before one that is guessed
        (HEAT, (67, None), None),
        (ROOM, (900, 700), 700),
        (ROOM, (900, 450, 300), 300),
    ],
)
def test_the_hottest_or_emptiest_place_counts_and_rather_one_that_was_read(
    zone: Zone, values: tuple[float | None, ...], expected: float | None
) -> None:
    readings = [reading(zone.name, value=value) for value in values]
    assert worst(zone, *readings).reading == expected
    assert worst(zone, *reversed(readings)).reading == expected


def test_on_mains_the_emptiest_battery_that_can_be_read_is_named() -> None:
    charges = [reading("battery", value=value, on_battery=False) for value in (90, None, 20)]
    assert worst(battery_zone(), *charges).reading == 20


def test_a_place_with_a_lower_trip_point_can_be_worse_than_a_hotter_one() -> None:
    cool = Reading(zone="thermal", name="soc", value=56, passive=60)
    at = worst(HEAT, cool, reading("thermal", "cpu", 75))
    assert (words(at), at.reading, at.pause_trip) == ({"pause", "throttle"}, 56, 55)


def test_a_summary_has_the_worst_value_of_every_zone_that_can_be_read() -> None:
    own = Zone(name="thermal/nvme", throttle=60, pause=75, resume=55)
    said = [
        reading("thermal", "a", 50),
        reading("thermal", "b", 55),
        reading("thermal", "c", 1000),
        reading("thermal", "nvme", 70),
        reading("disk", "/", 700),
        reading("disk", "/home", 300),
        reading("battery", "BAT0", None),
    ]
    zones = [HEAT, own, ROOM, battery_zone()]
    assert summary(zones, said) == {"thermal": 55, "thermal/nvme": 70, "disk": 300}
