"""What the budget promises for every history: of hot, missing and lying readings, gaps of time, accelerators and modes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.policy.budget import (
    Budget,
    Kind,
    Missing,
    Mode,
    Pace,
    Reading,
    Verdict,
    Zone,
    assess,
    decide,
    may_start,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

steady = settings(derandomize=True, deadline=None, max_examples=60)
LADDER = [
    ("full", 1.0, 1.0),
    ("cpu", 1.0, 1.0),
    ("slow", 0.5, 1.0),
    ("slow", 0.25, 1.0),
    ("slow", 0.25, 0.5),
    ("paused", 0.0, 1.0),
]
FULL, CPU, *_, PAUSED = range(len(LADDER))
PLACES = {
    "thermal": "cpu",
    "thermal/x*": "x",
    "battery": "BAT",
    "command/a": "a",
}  # a zone, and names that are its
Values = tuple[float | None, ...]  # of one zone's places at one look; none: it has no sensor


# ── histories ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, kw_only=True)
class Look:
    """What happens `gap` seconds after the look before."""

    gap: float
    values: Mapping[str, Values]
    accelerator: bool = False
    mode: Mode = Mode.auto

    @property
    def readings(self) -> list[Reading]:
        """What the sensors say; every zone has names that are its own."""
        return [
            Reading(
                zone=zone.partition("/")[0],
                name=f"{PLACES[zone]}{'' if zone == 'command/a' else index}",
                value=value,
            )
            for zone, values in self.values.items()
            for index, value in enumerate(values)
        ]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A look, the time and what was decided."""

    now: float
    look: Look
    verdict: Verdict = field(repr=False)

    @property
    def rung(self) -> int:
        """How far down the ladder, from 0 at full to 5."""
        at = self.verdict
        pace = Pace.paused if at.pace is Pace.released else at.pace
        return LADDER.index((str(pace), at.duty, at.cores))


def run(budget: Budget, looks: Iterable[Look]) -> list[Seen]:
    seen: list[Seen] = []
    now, verdict = 1000.0, None
    for look in looks:
        now += look.gap
        ruled = replace(budget, mode=look.mode)
        verdict = decide(ruled, verdict, look.readings, now, accelerator=look.accelerator)
        seen.append(Seen(now=now, look=look, verdict=verdict))
    return seen


trips = st.one_of(st.none(), st.just(math.inf), st.integers(1, 9).map(lambda tens: 10.0 * tens))
readable = st.integers(0, 20).map(lambda fives: 5.0 * fives)  # so that values stand exactly at trips
values = st.one_of(readable, st.sampled_from([None, math.nan, -math.inf]))


@st.composite
def zones(draw: st.DrawFn, name: str) -> Zone:
    """Draw trips that are in order for their kind; None and infinite ones too."""
    kind = draw(st.sampled_from(Kind))
    throttle, pause = draw(trips), draw(trips)
    if throttle is not None and pause is not None:
        throttle, pause = sorted((throttle, pause), reverse=kind is Kind.below)
    nearest = throttle if throttle is not None else pause
    off = 10.0 * draw(st.integers(0, 2))
    resume = (
        50.0 if nearest is None or math.isinf(nearest) else nearest + (off if kind is Kind.below else -off)
    )
    if kind is Kind.below and pause is not None:
        resume = max(resume, pause)
    return Zone(
        name=name, kind=kind, throttle=throttle, pause=pause, resume=resume, guards=draw(st.booleans())
    )


@st.composite
def budgets(draw: st.DrawFn, most: int = 3) -> Budget:
    names = draw(st.lists(st.sampled_from(list(PLACES)), min_size=1, max_size=most, unique=True))
    least = st.sampled_from([0.0, 10.0, 30.0, 60.0, 100.0])
    return Budget(
        zones=tuple(draw(zones(name)) for name in names),
        min_paused_s=draw(least),
        min_running_s=draw(least),
        release_after_s=draw(st.sampled_from([math.inf, 20.0])),
        max_hold_s=100.0,
        missing=draw(st.sampled_from(Missing)),
    )


@st.composite
def histories(
    draw: st.DrawFn,
    budget: Budget,
    modes: Sequence[Mode] = (Mode.auto,),
    *,
    places: int = 2,
    toggling: bool = True,
) -> list[Look]:
    """Draw phases of looks that are alike, so that whole ladders are walked."""
    accelerators = st.booleans() if toggling else st.just(draw(st.booleans()))
    phase = st.builds(
        Look,
        gap=st.sampled_from([4.0, 4.0, 0.0, 1.0, 15.0, 60.0]),
        values=st.fixed_dictionaries(
            {z.name: st.lists(values, max_size=places).map(tuple) for z in budget.zones}
        ),
        accelerator=accelerators,
        mode=st.sampled_from(modes),
    )
    phases = draw(st.lists(st.tuples(phase, st.integers(1, 9)), min_size=1, max_size=10))
    return [look for look, times in phases for _ in range(times)]


@st.composite
def stories(draw: st.DrawFn, modes: Sequence[Mode] = (Mode.auto,)) -> tuple[Budget, list[Look]]:
    budget = draw(budgets())
    return budget, draw(histories(budget, modes))


# ── the oracle: one zone as the page of the budgets tells it ────────────────────────────────────
def beyond(zone: Zone, value: float, trip: float | None) -> bool:
    if trip is None:
        return False
    return value >= trip if zone.kind is Kind.above else value < trip


def resumed(zone: Zone, value: float) -> bool:
    return value < zone.resume if zone.kind is Kind.above else value > zone.resume


def valid(values: Values) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def says(zone: Zone, missing: Missing, value: float | None, unread: int) -> set[str] | None:
    """Return what a reading says: pause, hot, cool, or nothing; None: it is ignored."""
    if value is None and missing is Missing.ignore:
        return {"cool"} if unread >= 3 else None
    if value is None:
        return {"hot", "pause"} if missing is Missing.pause else {"hot"}
    trips = {"pause": beyond(zone, value, zone.pause), "hot": beyond(zone, value, zone.throttle)}
    return {word for word, true in {**trips, "cool": resumed(zone, value)}.items() if true}


@dataclass(kw_only=True)
class Told:
    """One zone as the page tells it: a rung (0 is full, `last` paused) and what the looks since the last step said."""

    budget: Budget
    last: int
    at: int = 0
    row: list[str] = field(default_factory=lambda: [""])
    unread: int = 0
    guessed: bool = True
    way: int = 0
    moved: float = 0.0

    def look(self, now: float, values: Values) -> int:
        """Return the rung after the budget's only zone was read: at one place, or at none."""
        value = next(iter(valid(values)), None)
        self.unread = self.unread + 1 if values and value is None else 0
        said = says(self.budget.zones[0], self.budget.missing, value, self.unread) if values else {"cool"}
        if said is not None and (step := self.step(now, self.relieved(said, value))):
            self.at, self.row, self.way, self.moved = self.at + step, [""], step, now
        return self.at

    def relieved(self, said: set[str], value: float | None) -> set[str]:
        """A task that only guesses brought down is let up by any reading that trips nothing."""
        trips = said & {"hot", "pause"}
        fresh = self.at == 0 and self.row[-1] != "hot"
        self.guessed = (self.guessed or fresh) and (value is None or not trips)
        return {"cool"} if self.guessed and not trips else said

    def step(self, now: float, said: set[str]) -> int:
        """Return by how many rungs it goes down, or up (-1)."""
        if "pause" in said:
            self.row = [""]
            return self.last - self.at
        cool = "cool" in said and ("hot" not in said or self.at == self.last)
        self.row.append("cool" if cool else "hot" if "hot" in said else "between")
        for word, step in (("hot", 1), ("cool", -1)):
            if self.row[-3:] == [word] * 3 and self.open(now, step):
                return step
        return 0

    def open(self, now: float, step: int) -> bool:
        """Say whether it may step that way: not beyond the ends, and not before the minimum times."""
        if self.at == self.last:
            return step < 0 and now - self.moved >= self.budget.min_paused_s
        turning = self.way * step < 0 and now - self.moved < self.budget.min_running_s
        return 0 <= self.at + step < self.last and not turning


@steady
@given(st.data())
def test_a_zone_alone_does_what_the_page_of_the_budgets_tells(data: st.DataObject) -> None:
    budget = data.draw(budgets(most=1))
    looks = data.draw(histories(budget, places=1, toggling=False))
    rungs = [rung for rung in range(len(LADDER)) if looks[0].accelerator or rung != CPU]
    model = Told(budget=budget, last=len(rungs) - 1)
    for each in run(budget, looks):
        assert each.rung == rungs[model.look(each.now, each.look.values[budget.zones[0].name])]


# ── safety ──────────────────────────────────────────────────────────────────────────────────────
def pausing(budget: Budget, each: Seen, mode: Mode) -> set[str]:
    """Return the zones that have a valid reading beyond their pause trip, as far as the mode regards them."""
    return {
        zone.name
        for zone in budget.zones
        if mode is Mode.auto or (mode is Mode.always and zone.guards)
        if any(beyond(zone, value, zone.pause) for value in valid(each.look.values[zone.name]))
    }


@steady
@given(stories(tuple(Mode)), st.sampled_from(Mode))
def test_one_valid_reading_beyond_a_pause_trip_pauses_at_that_very_look(
    story: tuple[Budget, list[Look]], later: Mode
) -> None:
    budget, looks = story
    for each in run(budget, looks):
        changed = assess(replace(budget, mode=later), each.verdict, each.now)
        for mode, verdict in ((each.look.mode, each.verdict), (later, changed)):
            zones = pausing(budget, each, mode)
            assert not zones or verdict.pace in {Pace.paused, Pace.released}
            assert zones <= {cause.zone for cause in verdict.causes}


@steady
@given(stories(tuple(Mode)))
def test_a_start_is_never_allowed_more_than_what_runs_and_is_not_held_for_ever(
    story: tuple[Budget, list[Look]],
) -> None:
    budget, looks = story
    for each in run(budget, looks):
        now, late = (may_start(budget, each.verdict, held_s) for held_s in (99.9, 100.0))
        assert max(now.allowed * now.duty, late.allowed * late.duty) <= each.verdict.duty
        assert late.allowed == (each.rung != PAUSED)
        assert now.allowed == (not each.verdict.holds)
        assert now.allowed or list(now.reasons) == sorted(set(now.reasons)) != []


# ── calm ────────────────────────────────────────────────────────────────────────────────────────
def moves(seen: Sequence[Seen]) -> list[tuple[Seen, Seen]]:
    """Return the looks before and after each step."""
    return [(old, new) for old, new in pairwise(seen) if old.rung != new.rung]


def in_use(look: Look) -> list[int]:
    return [rung for rung in range(len(LADDER)) if look.accelerator or rung != CPU]


@steady
@given(stories())
def test_it_never_flaps_faster_than_the_minimum_times(story: tuple[Budget, list[Look]]) -> None:
    budget, looks = story
    for (then, at), (before, after) in pairwise(moves(run(budget, looks))):
        lasted = after.now - at.now
        forced = after.rung == PAUSED or before.rung not in in_use(after.look)  # nothing can delay these
        if at.rung == PAUSED:
            assert lasted >= budget.min_paused_s
        elif (at.rung > then.rung) != (after.rung > before.rung) and not forced:
            assert lasted >= budget.min_running_s


@steady
@given(stories())
def test_it_moves_by_one_rung_at_a_time_but_for_a_pause_trip(story: tuple[Budget, list[Look]]) -> None:
    for old, new in moves(run(*story)):
        rungs = in_use(new.look)
        start, end = rungs.index(min(rung for rung in rungs if rung >= old.rung)), rungs.index(new.rung)
        fell = (
            old.rung not in rungs
        )  # from `cpu` to slow, since the next task wants no accelerator: a step, too
        assert end >= start - 1
        assert new.rung == PAUSED or end <= start + (not fell)


@steady
@given(st.data())
def test_it_comes_back_to_full_within_a_bound_when_every_reason_is_gone(data: st.DataObject) -> None:
    budget, looks = data.draw(stories())
    good = {zone.name: fine(zone) if data.draw(st.booleans()) else () for zone in budget.zones}
    wait = math.ceil(max(budget.min_paused_s, budget.min_running_s) / 4.0)
    bound = max(3, 1 + wait) + 3 * 4  # the longest minimum, then four more rungs of three looks each
    calm = [Look(gap=4.0, values=good, accelerator=data.draw(st.booleans()))] * (bound + 9)
    after = run(budget, [*looks, *calm])[len(looks) :]
    assert [each.rung for each in after[bound - 1 :]] == [FULL] * 10
    assert (after[-1].verdict.reasons, after[-1].verdict.holds) == ((), ())


def fine(zone: Zone) -> Values:
    """Return a reading that asks for nothing; none, where every one does."""
    value = zone.resume + (1.0 if zone.kind is Kind.below else -1.0)
    tripped = beyond(zone, value, zone.throttle) or beyond(zone, value, zone.pause)
    return () if tripped or not resumed(zone, value) else (value,)


# ── what is said ────────────────────────────────────────────────────────────────────────────────
@steady
@given(stories(tuple(Mode)))
def test_the_reasons_are_those_for_the_present_pace_each_once_in_order(
    story: tuple[Budget, list[Look]],
) -> None:
    budget, looks = story
    for each in run(budget, looks):
        zones = {name: trace.rung for name, trace in each.verdict.traces.items()}
        regarded = {zone.name for zone in budget.zones if each.look.mode is Mode.auto or zone.guards}
        least = PAUSED if PAUSED in (zones[name] for name in regarded) or each.look.mode is Mode.always else 1
        expected = {name.partition("/")[0] for name in regarded if zones[name] >= least}
        never = each.look.mode is Mode.never
        assert list(each.verdict.reasons) == (["mode"] if never else sorted(expected))
        assert bool(each.verdict.reasons) == (each.rung != FULL)


@steady
@given(stories(), st.sampled_from(Mode))
def test_a_change_of_mode_and_back_forgets_nothing(story: tuple[Budget, list[Look]], mode: Mode) -> None:
    budget, looks = story
    budget = replace(budget, release_after_s=math.inf)  # what ran in between is released later
    last = run(budget, looks)[-1]
    other = assess(replace(budget, mode=mode), last.verdict, last.now)
    assert assess(budget, other, last.now).effect == last.verdict.effect


# ── comparisons ─────────────────────────────────────────────────────────────────────────────────
@steady
@given(st.data())
def test_after_the_same_history_a_worse_reading_never_makes_it_faster(data: st.DataObject) -> None:
    budget = data.draw(budgets())
    looks = data.draw(histories(budget))
    zone = data.draw(st.sampled_from(budget.zones))
    worse, better = sorted((data.draw(readable), data.draw(readable)), reverse=zone.kind is Kind.above)
    ends = [replace(looks[-1], values={**looks[-1].values, zone.name: (value,)}) for value in (worse, better)]
    hot, cool = (run(budget, [*looks, end])[-1] for end in ends)
    assert hot.rung >= cool.rung
    assert {cause.zone for cause in hot.verdict.holds} >= {cause.zone for cause in cool.verdict.holds}


@steady
@given(st.data())
def test_a_simulation_ends_where_the_same_readings_end_if_they_stay_for_long(data: st.DataObject) -> None:
    budget = replace(data.draw(budgets()), release_after_s=math.inf)
    (look, *_) = data.draw(histories(budget))
    last = run(budget, [replace(look, gap=4.0)] * 100)[-1].verdict
    simulated = settled(budget, look.readings, accelerator=look.accelerator)
    assert (simulated.effect, simulated.causes) == (last.effect, last.causes)
