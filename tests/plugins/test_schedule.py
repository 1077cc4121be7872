"""The windows by a local clock that may not be believed, and that travels."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.schedule import window
from finetuned.service.machine import Machine
from finetuned_plugins.schedule import Windows, finetuned_sensors, local_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.policy.zones import Reading

NIGHT = window("mon-fri 22:00-06:00")


@pytest.fixture(autouse=True)
def own_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the C library forget the time zones of a test."""
    yield
    monkeypatch.undo()
    time.tzset()


def said(at: str, *, synchronised: bool = True) -> Reading:
    machine = Machine(windows=(NIGHT,), synchronised=lambda: synchronised)
    return Windows(machine=machine, now=lambda: datetime.fromisoformat(at)).read()


@pytest.mark.parametrize(
    ("at", "value"),
    [
        ("2024-06-07 21:59:59", 0.0),  # a Friday
        ("2024-06-07 22:00:00", 1.0),
        ("2024-06-08 05:59:59", 1.0),
        ("2024-06-08 06:00:00", 0.0),
        ("2024-06-08 23:00:00", 0.0),
    ],
)
def test_inside_of_a_window_it_says_one_and_outside_zero(at: str, value: float) -> None:
    assert (said(at).zone, said(at).value) == ("schedule", value)


def test_a_clock_that_is_not_synchronised_is_a_missing_reading() -> None:
    reading = said("2024-06-07 23:00:00", synchronised=False)
    assert reading.value is None
    assert reading.why == "the clock is not synchronised, so the time of day is not known"


def test_there_is_a_sensor_only_where_there_are_windows() -> None:
    assert finetuned_sensors(Machine()) == []
    (sensor,) = finetuned_sensors(Machine(windows=(NIGHT,)))
    assert sensor.zone == "schedule"


def test_a_change_of_the_time_zone_is_seen_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = []
    for zone in ("UTC0", "ABC-12"):  # as POSIX writes it: twelve hours before Greenwich
        monkeypatch.setenv("TZ", zone)
        hours.append(local_time().hour)
    assert (hours[1] - hours[0]) % 24 in {12, 13}  # the hour may turn between the two


def test_the_hour_that_summer_time_takes_away_ends_a_window_by_the_clock_on_the_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    machine = Machine(windows=(window("02:00-03:00"),), synchronised=lambda: True)
    utc = datetime.fromisoformat("2024-03-31 00:59:00+00:00").timestamp()
    values = [
        Windows(machine=machine, now=lambda at=at: datetime.fromtimestamp(at)).read().value  # type: ignore[misc]  # noqa: DTZ006 - the local time is what is tested
        for at in (utc, utc + 60)  # 01:59, and a minute later it is 03:00
    ]
    assert values == [0.0, 0.0]
