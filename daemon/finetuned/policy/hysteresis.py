"""One zone's way down and up the ladder of paces.

                          resume       throttle         pause
                           65 C          70 C            80 C
    full       -------<------.-------------+              .
                      ^      .             v 3 in a row   .
    slow 0.5   -------<------.-------------+              .
                      ^      .             v 3 in a row   .
    slow 0.25  -------<------.-------------+              .
                      ^      .             v 3 in a row   .
    .. on half -------<------.-------------.--------------+
    the cores         ^      .             .              v 1 reading, from any pace
    paused     -------<------.-------------.--------------.-----
                  3 in a row (and from paused: 60 s have passed)

Where an accelerator is in use, `cpu` lies between full and slow.  Between `resume` and `throttle` nothing moves.
Every step needs three readings in a row of its own, so the way up from a pause leads through every pace.  Turning
around (a throttle after a step up, a step up after a throttle) waits for `min_running_s`; going on in the same
direction doesn't.  A pause trip waits for nothing; one that is reached again makes a pause no longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from finetuned.policy.zones import CLEAR, Missing, Position, Reading, Zone, position

if TYPE_CHECKING:
    from collections.abc import Sequence


# ── the ladder ──────────────────────────────────────────────────────────────────────────────────
class Pace(StrEnum):
    """How fast a task may go, from full speed down."""

    full = "full"
    cpu = "cpu"
    slow = "slow"
    paused = "paused"
    released = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A pace with its duty (0 … 1) and the share of the cores that may be used (0 … 1)."""

    pace: Pace
    duty: float
    cores: float = 1.0


LADDER = (
    Rung(pace=Pace.full, duty=1.0),
    Rung(pace=Pace.cpu, duty=1.0),
    Rung(pace=Pace.slow, duty=0.5),
    Rung(pace=Pace.slow, duty=0.25),
    Rung(pace=Pace.slow, duty=0.25, cores=0.5),
    Rung(pace=Pace.paused, duty=0.0),
)
PAUSED = len(LADDER) - 1
RUNGS = {
    accelerator: tuple(i for i, rung in enumerate(LADDER) if accelerator or rung.pace is not Pace.cpu)
    for accelerator in (True, False)
}
"""The rungs that differ, by: is an accelerator in use?"""
IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What the next decision needs to know of a zone: its rung, and readings in a row on either side.

    `blind`: it was brought down by missing readings alone, so any valid one that trips nothing lets it up again.
    `pressed`: the last reading stood at the throttle trip or beyond.  `paused_at`: when its last pause began.
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


# ── one zone's step ─────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What all zones share in one decision: the time, the rungs in use, and which directions are open.

    `missing` is what a missing reading means, `min_paused_s` how long a pause lasts at least.
    """

    now: float
    rungs: tuple[int, ...]
    down: bool
    up: bool
    missing: Missing
    min_paused_s: float


def _fitting(trace: Trace, moment: Moment) -> Trace:
    """Return the trace on a rung that is in use: where no accelerator is, `cpu` is as `slow`, a step of its own."""
    rung = min(rung for rung in moment.rungs if rung >= trace.rung)
    return trace if rung == trace.rung else replace(trace, rung=rung, above=0)


def _look(
    zone: Zone, trace: Trace, readings: Sequence[Reading], meaning: Missing
) -> tuple[Trace, Position | None]:
    """Return where the zone stands, and its trace with missing readings counted.

    No reading at all, or three ignored ones in a row: as if the machine had no such zone, so its reason goes.
    """
    if not readings:
        return replace(trace, missing=0), CLEAR
    positions = [position(zone, reading, meaning) for reading in readings]
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
        pressed=at.throttle,
        reading=at.reading,
    )


def _blind(trace: Trace, at: Position) -> bool:
    if at.throttle or at.pause:
        untouched = trace.rung == 0 and trace.above == 0
        return at.blind and (trace.blind or untouched)
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


def step(zone: Zone, before: Trace, readings: Sequence[Reading], moment: Moment) -> Trace:
    """Return what becomes of the zone with these readings of it (one or more places, or none at all)."""
    trace, at = _look(zone, _fitting(before, moment), readings, moment.missing)
    if at is None:
        return trace
    moved = _move(_count(trace, at), at, moment)
    trip = at.pause_trip if moved.rung == PAUSED else at.throttle_trip
    return replace(moved, trip=trip if trip is not None and math.isfinite(trip) else None)
