"""A prospect as a table and a few sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from finetuned.edge import console
from finetuned.edge.prospect import Standing
from finetuned.edge.wording import MEANINGS, amount, cause, harmless, lasting, listed
from finetuned.policy.budget import Mode, Pace
from finetuned.policy.zones import Kind
from finetuned.service.events import CauseView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from finetuned.edge.prospect import Place, Prospect, Standings
    from finetuned.policy.budget import Verdict, Zone

COLUMNS = ("zone", "place", "now", "throttle", "pause", "resume", "")
COLOURS = {
    Standing.fine: "green",
    Standing.between: "yellow",
    Standing.throttles: "yellow",
    Standing.pauses: "red",
    Standing.missing: "magenta",
}
PACES = {Pace.full: "green", Pace.cpu: "yellow", Pace.slow: "yellow"}
TRIPS = {"schedule": ("–", "outside", "inside"), "power": ("limited", "–", "unlimited")}
"""Trips that are words rather than numbers, by kind of zone: throttle, pause, resume."""
SIGNS = {Kind.above: ("≥", "<"), Kind.below: ("<", ">")}
"""How a reading stands to a trip that it reaches, and to `resume` when it is clear of it."""
ASIDE = "dim"


def show(prospect: Prospect, errors: Sequence[str]) -> None:
    """Print it for people."""
    person = console.person()
    for part in parts(prospect, errors):
        person.print(part)


def parts(prospect: Prospect, errors: Sequence[str] = ()) -> Iterator[RenderableType]:
    """Yield the table, what it makes the daemon do, and what else is to be known."""
    if prospect.simulated:
        said = ", ".join(harmless(each) for each in prospect.simulated)
        yield Text(f"simulated, as if it stayed so: {said}; nothing is touched", style="bold yellow")
    yield _table(prospect.zones)
    yield from _missing(prospect.zones)
    if prospect.off:
        yield Text(f"off in the configuration: {', '.join(prospect.off)}", style=ASIDE)
    yield from (Text(harmless(each, 500), style="yellow") for each in errors)
    yield Text(f"{_doing(prospect)}.", style=PACES.get(prospect.verdict.pace, "red"))
    yield Text(f"{_starting(prospect)}.", style="" if prospect.start.allowed else "yellow")
    yield Text("A daemon that runs may be in another mode, or on its way: finetuned status", style=ASIDE)
    if any(zone.zone.reason == "cpuBusy" and zone.places for zone in prospect.zones):
        yield Text("cpuBusy here counts what a daemon's own tasks use, which a daemon does not", style=ASIDE)


# ── the table ───────────────────────────────────────────────────────────────────────────────────
def _table(zones: Sequence[Standings]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for column in COLUMNS:
        drawn.add_column(column, overflow="fold", no_wrap=bool(column))
    for zone in zones:
        for row, style in _rows(zone):
            drawn.add_row(*row, style=style)
    return drawn


def _missing(zones: Sequence[Standings]) -> Iterator[Text]:
    """Say why there is no reading where there is a sensor."""
    for place in (place for zone in zones for place in zone.places if place.is_missing):
        reading = place.reading
        said = f"{harmless(reading.zone)} sensor {harmless(reading.name)}: {harmless(reading.why, 200)}"
        yield Text(said, style=COLOURS[Standing.missing])


def _rows(standings: Standings) -> Iterator[tuple[list[Text], str]]:
    zone = standings.zone
    if not standings.places:
        yield [Text(harmless(zone.name)), Text("no sensor"), Text(""), *_trips(zone), Text("")], ASIDE
    for index, place in enumerate(standings.places):
        name = "" if index else harmless(zone.name)
        cells = [name, harmless(place.reading.name, 40), _now(place)]
        yield [*map(Text, cells), *_trips(place.trips), _standing(place)], ""


def _now(place: Place) -> str:
    reading = place.reading
    if reading.value is None:
        return "missing" if place.is_missing else "–"
    return amount(reading.zone, reading.value)


def _standing(place: Place) -> Text:
    """Say where the place stands, and what makes that so beside its number."""
    reading = place.reading
    notes = []
    if reading.on_battery is not None:
        notes.append("on battery" if reading.on_battery else "on mains")
    if place.is_lowered:
        notes.append(f"own trip point {reading.passive:g} °C")
    said = {Standing.missing: "ignored", Standing.between: "below throttle"}
    if place.trips.kind is Kind.below:
        said[Standing.between] = "above its trips"
    word = said.get(place.standing, place.standing)
    return Text(", ".join([word, *notes]), style=COLOURS[place.standing])


def _trips(zone: Zone) -> list[Text]:
    if zone.reason in TRIPS:
        return [Text(each) for each in TRIPS[zone.reason]]
    reached, cleared = SIGNS[zone.kind]
    signs = ((zone.throttle, reached), (zone.pause, reached), (zone.resume, cleared))
    return [Text(_trip(zone, trip, sign)) for trip, sign in signs]


def _trip(zone: Zone, trip: float | None, sign: str) -> str:
    if trip is None:
        return "–"
    if math.isinf(trip):
        return "battery" if sign == SIGNS[Kind.below][0] else "mains"
    return f"{sign} {amount(zone.name, trip)}"


# ── the sentences ───────────────────────────────────────────────────────────────────────────────
def _doing(prospect: Prospect) -> str:
    """Say what a running task does."""
    verdict = prospect.verdict
    mode = "" if prospect.mode is Mode.auto else f"Mode {prospect.mode} ({MEANINGS[prospect.mode]}): a"
    begin = f"{mode} running task" if mode else "A running task"
    why = causes(verdict)
    if verdict.pace is Pace.full:
        return f"{begin} goes at full speed"
    if verdict.pace is Pace.slow:
        cores = "" if verdict.cores == 1 else f" on {verdict.cores:.0%} of its cores"
        slower = f"works {verdict.duty:.0%} of the time{cores} (pace slow)"
        return f"{begin} ends up where it {slower}, one step each {lasting(prospect.steps_s)}: {why}"
    if verdict.pace is Pace.cpu:
        return f"{begin} computes on the CPU (pace cpu): {why}"
    return f"{begin} is held (pace {verdict.pace}): {why}"


def causes(verdict: Verdict) -> str:
    """Say what is behind a verdict."""
    views = (
        CauseView(reason=each.reason, zone=each.zone, reading=each.reading, trip=each.trip)
        for each in verdict.causes
    )
    return listed([cause(view) for view in views])


def _starting(prospect: Prospect) -> str:
    if prospect.start.allowed:
        return "A new task would start"
    held = "held" if prospect.verdict.pace in {Pace.paused, Pace.released} else "held back for a while"
    return f"No task would start; it is {held} because of {listed(prospect.start.reasons)}"
