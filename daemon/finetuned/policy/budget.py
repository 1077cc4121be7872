"""When a task runs, slows down, or waits: from readings to a verdict, without clock, sensor or loop.

The words are the kernel's.  A *zone* (thermal, battery …) has *trips*: `throttle`, `pause` and `resume`.  Every zone has a
place on a ladder of its own (`hysteresis.py` draws it), and the lowest of all places is what counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from finetuned.policy.hysteresis import IN_A_ROW, LADDER, PAUSED, RUNGS, Moment, Pace, Rung, Trace, step
from finetuned.policy.zones import (
    Kind,
    Missing,
    OnBattery,
    Reading,
    Sensor,
    Zone,
    battery_zone,
    homes,
    kind_of,
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
    "OnBattery",
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
    "settled",
    "thermal_zone",
]


# ── words ───────────────────────────────────────────────────────────────────────────────────────
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
    """A reason with its zone, and the reading and the trip behind it, where there are any."""

    reason: str
    zone: str = ""
    reading: float | None = None
    trip: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the tasks shall do: the pace, its duty and share of the cores (0 … 1), the reasons and what is behind each.

    `holds` are the causes that keep a task from starting: also those that do not slow a running one (yet).
    The rest is history for the next decision; times are those of the caller's clock.
    """

    pace: Pace = Pace.full
    duty: float = 1.0
    cores: float = 1.0
    causes: tuple[Cause, ...] = ()
    holds: tuple[Cause, ...] = ()
    paused_at: float | None = None
    traces: Mapping[str, Trace] = field(default_factory=dict)
    rung: int = 0
    moved_at: float = 0.0
    heading: int = 0

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the present pace, sorted, each once; none at full speed.

        While it is paused: those for the pause, and when the last of them is gone it goes on.
        Else: every zone that is not at full, although another be lower.
        """
        return reasons_of(self.causes)

    @property
    def effect(self) -> tuple[object, ...]:
        """What others can tell apart: two verdicts of the same effect differ in history only."""
        return (self.pace, self.duty, self.cores, self.reasons, reasons_of(self.holds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Whether a task may start now; if so at which duty at most, and if not, why not."""

    allowed: bool
    duty: float = 1.0
    reasons: tuple[str, ...] = ()


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
    moment = _moment(budget, before, now, accelerator=accelerator)
    found = homes(budget.zones, readings)
    traces = {
        zone.name: step(zone, before.traces.get(zone.name, Trace(zone=zone.name)), found[zone.name], moment)
        for zone in budget.zones
    }
    rung = max((trace.rung for trace in traces.values()), default=0)
    after = replace(before, traces=traces, rung=rung)
    if rung != before.rung:
        after = replace(after, moved_at=now, heading=1 if rung > before.rung else -1)
    return assess(budget, after, now)


def _moment(budget: Budget, previous: Verdict, now: float, *, accelerator: bool) -> Moment:
    turned = now - previous.moved_at >= budget.min_running_s
    return Moment(
        now=now,
        rungs=RUNGS[accelerator],
        down=turned or previous.heading >= 0,
        up=turned or previous.heading <= 0,
        missing=budget.missing,
        min_paused_s=budget.min_paused_s,
    )


def assess(budget: Budget, verdict: Verdict, now: float) -> Verdict:
    """Return the verdict as the budget's mode sees it: the zones' history stays as it is.

    For a change of mode between two readings.
    """
    pausing, holding = _pausing(budget, verdict), _holding(budget, verdict)
    if budget.mode is Mode.never:
        pausing = holding = (Cause(reason="mode"),)  # `user` is a person's word about one task
    if not pausing:
        moving = _on(verdict, LADDER[verdict.rung if budget.mode is Mode.auto else 0])
        return replace(moving, causes=_slowing(budget, verdict), holds=holding, paused_at=None)
    paused_at = now if verdict.paused_at is None else verdict.paused_at
    pace = Pace.released if now - paused_at >= budget.release_after_s else Pace.paused
    held = _on(verdict, replace(LADDER[PAUSED], pace=pace))
    return replace(held, causes=pausing, holds=holding, paused_at=paused_at)


def _on(verdict: Verdict, rung: Rung) -> Verdict:
    return replace(verdict, pace=rung.pace, duty=rung.duty, cores=rung.cores)


def _pausing(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    holding = {zone.name for zone in budget.zones if zone.guards or budget.mode is Mode.auto}
    return _causes(
        trace for trace in verdict.traces.values() if trace.rung == PAUSED and trace.zone in holding
    )


def _slowing(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    if budget.mode is not Mode.auto:
        return ()
    return _causes(trace for trace in verdict.traces.values() if trace.rung > 0)


def _holding(budget: Budget, verdict: Verdict) -> tuple[Cause, ...]:
    if budget.mode is not Mode.auto:
        return _pausing(budget, verdict)
    return _causes(trace for trace in verdict.traces.values() if trace.rung > 0 or trace.pressed)


def _causes(traces: Iterable[Trace]) -> tuple[Cause, ...]:
    """Return what is behind the traces, the lowest rung of each reason first."""
    ranked = sorted(traces, key=lambda trace: (kind_of(trace.zone), -trace.rung, trace.zone))
    return tuple(
        Cause(reason=kind_of(trace.zone), zone=trace.zone, reading=trace.reading, trip=trace.trip)
        for trace in ranked
    )


def reasons_of(causes: Iterable[Cause]) -> tuple[str, ...]:
    """Return the words, sorted, each once."""
    return tuple(sorted({cause.reason for cause in causes}))


# ── what follows ────────────────────────────────────────────────────────────────────────────────
HELD_TOO_LONG = 0.5
"""The duty at most of a task that waited for so long that it starts all the same."""


def may_start(budget: Budget, verdict: Verdict, held_s: float = 0.0) -> Start:
    """Say whether a task may start that has been held back for `held_s` seconds.

    Stricter than to go on: a throttle trip holds a start back, for `max_hold_s` at most; then it starts slow.
    """
    reasons = reasons_of(verdict.holds)
    if verdict.pace in (Pace.paused, Pace.released):
        return Start(allowed=False, reasons=reasons)
    if not reasons:
        return Start(allowed=True, duty=verdict.duty)
    if held_s < budget.max_hold_s:
        return Start(allowed=False, reasons=reasons)
    return Start(allowed=True, duty=min(verdict.duty, HELD_TOO_LONG), reasons=reasons)


def settled(
    budget: Budget, readings: Sequence[Reading], interval_s: float = 4.0, *, accelerator: bool = False
) -> Verdict:
    """Return the verdict in which it ends where these readings stay, and nothing was known before."""
    verdict: Verdict | None = None
    # Before `release_after_s`, which is about time and not about readings.
    lasting = replace(budget, release_after_s=math.inf)
    for index in range(IN_A_ROW * len(LADDER)):
        verdict = decide(lasting, verdict, readings, index * interval_s, accelerator=accelerator)
    return verdict or Verdict()
