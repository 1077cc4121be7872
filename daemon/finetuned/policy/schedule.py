"""Windows of the week in which tasks may run: `22:00-06:00`, `sat-sun 09:00-18:00`, `mon,wed,fri 00:00-24:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOUR = 60
DAY = 24 * HOUR
"""Minutes."""
ALLOWED = "write it as 22:00-06:00, mon-fri 22:00-06:00 or sat,sun 09:00-18:00"
_SHAPE = re.compile(
    r"(?:(?P<days>[a-z,-]+)\s+)?(?P<h1>\d\d?):(?P<m1>\d\d)\s*-\s*(?P<h2>\d\d?):(?P<m2>\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From minute `start` of each of the `days` (0 = Monday) to before minute `end`; past midnight where `end` ≤ `start`."""

    days: frozenset[int]
    start: int
    end: int

    def has(self, day: int, minute: int) -> bool:
        """Say whether this minute (of the day, local time) of this day lies inside."""
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or (
            (day - 1) % 7 in self.days and minute < self.end
        )


def window(text: str) -> Window:
    """Return the window that `text` means; ValueError says what is wrong with it."""
    match = _SHAPE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r:.60} is no window; {ALLOWED}")
    start, end = _minute(match["h1"], match["m1"]), _minute(match["h2"], match["m2"])
    if start in (DAY, end):
        raise ValueError(f"{text!r:.60} is empty; {ALLOWED} (the whole day is 00:00-24:00)")
    return Window(days=_days(match["days"] or "mon-sun"), start=start, end=end)


def _minute(hour: str, minute: str) -> int:
    found = int(hour) * HOUR + int(minute)
    if int(minute) >= HOUR or found > DAY:
        raise ValueError(f"{hour}:{minute} is no time of a day; {ALLOWED}")
    return found


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        for name in (first, last) if dash else (first,):
            if name not in DAYS:
                raise ValueError(f"{name!r:.20} is no day of the week; there are {', '.join(DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 + (7 if end < begin else 0))}
    return frozenset(found)


def inside(windows: Iterable[Window], day: int, minute: int) -> bool:
    """Say whether this minute of this day (0 = Monday) lies in one of the windows."""
    return any(each.has(day, minute) for each in windows)
