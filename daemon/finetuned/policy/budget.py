"""When a task runs, slows down, or waits: from readings to a verdict, without clock, sensor or loop.

The words are the kernel's.  A *zone* (thermal, battery …) has *trips*: `throttle`, `pause` and `resume`.  Every
zone has a place on a ladder of its own, and the lowest of all places is what counts:

                          resume       throttle         pause
                           65 C          70 C            80 C
    full       -------<------.-------------+              .
                      ^      .             v 3 in a row   .
    slow 0.5   -------<------.-------------+              .
                      ^      .             v 3 in a row   .
    slow 0.25  -------<------.-------------.--------------+
                      ^      .             .              v 1 reading, from any pace
    paused     -------<------.-------------.--------------.-----
                  3 in a row (and from paused: 60 s have passed)

Between `resume` and `throttle` nothing moves.  Every step up needs three readings in a row of its own, so the way
up from a pause leads through every pace.  Turning around (a throttle after a step up, a step up after a
throttle) waits for `min_running_s`; going on in the same direction doesn't.  A pause trip waits for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from finetuned.policy.zones import (
    CLEAR,
    Kind,
    Missing,
    Position,
    Reading,
    Sensor,
    Zone,
    battery_zone,
    position,
    thermal_zone,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Budget",
    "Cause",
    "Kind",
    "Missing",
    "Mode",
    "Pace",
    "Reading",
    "Sensor",
    "Start",
    "Verdict",
    "Zone",
    "assess",
    "battery_zone",
    "decide",
    "may_start",
    "thermal_zone",
]


# ── words ───────────────────────────────────────────────────────────────────────────────────────
class Pace(StrEnum):
    """How fast a task may go, from full speed down."""

    full = "full"
    cpu = "cpu"
    slow = "slow"
    paused = "paused"
    released = "released"


class Mode(StrEnum):
    """What a person asked for: the budget, work whatever it says (within what is safe), or no work."""

    auto = "auto"
    always = "always"
    never = "never"


# ── values ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The zones, the least times (seconds), and what a missing reading means."""

    zones: tuple[Zone, ...] = (thermal_zone(), battery_zone())
    min_paused_s: float = 60.0
    min_running_s: float = 30.0
    release_after_s: float = math.inf
    max_hold_s: float = 6 * 3600.0
    missing: Missing = Missing.ignore
    mode: Mode = Mode.auto


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A reason with the reading and the trip behind it, where there are any."""

    reason: str
    reading: float | None = None
    trip: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the next decision needs to know of a zone: its rung, and readings in a row on either side.

    `blind`: it was brought down by missing readings alone, so any valid one that trips nothing lets it up again.
    `pressed`: the last reading stood at the throttle trip or beyond.
    """

    zone: str
    rung: int = 0
    above: int = 0
    below: int = 0
    missing: int = 0
    blind: bool = False
    pressed: bool = False
    paused_at: float = 0.0
    reading: float | None = None
    trip: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the tasks shall do: the pace, its duty (0 … 1), the reasons (sorted) and what is behind each.

    `holds` are the causes that keep a task from starting: also those that do not slow a running one (yet).
    The rest is history for the next decision; times are those of the caller's clock.
    """

    pace: Pace = Pace.full
    duty: float = 1.0
    causes: tuple[Cause, ...] = ()
    holds: tuple[Cause, ...] = ()
    paused_at: float | None = None
    traces: Mapping[str, Trace] = field(default_factory=dict)
    rung: int = 0
    moved_at: float = 0.0
    heading: int = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the present pace, sorted; none at full speed."""
        return tuple(cause.reason for cause in self.causes)

    @property
    def effect(self) -> tuple[object, ...]:
        """What others can tell apart: two verdicts of the same effect differ in history only."""
        held = tuple(cause.reason for cause in self.holds)
        return (self.pace, self.duty, self.reasons, held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Whether a task may start now; if so at which duty at most, and if not, why not."""

    allowed: bool
    duty: float = 1.0
    reasons: tuple[str, ...] = ()


# ── tables ──────────────────────────────────────────────────────────────────────────────────────
LADDER: tuple[tuple[Pace, float], ...] = (
    (Pace.full, 1.0),
    (Pace.cpu, 1.0),
    (Pace.slow, 0.5),
    (Pace.slow, 0.25),
    (Pace.paused, 0.0),
)
PAUSED = len(LADDER) - 1
RUNGS = {True: (0, 1, 2, 3, PAUSED), False: (0, 2, 3, PAUSED)}  # by: is an accelerator in use?
IN_A_ROW = 3
HELD_TOO_LONG = 0.5  # the duty at most of a task that waited for so long that it starts all the same


# ── one zone's step ─────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What all zones share in one decision: the time, the rungs in use, and which directions are open."""

    now: float
    rungs: tuple[int, ...]
    down: bool
    up: bool
    min_paused_s: float


def _moment(budget: Budget, previous: Verdict, now: float, *, accelerator: bool) -> Moment:
    turned = now - previous.moved_at >= budget.min_running_s
    return Moment(
        now=now,
        rungs=RUNGS[accelerator],
        down=turned or previous.heading >= 0,
        up=turned or previous.heading <= 0,
        min_paused_s=budget.min_paused_s,
    )


def _look(
    budget: Budget, zone: Zone, trace: Trace, readings: Sequence[Reading]
) -> tuple[Trace, Position | None]:
    """Return where the zone stands, and its trace with missing readings counted.

    No reading at all, or three ignored ones in a row: as if the machine had no such zone, so its reason goes.
    """
    if not readings:
        return replace(trace, missing=0), CLEAR
    positions = [position(zone, reading, budget.missing) for reading in readings]
    seen = [each for each in positions if each is not None]
    if seen:
        return replace(trace, missing=0), max(seen, key=lambda each: each.severity)
    missing = trace.missing + 1
    return replace(trace, missing=missing), CLEAR if missing >= IN_A_ROW else None


def _count(trace: Trace, at: Position) -> Trace:
    """Count readings in a row on either side; while paused, only the way out counts."""
    freed = at.resume or (trace.blind and not at.throttle and not at.pause)
    leaving = freed and (trace.rung == PAUSED or not at.throttle)
    pressing = at.throttle and not leaving
    return replace(
        trace,
        above=trace.above + 1 if pressing else 0,
        below=trace.below + 1 if leaving else 0,
        blind=_blind(trace, at),
        pressed=at.throttle or at.pause,
        reading=at.reading,
    )


def _blind(trace: Trace, at: Position) -> bool:
    if at.throttle or at.pause:
        return at.blind and (trace.blind or trace.rung == 0)
    return trace.blind and trace.rung > 0


def _move(trace: Trace, at: Position, moment: Moment) -> Trace:
    """Move by one rung at most; a pause trip goes to the end at once."""
    if at.pause:
        paused_at = trace.paused_at if trace.rung == PAUSED else moment.now
        return replace(trace, rung=PAUSED, above=0, below=0, paused_at=paused_at)
    if trace.above >= IN_A_ROW and trace.rung < PAUSED and moment.down:
        lower = min(rung for rung in moment.rungs if rung > trace.rung)
        return trace if lower == PAUSED else replace(trace, rung=lower, above=0)
    if trace.below >= IN_A_ROW and trace.rung > 0 and _open_above(trace, moment):
        return replace(trace, rung=max(rung for rung in moment.rungs if rung < trace.rung), below=0)
    return trace


def _open_above(trace: Trace, moment: Moment) -> bool:
    if trace.rung == PAUSED:
        return moment.now - trace.paused_at >= moment.min_paused_s
    return moment.up


def _step(budget: Budget, zone: Zone, before: Trace, readings: Sequence[Reading], moment: Moment) -> Trace:
    fitting = replace(before, rung=min(rung for rung in moment.rungs if rung >= before.rung))
    trace, at = _look(budget, zone, fitting, readings)
    if at is None:
        return trace
    moved = _move(_count(trace, at), at, moment)
    trip = at.pause_trip if moved.rung == PAUSED else at.throttle_trip
    return replace(moved, trip=trip if trip is not None and math.isfinite(trip) else None)


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────
def decide(
    budget: Budget,
    previous: Verdict | None,
    readings: Iterable[Reading],
    now: float,
    *,
    accelerator: bool = False,
) -> Verdict:
    """Return what the tasks shall do, given one reading (or more, or none) of each zone.

    `now` are seconds of a clock that never goes back; `previous` is the verdict before, None at first.
    `accelerator`: a running task computes on one, so that `cpu` is a pace of its own.
    """
    before = previous or Verdict(moved_at=now)
    by_zone: dict[str, list[Reading]] = {zone.name: [] for zone in budget.zones}
    for reading in readings:
        by_zone.setdefault(reading.zone, []).append(reading)
    moment = _moment(budget, before, now, accelerator=accelerator)
    traces = {
        zone.name: _step(
            budget, zone, before.traces.get(zone.name, Trace(zone=zone.name)), by_zone[zone.name], moment
        )
        for zone in budget.zones
    }
    rung = max((trace.rung for trace in traces.values()), default=0)
    after = replace(before, traces=traces, rung=rung)
    if rung != before.rung:
        after = replace(after, moved_at=now, heading=1 if rung > before.rung else -1)
    return assess(budget, after, now)


def assess(budget: Budget, verdict: Verdict, now: float) -> Verdict:
    """Return the verdict as the budget's mode sees it: the zones' history stays as it is.

    For a change of mode between two readings.
    """
    pausing, holding = _pausing(budget, verdict), _holding(budget, verdict)
    if budget.mode is Mode.never:
        pausing = holding = (Cause(reason="mode"),)  # `user` is a person's word about one task
    if not pausing:
        pace, duty = LADDER[verdict.rung] if budget.mode is Mode.auto else LADDER[0]
        causes = _slowing(budget, verdict)
        return replace(verdict, pace=pace, duty=duty, causes=causes, holds=holding, paused_at=None)
    paused_at = now if verdict.paused_at is None else verdict.paused_at
    pace = Pace.released if now - paused_at >= budget.release_after_s else Pace.paused
    return replace(verdict, pace=pace, duty=0.0, causes=pausing, holds=holding, paused_at=paused_at)


def _pausing(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    holding = {zone.name for zone in budget.zones if zone.guards or budget.mode is Mode.auto}
    traces = verdict.traces.values()
    return _causes(trace for trace in traces if trace.rung == PAUSED and trace.zone in holding)


def _slowing(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    if budget.mode is not Mode.auto:
        return ()
    return _causes(trace for trace in verdict.traces.values() if trace.rung > 0)


def _holding(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    if budget.mode is not Mode.auto:
        return _pausing(budget, verdict)
    return _causes(trace for trace in verdict.traces.values() if trace.rung > 0 or trace.pressed)


def _causes(traces: Iterable[Trace]) -> tuple[Cause, ...]:
    causes = (Cause(reason=trace.zone, reading=trace.reading, trip=trace.trip) for trace in traces)
    return tuple(sorted(causes, key=lambda cause: cause.reason))


def may_start(budget: Budget, verdict: Verdict, held_s: float = 0.0) -> Start:
    """Say whether a task may start that has been held back for `held_s` seconds.

    Stricter than to go on: a throttle trip holds a start back, for `max_hold_s` at most; then it starts slow.
    """
    reasons = tuple(cause.reason for cause in verdict.holds)
    if verdict.pace in (Pace.paused, Pace.released):
        return Start(allowed=False, reasons=reasons)
    if not reasons:
        return Start(allowed=True, duty=verdict.duty)
    if held_s < budget.max_hold_s:
        return Start(allowed=False, reasons=reasons)
    return Start(allowed=True, duty=min(verdict.duty, HELD_TOO_LONG), reasons=reasons)
