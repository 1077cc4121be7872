"""Where a machine stands in its budget, and what comes of it if its readings stay as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from finetuned.policy.budget import Mode, may_start, settled
from finetuned.policy.zones import QUANTITIES, checked, homes, lowered, position, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.policy.budget import Budget, Missing, Reading, Start, Verdict, Zone
    from finetuned.policy.zones import Position


class Standing(StrEnum):
    """Where a reading stands: below its trips, between `resume` and `throttle`, at one of them, or nowhere known."""

    fine = "fine"
    between = "between"
    throttles = "throttles"
    pauses = "pauses"
    missing = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A reading, the trips in force at its place, and where it stands among them.

    `is_lowered`: the place's own passive trip point lies below those of the zone.
    """

    reading: Reading
    trips: Zone
    is_lowered: bool
    standing: Standing

    @property
    def is_missing(self) -> bool:
        """Whether nothing is known of it; on mains a battery's charge need not be."""
        return self.reading.value is None and self.reading.on_battery is None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON; `missing` says why there is no reading."""
        return {
            "name": self.reading.name,
            "reading": self.reading.value,
            "missing": self.reading.why if self.is_missing else "",
            "onBattery": self.reading.on_battery,
            "trips": trips_of(self.trips),
            "lowered": self.is_lowered,
            "standing": self.standing,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """A zone of the budget with its places; none: this machine has no such sensor.  `reading` is the worst of them."""

    zone: Zone
    places: tuple[Place, ...]
    reading: float | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.zone.name,
            "unit": QUANTITIES[self.zone.reason].unit,
            "reading": self.reading,
            "trips": trips_of(self.zone),
            "missing": all(place.is_missing for place in self.places),
            "places": [place.as_json() for place in self.places],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """All zones, and the verdict in which it ends; `off` are the kinds that the configuration does not ask for.

    `steps_s` is how long one step of a throttle takes at least; `simulated` is what was said, if anything was.
    """

    mode: Mode
    zones: tuple[Standings, ...]
    off: tuple[str, ...]
    verdict: Verdict
    start: Start
    steps_s: float
    simulated: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        verdict = self.verdict
        return {
            "mode": self.mode,
            "simulated": self.simulated,
            "zones": [zone.as_json() for zone in self.zones],
            "off": self.off,
            "verdict": {
                "pace": verdict.pace,
                "duty": verdict.duty,
                "cores": verdict.cores,
                "reasons": verdict.reasons,
                "causes": [
                    {"reason": each.reason, "zone": each.zone, "reading": each.reading, "trip": each.trip}
                    for each in verdict.causes
                ],
                "starts": self.start.allowed,
                "startReasons": self.start.reasons,
            },
        }


def trips_of(zone: Zone) -> dict[str, Any]:
    """Return the trips as JSON: `side` is that on which they lie; null: none, or one that no number stands for.

    The latter is being on battery at any charge, which `onBattery` says.
    """
    trips: dict[str, Any] = {
        "side": zone.kind,
        "throttle": _finite(zone.throttle),
        "pause": _finite(zone.pause),
        "resume": _finite(zone.resume),
    }
    if zone.reason == "battery":
        trips["onBattery"] = next(
            (word for word, trip in (("pause", zone.pause), ("throttle", zone.throttle)) if trip == math.inf),
            "ignore",
        )
    return trips


def _finite(trip: float | None) -> float | None:
    return round(trip, 6) if trip is not None and math.isfinite(trip) else None


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
def found(
    budget: Budget, readings: Sequence[Reading], *, simulate: Sequence[str] = (), interval_s: float = 4.0
) -> Prospect:
    """Return what these readings come to in this budget."""
    readings = tuple(map(checked, readings))
    home, worst = homes(budget.zones, readings), summary(budget.zones, readings)
    verdict = settled(budget, readings, interval_s)
    zones = tuple(
        Standings(
            zone=zone,
            places=tuple(_place(zone, each, budget.missing) for each in home[zone.name]),
            reading=worst.get(zone.name),
        )
        for zone in budget.zones
    )
    return Prospect(
        mode=budget.mode,
        zones=zones,
        off=tuple(sorted(QUANTITIES.keys() - {zone.reason for zone in budget.zones})),
        verdict=verdict,
        start=may_start(budget, verdict),
        steps_s=3 * interval_s,
        simulated=tuple(simulate),
    )


def _place(zone: Zone, reading: Reading, missing: Missing) -> Place:
    trips = lowered(zone, reading.passive)
    return Place(
        reading=reading,
        trips=trips,
        is_lowered=trips != zone,
        standing=_standing(position(zone, reading, missing)),
    )


def _standing(at: Position | None) -> Standing:
    if at is None:
        return Standing.missing
    if at.pause:
        return Standing.pauses
    if at.throttle:
        return Standing.throttles
    return Standing.fine if at.resume else Standing.between
