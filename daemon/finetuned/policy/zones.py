"""Zones and their trips: what a sensor says of the machine, and where that stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# A value outside of these is a lie.
PLAUSIBLE = {
    "thermal": (-55.0, 150.0),
    "gpu": (-55.0, 150.0),
    "battery": (0.0, 100.0),
    "memory": (0.0, 100.0),
}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a sensor saw of a zone; `value` is in the zone's unit (°C, %), None where it is missing.

    `zone` is the budget's zone and thus the reason (`thermal`), `name` the sensor's own word for the place
    (`x86_pkg_temp`), `why` why the value is missing.  `passive` is the place's own passive trip point, in °C.
    `on_battery` belongs to the battery alone: False clears its zone, whatever the charge.
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
        """The zone of its readings."""

    def read(self) -> Reading | Sequence[Reading]:
        """Return a reading, or one for each place; a missing one has the value None and a `why`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The trips of one zone; None: no such trip.

    `guards`: its pause trip holds in the mode `always` too, since it protects the machine.
    """

    name: str
    kind: Kind = Kind.above
    throttle: float | None
    pause: float | None
    resume: float
    guards: bool = True


def thermal_zone(*, throttle: float = 70.0, pause: float = 80.0, resume: float = 65.0) -> Zone:
    """Return the trips of the hottest CPU or SoC zone, °C."""
    return Zone(name="thermal", throttle=throttle, pause=pause, resume=resume)


def battery_zone(*, throttle_on_battery: bool = True, pause: float = 30.0, resume: float = 40.0) -> Zone:
    """Return the trips of the charge, %; they hold on battery only, where any charge may throttle."""
    throttle = math.inf if throttle_on_battery else None
    return Zone(name="battery", kind=Kind.below, throttle=throttle, pause=pause, resume=resume, guards=False)


# ── where a reading stands ──────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a zone stands among its trips; on battery `throttle` and `resume` can both be true."""

    pause: bool = False
    throttle: bool = False
    resume: bool = False
    blind: bool = False
    reading: float | None = None
    throttle_trip: float | None = None
    pause_trip: float | None = None

    @property
    def severity(self) -> tuple[object, ...]:
        """Sorts the worst place of a zone last; of equals, one that was really read, and the hottest."""
        return (self.pause, self.throttle, not self.resume, not self.blind, self.reading or 0.0)


CLEAR = Position(resume=True)
BLIND = {
    Missing.ignore: None,
    Missing.throttle: Position(throttle=True, blind=True),
    Missing.pause: Position(pause=True, throttle=True, blind=True),
}


def checked(reading: Reading) -> Reading:
    """Return the reading, or a missing one where its value is a lie (NaN, -273, 1000)."""
    low, high = PLAUSIBLE.get(reading.zone, (-math.inf, math.inf))
    if reading.value is None or (math.isfinite(reading.value) and low <= reading.value <= high):
        return reading
    return replace(reading, value=None, why=f"not plausible: {reading.value:g}")


def lowered(zone: Zone, passive: float | None) -> Zone:
    """Return the trips of a place that has a passive trip point of its own (°C), where they are lower.

    `resume` keeps its distance from `throttle`.
    """
    low, high = PASSIVE_PLAUSIBLE
    if passive is None or zone.throttle is None or zone.pause is None or not low <= passive <= high:
        return zone
    throttle = min(zone.throttle, passive - THROTTLE_BELOW_PASSIVE)
    pause = min(zone.pause, passive - PAUSE_BELOW_PASSIVE)
    return replace(zone, throttle=throttle, pause=pause, resume=zone.resume + throttle - zone.throttle)


def position(zone: Zone, reading: Reading, missing: Missing) -> Position | None:
    """Return where the reading stands; None: it is missing, and that is to be ignored."""
    reading = checked(reading)
    if reading.on_battery is False:
        return replace(CLEAR, reading=reading.value)
    if reading.value is None:
        return BLIND[missing]
    trips = lowered(zone, reading.passive)
    return Position(
        pause=_tripped(zone.kind, reading.value, trips.pause),
        throttle=_tripped(zone.kind, reading.value, trips.throttle),
        resume=reading.value < trips.resume if zone.kind is Kind.above else reading.value > trips.resume,
        reading=reading.value,
        throttle_trip=trips.throttle,
        pause_trip=trips.pause,
    )


def _tripped(kind: Kind, value: float, trip: float | None) -> bool:
    if trip is None:
        return False
    return value >= trip if kind is Kind.above else value < trip


def summary(zones: Iterable[Zone], readings: Iterable[Reading]) -> dict[str, float]:
    """Return one value per zone that can be read: its worst place."""
    worst: dict[str, float] = {}
    picks = {zone.name: max if zone.kind is Kind.above else min for zone in zones}
    for reading in map(checked, readings):
        if reading.value is not None:
            pick = picks.get(reading.zone, max)
            worst[reading.zone] = pick(reading.value, worst.get(reading.zone, reading.value))
    return worst
