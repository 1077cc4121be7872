"""Zones and their trips: what a sensor says of the machine, and where that stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What the readings of a kind of zone are: their unit, and the values outside of which they are lies."""

    unit: str
    least: float = -math.inf
    most: float = math.inf


QUANTITIES = {
    "thermal": Quantity(unit="°C", least=-55.0, most=150.0),
    "gpu": Quantity(unit="°C", least=-55.0, most=150.0),
    "battery": Quantity(unit="%", least=0.0, most=100.0),
    "power": Quantity(unit="", least=0.0, most=1.0),
    "memory": Quantity(unit="%", least=0.0, most=100.0),
    "cpuBusy": Quantity(unit="%", least=0.0, most=100.0),
    "schedule": Quantity(unit="", least=0.0, most=1.0),
    "idle": Quantity(unit="s", least=0.0),
    "disk": Quantity(unit="MB", least=0.0),
    "command": Quantity(unit=""),
}
"""The kinds of zones, which are the reasons that a budget gives.  `power` is 1 while the firmware says that the supply or the
heat limits the processor; `schedule` is 1 inside of a window; `idle` counts since a person was last there; `memory` is the
kernel's pressure (`some avg10`), in its place `available` the share that is available."""
PASSIVE_PLAUSIBLE = (30.0, 150.0)
THROTTLE_BELOW_PASSIVE, PAUSE_BELOW_PASSIVE = 10.0, 5.0


# ── values ──────────────────────────────────────────────────────────────────────────────────────
class Missing(StrEnum):
    """What a missing reading means."""

    ignore = "ignore"
    throttle = "throttle"
    pause = "pause"


class Kind(StrEnum):
    """On which side of its trips a zone is in trouble: hot is `above`, empty is `below`."""

    above = "above"
    below = "below"


class OnBattery(StrEnum):
    """What it means that the machine runs on battery, whatever the charge."""

    ignore = "ignore"
    throttle = "throttle"
    pause = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a sensor saw of a zone; `value` is in the unit of `QUANTITIES` (°C, %), None where it is missing.

    `zone` is the kind of zone and thus the reason (`thermal`), `name` the sensor's own word for the place
    (`x86_pkg_temp`), `why` why the value is missing.  `passive` is the place's own passive trip point, in °C.
    `on_battery` belongs to the battery alone: False clears its zone, whatever the charge; True holds the trips that
    any charge is beyond, although the charge be missing.
    """

    zone: str
    name: str
    value: float | None
    why: str = ""
    passive: float | None = None
    on_battery: bool | None = None


class Sensor(Protocol):
    """Something that reads one zone of the budget; `read` may block and may raise, it is called in a thread.

    No reading at all means that this machine has no such zone.
    """

    @property
    def name(self) -> str:
        """What a person knows it by."""

    @property
    def zone(self) -> str:
        """The kind of zone that it reads, of `QUANTITIES`."""

    def read(self) -> Reading | Sequence[Reading]:
        """Return a reading, or one for each place; a missing one has the value None and a `why`."""


def kind_of(zone: str) -> str:
    """Return the kind of a zone of this name, which is the reason that it gives: `thermal` of `thermal/nvme*`."""
    return zone.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The trips of one zone; None: no such trip.

    `name` is the kind of zone (`thermal`), or kind and place (`thermal/nvme*`, a shell pattern, upper and lower case alike):
    then only the readings of that place are its, and no other zone's.
    `guards`: its pause trip holds in the mode `always` too, since it protects the machine.
    """

    name: str
    kind: Kind = Kind.above
    throttle: float | None
    pause: float | None
    resume: float
    guards: bool = True

    @property
    def reason(self) -> str:
        """The kind of zone: the word that people are told."""
        return kind_of(self.name)

    @property
    def place(self) -> str:
        """The pattern of the place's name; empty: every place that no other zone has."""
        return self.name.partition("/")[2]

    def has(self, reading: Reading) -> bool:
        """Say whether the reading is of this zone's kind and place."""
        fits = not self.place or fnmatchcase(reading.name.lower(), self.place.lower())
        return reading.zone == self.reason and fits


def thermal_zone(*, throttle: float = 70.0, pause: float = 80.0, resume: float = 65.0) -> Zone:
    """Return the trips of the hottest CPU or SoC zone, °C."""
    return Zone(name="thermal", throttle=throttle, pause=pause, resume=resume)


def battery_zone(
    *, on_battery: OnBattery = OnBattery.throttle, pause: float = 30.0, resume: float = 40.0
) -> Zone:
    """Return the trips of the charge, %; they hold on battery only, where any charge may throttle or pause."""
    throttle = math.inf if on_battery is OnBattery.throttle else None
    if on_battery is OnBattery.pause:
        pause = resume = math.inf
    return Zone(name="battery", kind=Kind.below, throttle=throttle, pause=pause, resume=resume, guards=False)


def homes(zones: Sequence[Zone], readings: Iterable[Reading]) -> dict[str, list[Reading]]:
    """Return the readings of each zone, by its name; one that has a place of its own is asked first."""
    own_first = sorted(zones, key=lambda zone: not zone.place)
    found: dict[str, list[Reading]] = {zone.name: [] for zone in zones}
    for reading in readings:
        if home := next((zone for zone in own_first if zone.has(reading)), None):
            found[home.name].append(reading)
    return found


# ── where a reading stands ──────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a zone stands among its trips; on battery `throttle` and `resume` can both be true."""

    pause: bool = False
    throttle: bool = False
    resume: bool = False
    blind: bool = False
    kind: Kind = Kind.above
    reading: float | None = None
    throttle_trip: float | None = None
    pause_trip: float | None = None

    @property
    def severity(self) -> tuple[object, ...]:
        """Sorts the worst place of a zone last; of equals, one that was really read, and the hottest or emptiest."""
        height = -math.inf if self.reading is None else self.reading * (1 if self.kind is Kind.above else -1)
        return (self.pause, self.throttle, not self.resume, not self.blind, height)


CLEAR = Position(resume=True)
BLIND = {
    Missing.ignore: None,
    Missing.throttle: Position(throttle=True, blind=True),
    Missing.pause: Position(pause=True, throttle=True, blind=True),
}


def checked(reading: Reading) -> Reading:
    """Return the reading, or a missing one where its value is a lie (NaN, -273, 1000)."""
    known = QUANTITIES.get(reading.zone, Quantity(unit=""))
    value = reading.value
    if value is None or (math.isfinite(value) and known.least <= value <= known.most):
        return reading
    return replace(reading, value=None, why=f"not plausible: {value:g}")


def lowered(zone: Zone, passive: float | None) -> Zone:
    """Return the trips of a place that has a passive trip point of its own (°C), where they are lower.

    A trip that the zone has not, None or infinite, stays so.  `resume` keeps its distance from the first one.
    """
    least, most = PASSIVE_PLAUSIBLE
    if passive is None or not least <= passive <= most:
        return zone
    throttle = _least(zone.throttle, passive - THROTTLE_BELOW_PASSIVE)
    pause = _least(zone.pause, passive - PAUSE_BELOW_PASSIVE)
    trips = ((zone.throttle, throttle), (zone.pause, pause))
    by = (own - low for own, low in trips if own is not None and low is not None and math.isfinite(own))
    return replace(zone, throttle=throttle, pause=pause, resume=zone.resume - next(by, 0.0))


def _least(trip: float | None, limit: float) -> float | None:
    return trip if trip is None or math.isinf(trip) else min(trip, limit)


def position(zone: Zone, reading: Reading, missing: Missing) -> Position | None:
    """Return where the reading stands; None: it is missing, and that is to be ignored."""
    reading = checked(reading)
    if reading.on_battery is False:
        return replace(CLEAR, kind=zone.kind, reading=reading.value)
    if reading.value is None:
        return _unread(zone, reading, missing)
    trips = lowered(zone, reading.passive)
    return Position(
        pause=_tripped(zone.kind, reading.value, trips.pause),
        throttle=_tripped(zone.kind, reading.value, trips.throttle),
        resume=reading.value < trips.resume if zone.kind is Kind.above else reading.value > trips.resume,
        kind=zone.kind,
        reading=reading.value,
        throttle_trip=trips.throttle,
        pause_trip=trips.pause,
    )


def _unread(zone: Zone, reading: Reading, missing: Missing) -> Position | None:
    """Return where a missing reading stands; that it is on battery is known, and so what holds at any charge."""
    blind = BLIND[missing]
    pause, throttle = (zone.kind is Kind.below and trip == math.inf for trip in (zone.pause, zone.throttle))
    if not reading.on_battery or not (pause or throttle):
        return blind
    known = Position(pause=pause, throttle=throttle, kind=zone.kind)
    return known if blind is None else max(known, blind, key=lambda each: each.severity)


def _tripped(kind: Kind, value: float, trip: float | None) -> bool:
    if trip is None:
        return False
    return value >= trip if kind is Kind.above else value < trip


def summary(zones: Sequence[Zone], readings: Iterable[Reading]) -> dict[str, float]:
    """Return one value per zone that can be read: its worst place."""
    worst = {Kind.above: max, Kind.below: min}
    found = homes(zones, map(checked, readings))
    values = {name: [each.value for each in of if each.value is not None] for name, of in found.items()}
    return {zone.name: worst[zone.kind](values[zone.name]) for zone in zones if values[zone.name]}
