"""The rows of the drawing in `policy/hysteresis.py`, and what follows from it: starts, modes, simulations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.budget import (
    Budget,
    Kind,
    Missing,
    Mode,
    OnBattery,
    Pace,
    Reading,
    Verdict,
    Zone,
    assess,
    battery_zone,
    decide,
    may_start,
    settled,
    thermal_zone,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK = 4.0
LIE = math.nan
FULL, CPU, HALF, QUARTER = ("full", 1.0, 1.0), ("cpu", 1.0, 1.0), ("slow", 0.5, 1.0), ("slow", 0.25, 1.0)
CORES, PAUSED = ("slow", 0.25, 0.5), ("paused", 0.0, 1.0)  # pace, duty, share of the cores


# ── builders ────────────────────────────────────────────────────────────────────────────────────
def heat(value: float | None, passive: float | None = None, name: str = "cpu") -> Reading:
    return Reading(zone="thermal", name=name, value=value, passive=passive)


def charge(value: float | None, *, on_battery: bool) -> Reading:
    return Reading(zone="battery", name="BAT0", value=value, on_battery=on_battery)


def history(
    rounds: Sequence[tuple[Reading, ...]], budget: Budget | None = None, *, accelerator: bool = False
) -> list[Verdict]:
    """Return the verdict after each round of readings, four seconds apart."""
    verdicts: list[Verdict] = []
    for index, readings in enumerate(rounds):
        before = verdicts[-1] if verdicts else None
        verdicts.append(decide(budget or Budget(), before, readings, index * TICK, accelerator=accelerator))
    return verdicts


def temperatures(*values: float) -> list[tuple[Reading, ...]]:
    return [(heat(value),) for value in values]


def paces(verdicts: list[Verdict]) -> list[tuple[str, float, float]]:
    return [(str(verdict.pace), verdict.duty, verdict.cores) for verdict in verdicts]


# ── the rows of the drawing ─────────────────────────────────────────────────────────────────────
def test_the_way_down_and_up_is_the_one_that_is_drawn() -> None:
    rows = [  # °C, readings in a row, the pace after the last of them and before it, reasons
        (60, 5, FULL, FULL, ()),
        (69.9, 5, FULL, FULL, ()),  # between resume and throttle nothing moves
        (70, 3, FULL, HALF, ("thermal",)),
        (75, 3, HALF, QUARTER, ("thermal",)),
        (75, 3, QUARTER, CORES, ("thermal",)),
        (79.9, 9, CORES, CORES, ("thermal",)),  # a throttle trip goes no further
        (67, 9, CORES, CORES, ("thermal",)),
        (65, 9, CORES, CORES, ("thermal",)),  # below resume, not at it
        (64.9, 3, CORES, QUARTER, ("thermal",)),
        (64.9, 3, QUARTER, HALF, ("thermal",)),
        (64.9, 3, HALF, FULL, ()),
        (80, 1, FULL, PAUSED, ("thermal",)),
        (70, 20, PAUSED, PAUSED, ("thermal",)),  # cooler, but not below resume, for longer than the minimum
        (64.9, 3, PAUSED, CORES, ("thermal",)),
        (64.9, 3, CORES, QUARTER, ("thermal",)),
        (64.9, 3, QUARTER, HALF, ("thermal",)),
        (64.9, 3, HALF, FULL, ()),
    ]
    verdicts = history(temperatures(*(value for value, times, *_ in rows for _ in range(times))))
    end = -1
    for value, times, before, after, reasons in rows:
        start, end = end, end + times
        assert paces(verdicts[start + 1 : end]) == [before] * (times - 1), f"before the last at {value} °C"
        assert paces([verdicts[end]]) == [after], f"after {times} at {value} °C"
        assert verdicts[end].reasons == reasons


def test_an_accelerator_is_left_first() -> None:
    down = paces(history(temperatures(*[75] * 12), accelerator=True))[2::3]
    assert down == [CPU, HALF, QUARTER, CORES]


def test_the_pace_cpu_is_as_slow_for_the_next_task_where_that_wants_no_accelerator() -> None:
    verdict = history(temperatures(75, 75, 75), accelerator=True)[-1]
    assert paces([decide(Budget(), verdict, [heat(67)], 12.0)]) == [HALF]


def test_from_there_it_takes_three_hot_readings_to_go_on_down() -> None:
    verdict = history(temperatures(80, *[40] * 24, 75, 75), accelerator=True)[-1]
    assert paces([verdict]) == [CPU]
    after = []
    for now in (200.0, 204.0, 208.0):
        verdict = decide(Budget(), verdict, [heat(75)], now)
        after.append(verdict)
    assert paces(after) == [HALF, HALF, QUARTER]


def test_a_pause_trip_that_is_reached_again_makes_the_pause_no_longer() -> None:
    pace = paces(history(temperatures(85, *[40] * 10, 85, *[40] * 4)))
    assert pace[-2:] == [PAUSED, CORES]  # 60 s after the first, and after three cool readings


@pytest.mark.parametrize("spoiler", [69.0, 60.0])
def test_two_hot_readings_and_another_are_not_three_in_a_row(spoiler: float) -> None:
    assert paces(history(temperatures(75, 75, spoiler, 75, 75)))[-1] == FULL


def test_a_pause_lasts_its_minimum_however_cool_it_is() -> None:
    pace = paces(history(temperatures(85, *[40] * 15)))
    assert pace[14] == PAUSED
    assert pace[15] == CORES  # 60 s after the trip


def test_what_was_resumed_runs_its_minimum_before_it_is_throttled_but_not_before_it_is_paused() -> None:
    budget = Budget(min_paused_s=0)
    cooled = temperatures(85, *[40] * 12)  # back at full at 48 s
    assert paces(history(cooled, budget))[-1] == FULL
    throttled = paces(history(cooled + temperatures(*[75] * 9), budget))[len(cooled) :]
    assert throttled.index(HALF) == 7  # at 80 s: the first reading 30 s after the last step up
    assert paces(history(cooled + temperatures(80), budget))[-1] == PAUSED


def test_what_was_throttled_stays_so_for_its_minimum() -> None:
    pace = paces(history(temperatures(75, 75, 75, *[40] * 9)))  # throttled at 8 s
    assert pace[9] == HALF
    assert pace[10] == FULL  # at 40 s


def test_the_cause_names_the_reading_and_the_trip() -> None:
    slowed, paused = history(temperatures(75, 75, 75, 85))[-2:]
    assert [(cause.reading, cause.trip) for cause in slowed.causes + paused.causes] == [(75, 70), (85, 80)]


# ── batteries ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("rounds", "pace", "reasons"),
    [
        ([charge(90, on_battery=True)] * 3, HALF, ("battery",)),
        ([charge(90, on_battery=True)] * 6, QUARTER, ("battery",)),
        ([charge(30, on_battery=True)], FULL, ()),
        ([charge(29, on_battery=True)], PAUSED, ("battery",)),
        ([charge(5, on_battery=False)] * 6, FULL, ()),
        ([charge(29, on_battery=True)] + [charge(35, on_battery=True)] * 20, PAUSED, ("battery",)),
        ([charge(29, on_battery=True)] + [charge(41, on_battery=True)] * 15, CORES, ("battery",)),
        ([charge(29, on_battery=True)] + [charge(41, on_battery=True)] * 40, CORES, ("battery",)),
        ([charge(29, on_battery=True)] + [charge(29, on_battery=False)] * 15, CORES, ("battery",)),
        ([charge(29, on_battery=True)] + [charge(29, on_battery=False)] * 24, FULL, ()),
        ([charge(29, on_battery=True)] + [charge(None, on_battery=False)] * 24, FULL, ()),
        ([charge(None, on_battery=True)] * 3, HALF, ("battery",)),  # that it is on battery is known
    ],
)
def test_a_battery_slows_and_a_drained_one_pauses_until_it_is_charged_or_plugged_in(
    rounds: list[Reading], pace: tuple[str, float, float], reasons: tuple[str, ...]
) -> None:
    verdict = history([(reading,) for reading in rounds])[-1]
    assert (paces([verdict]), verdict.reasons) == ([pace], reasons)


def test_where_a_battery_may_not_throttle_only_its_pause_trip_is_left() -> None:
    budget = Budget(zones=(battery_zone(on_battery=OnBattery.ignore),))
    rounds = [(charge(90, on_battery=True),)] * 9 + [(charge(20, on_battery=True),)]
    assert paces(history(rounds, budget))[-2:] == [FULL, PAUSED]


def test_a_task_goes_on_when_the_last_reason_is_gone() -> None:
    both = (heat(85), charge(20, on_battery=True))
    only_heat = (heat(85), charge(20, on_battery=False))
    none = (heat(50), charge(20, on_battery=False))
    verdicts = history([both, *[only_heat] * 15, *[none] * 3])
    assert [verdicts[0].reasons, verdicts[15].reasons] == [("battery", "thermal"), ("thermal",)]
    assert paces(verdicts)[17:] == [PAUSED, CORES]


# ── zones as data ───────────────────────────────────────────────────────────────────────────────
def test_a_zone_that_is_only_data_obeys_the_same_drawing() -> None:
    budget = Budget(zones=(Zone(name="memory", throttle=20, pause=60, resume=10),), min_paused_s=0)
    pressures = [30, 30, 30, 70, 5, 5, 5]
    rounds = [(Reading(zone="memory", name="some avg10", value=value),) for value in pressures]
    assert paces(history(rounds, budget))[2:] == [HALF, PAUSED, PAUSED, PAUSED, CORES]


def test_a_zone_below_its_trip_may_have_no_throttle() -> None:
    disk = Zone(name="disk", kind=Kind.below, throttle=None, pause=500, resume=600)
    budget = Budget(zones=(disk,), min_paused_s=0)
    rounds = [
        (Reading(zone="disk", name="/", value=value),) for value in [550, 499, 601, 601, 601, 601, 601, 601]
    ]
    assert paces(history(rounds, budget))[:5] == [FULL, PAUSED, PAUSED, PAUSED, CORES]


def test_the_hottest_place_counts() -> None:
    verdict = history([(heat(40, name="cpu0"), heat(85, name="cpu1"), heat(None, name="cpu2"))])[-1]
    assert (paces([verdict]), verdict.causes[0].reading) == ([PAUSED], 85)


@pytest.mark.parametrize(
    ("passive", "celsius", "pace"),
    [
        (60, 54.9, HALF),  # throttle at 50, pause at 55
        (60, 55, PAUSED),
        (60, 49.9, FULL),
        (95, 75, HALF),  # a higher one moves nothing
        (95, 80, PAUSED),
        (0, 60, FULL),  # and one that cannot be meant neither
    ],
)
def test_a_lower_passive_trip_point_of_the_zone_lowers_its_trips(
    passive: float, celsius: float, pace: tuple[str, float, float]
) -> None:
    assert paces(history([(heat(celsius, passive),)] * 3))[-1] == pace


def test_a_zone_with_lowered_trips_resumes_at_its_usual_distance_below() -> None:
    budget = Budget(min_paused_s=0)
    rounds = [(heat(value, passive=60),) for value in [56, *[46] * 9, 44.9, 44.9, 44.9]]
    assert paces(history(rounds, budget))[-2:] == [PAUSED, CORES]


# ── missing readings ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lie", [None, math.nan, math.inf, -273.0, 1000.0])
def test_a_missing_reading_means_what_the_budget_says(lie: float | None) -> None:
    def after(missing: Missing, times: int) -> tuple[str, float, float]:
        return paces(history([(heat(lie),)] * times, Budget(missing=missing)))[-1]

    assert after(Missing.ignore, 9) == FULL
    assert [after(Missing.throttle, 2), after(Missing.throttle, 3)] == [FULL, HALF]
    assert after(Missing.pause, 1) == PAUSED


def test_an_ignored_reading_breaks_no_row_of_three() -> None:
    assert paces(history(temperatures(75, 75, LIE, 75)))[-1] == HALF


def test_a_zone_whose_readings_stay_away_no_longer_counts() -> None:
    paused = history(temperatures(85, *[LIE] * 14))[-1]
    assert paces([paused]) == [PAUSED]
    assert paces(history(temperatures(85, *[LIE] * 29)))[-1] == FULL
    assert paces(history([(heat(85),), *[()] * 29]))[-1] == FULL


def test_after_a_missing_reading_has_paused_any_harmless_one_lets_go() -> None:
    budget = Budget(missing=Missing.pause, min_paused_s=0)
    assert paces(history(temperatures(67, LIE, 67, 67, 67), budget))[-1] == CORES
    assert paces(history(temperatures(85, LIE, 67, 67, 67, 67), budget))[-1] == PAUSED


def test_what_hot_readings_began_and_a_missing_one_completed_waits_for_resume() -> None:
    budget = Budget(missing=Missing.throttle, min_running_s=0)
    assert paces(history(temperatures(75, 75, LIE, *[67] * 9), budget))[-1] == HALF
    assert paces(history(temperatures(LIE, LIE, LIE, *[67] * 9), budget))[-1] == FULL


# ── starting ────────────────────────────────────────────────────────────────────────────────────
def test_no_task_starts_while_a_throttle_trip_holds_although_one_that_runs_goes_on() -> None:
    verdict = history(temperatures(70))[-1]
    start = may_start(Budget(), verdict)
    assert (verdict.pace, start.allowed, start.reasons) == (Pace.full, False, ("thermal",))


def test_a_task_may_start_at_full_speed_when_nothing_holds() -> None:
    start = may_start(Budget(), history(temperatures(75, 60))[-1])
    assert (start.allowed, start.duty, start.reasons) == (True, 1.0, ())


def test_after_six_hours_a_held_task_starts_slow_unless_a_pause_trip_holds() -> None:
    throttled, paused = history(temperatures(75, 85))
    budget = Budget()
    assert not may_start(budget, throttled, held_s=6 * 3600 - 1).allowed
    late = may_start(budget, throttled, held_s=6 * 3600)
    assert (late.allowed, late.duty) == (True, 0.5)
    assert not may_start(budget, paused, held_s=7 * 3600).allowed


# ── modes ───────────────────────────────────────────────────────────────────────────────────────
def test_in_mode_always_only_the_trips_that_protect_the_machine_hold() -> None:
    budget = Budget(mode=Mode.always)
    drained = charge(5, on_battery=True)
    verdict = history([(heat(75), drained)] * 9, budget)[-1]
    assert (paces([verdict]), verdict.reasons, may_start(budget, verdict).allowed) == ([FULL], (), True)
    hot = history([(heat(85), drained)], budget)[-1]
    assert (paces([hot]), hot.reasons, may_start(budget, hot).allowed) == ([PAUSED], ("thermal",), False)


def test_in_mode_never_the_mode_is_the_reason() -> None:
    budget = Budget(mode=Mode.never)
    verdict = history(temperatures(40), budget)[-1]
    assert (paces([verdict]), verdict.reasons) == ([PAUSED], ("mode",))
    assert may_start(budget, verdict).reasons == ("mode",)


def test_a_change_of_mode_acts_at_once_and_forgets_nothing() -> None:
    slow = history(temperatures(75, 75, 75))[-1]
    always = assess(Budget(mode=Mode.always), slow, 9.0)
    assert paces([always, assess(Budget(), always, 10.0)]) == [FULL, HALF]


def test_a_pause_that_lasts_releases_the_memory() -> None:
    verdicts = history(temperatures(*[85] * 4, *[40] * 3), Budget(release_after_s=8, min_paused_s=0))
    expected = ["paused", "paused", "released", "released", "released", "released", "slow"]
    assert [str(verdict.pace) for verdict in verdicts] == expected


# ── simulations ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("readings", "accelerator", "pace"),
    [
        ((), True, FULL),
        ((heat(69.9),), True, FULL),
        ((heat(70),), True, CORES),
        ((heat(70),), False, CORES),
        ((heat(80),), True, PAUSED),
        ((heat(None),), True, FULL),
        ((heat(40), charge(90, on_battery=True)), False, CORES),
        ((heat(40), charge(29, on_battery=True)), False, PAUSED),
    ],
)
def test_where_readings_stay_it_ends_at_the_last_rung_that_they_ask_for(
    readings: tuple[Reading, ...], *, accelerator: bool, pace: tuple[str, float, float]
) -> None:
    assert paces([settled(Budget(release_after_s=0), readings, accelerator=accelerator)]) == [pace]


def test_the_defaults_are_those_of_the_two_zones() -> None:
    assert Budget().zones == (thermal_zone(), battery_zone())
