"""Windows of the week against a plain enumeration of their minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.policy.schedule import DAY, DAYS, HOUR, Window, inside, window

if TYPE_CHECKING:
    from collections.abc import Iterable

WEEK = 7 * DAY
SPANS = st.tuples(st.integers(0, DAY - 1), st.integers(0, DAY)).filter(lambda span: span[0] != span[1])
ONE_DAY = st.integers(0, 6).map(lambda day: (DAYS[day], {day}))
RANGES = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(
    lambda ends: (
        f"{DAYS[ends[0]]}-{DAYS[ends[1]]}",
        {day % 7 for day in range(ends[0], ends[1] + 1 + 7 * (ends[1] < ends[0]))},
    )
)
DAY_LISTS = st.lists(ONE_DAY | RANGES, min_size=1, max_size=4)


def written(minute: int) -> str:
    return f"{minute // HOUR:02}:{minute % HOUR:02}"


def minutes(days: Iterable[int], start: int, end: int) -> set[int]:
    """The minutes of the week, one by one: a person waits from `start` of each day until the clock shows `end`."""
    found: set[int] = set()
    for day in days:
        minute = start
        while True:
            found.add((day * DAY + minute) % WEEK)
            minute += 1
            if minute % DAY == end % DAY:
                break
    return found


def open_minutes(*windows: Window) -> set[int]:
    return {minute for minute in range(WEEK) if inside(windows, minute // DAY, minute % DAY)}


# ── what is inside ──────────────────────────────────────────────────────────────────────────────
@given(parts=DAY_LISTS, span=SPANS)
def test_a_window_has_the_minutes_that_a_person_would_count(
    parts: list[tuple[str, set[int]]], span: tuple[int, int]
) -> None:
    text = f"{','.join(name for name, _ in parts)} {written(span[0])}-{written(span[1])}"
    days = set().union(*(found for _, found in parts))
    assert open_minutes(window(text)) == minutes(days, *span)


@given(spans=st.lists(st.tuples(st.integers(0, 6), SPANS), max_size=3))
def test_several_windows_are_open_where_one_of_them_is(spans: list[tuple[int, tuple[int, int]]]) -> None:
    windows = [Window(days=frozenset({day}), start=start, end=end) for day, (start, end) in spans]
    assert open_minutes(*windows) == set().union(*(minutes({day}, *span) for day, span in spans))


@pytest.mark.parametrize(
    ("text", "day", "time", "is_open"),
    [
        ("22:00-06:00", "wed", "21:59", False),
        ("22:00-06:00", "wed", "22:00", True),
        ("22:00-06:00", "wed", "05:59", True),
        ("22:00-06:00", "wed", "06:00", False),
        ("sun 23:00-01:00", "mon", "00:30", True),
        ("sun 23:00-01:00", "sun", "00:30", False),
        ("sat-mon 09:00-18:00", "sun", "12:00", True),
        ("sat-mon 09:00-18:00", "tue", "12:00", False),
        ("Sat,Mon 9:00 - 18:00", "mon", "09:00", True),
        ("fri 18:00-24:00", "sat", "00:00", False),
        ("00:00-24:00", "thu", "23:59", True),
    ],
)
def test_a_window_as_people_write_it(text: str, day: str, time: str, is_open: bool) -> None:  # noqa: FBT001 - a column
    hour, _, minute = time.partition(":")
    assert inside([window(text)], DAYS.index(day), int(hour) * HOUR + int(minute)) is is_open


# ── what is refused ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no window; write it as 22:00-06:00"),
        ("always", "is no window"),
        ("22:00", "is no window"),
        ("22-06", "is no window"),
        ("22:00-06:00 mon", "is no window"),
        ("mon\n22:00-06:00\nx", "is no window"),
        ("٢٢:٠٠-٠٦:٠٠", "is no window"),
        ("-1:00-06:00", "is no window"),
        ("25:00-26:00", "25:00 is no time of a day"),
        ("22:60-23:00", "22:60 is no time of a day"),
        ("22:00-24:01", "24:01 is no time of a day"),
        ("08:00-08:00", "is empty"),
        ("24:00-06:00", "is empty"),
        ("moon 08:00-09:00", "'moon' is no day of the week; there are mon, tue"),
        ("mon- 08:00-09:00", "'' is no day"),
        (",mon 08:00-09:00", "'' is no day"),
        ("mon-wed-fri 08:00-09:00", "'wed-fri' is no day"),
    ],
)
def test_a_window_that_is_none_is_refused_with_what_is_allowed(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        window(text)


@given(
    text=st.text(max_size=200)
    | st.from_regex(r"[a-z,-]{0,40}\s?\d{0,3}:\d{0,3}-\d{0,3}:\d{0,3}", fullmatch=True)
)
def test_any_text_is_a_window_that_is_open_at_some_time_or_is_refused_in_a_short_sentence(text: str) -> None:
    try:
        found = window(text)
    except ValueError as error:
        assert len(str(error)) < 250  # noqa: PT017 - one of the two outcomes
    else:
        assert open_minutes(found)
