"""How readings, causes, modes and durations are said to people; and what strangers say, made harmless."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from finetuned.errors import ParameterError
from finetuned.policy.zones import QUANTITIES, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.service.events import CauseView

MOST = 100
MANY = 10**9
ELLIPSIS = "…"
SMALL, LARGE, HUGE = 10.0, 1e3, 1e12  # from large to huge no digit behind the point matters, below it one
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)", re.ASCII)
MEANINGS = {
    "auto": "the budget decides",
    "always": "only what would harm the machine holds a task",
    "never": "nothing is trained",
}
STATED = {("power", 1.0): "limited", ("power", 0.0): "unlimited"}
STATED |= {("schedule", 1.0): "inside a window", ("schedule", 0.0): "outside its windows"}
"""Readings that are words rather than numbers, by kind of zone and value."""


# ── what strangers say ──────────────────────────────────────────────────────────────────────────
def harmless(text: object, most: int = MOST) -> str:
    """Return a text on one line, without what a terminal would obey, at most so many characters long.

    Controls and what turns the direction of writing become `�`; joiners and other parts of emoji stay.
    """
    said = str(text)[: most + 1]
    shown = "".join(each if _is_shown(each) else "�" for each in said)
    return shown if len(shown) <= most else f"{shown[: most - 1]}{ELLIPSIS}"


def _is_shown(each: str) -> bool:
    return each.isprintable() or each in JOINERS


JOINERS = frozenset("\u200d\ufe0e\ufe0f")
"""What joins and dresses the parts of an emoji."""


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────
def figure(number: float | None, form: str) -> str:
    """Say a measured number; None is what was measured as infinite or NaN."""
    return "not finite" if number is None else format(number, form)


def amount(zone: str, value: float) -> str:
    """Say a reading or a trip of a zone with its unit: `83.1 °C`."""
    kind = kind_of(zone)
    if stated := STATED.get((kind, value)):
        return stated
    unit = QUANTITIES[kind].unit if kind in QUANTITIES else ""
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    if LARGE <= abs(value) < HUGE:
        return f"{value:.0f}"
    return f"{round(value, 1):g}" if SMALL <= abs(value) < LARGE else f"{value:.3g}"


def cause(found: CauseView) -> str:
    """Say a cause in words: `thermal 83.1 °C (trip 80 °C)`."""
    if found.reading is None:
        return harmless(found.reason)
    return f"{harmless(found.zone)} {amount(found.zone, found.reading)}{tripped(found.zone, found.trip)}"


def tripped(zone: str, trip: float | None) -> str:
    """Say the trip behind a reading; nothing where there is none, or the reading says it all."""
    if trip is None or any(kind == kind_of(zone) for kind, _ in STATED):
        return ""
    return f" (trip {amount(zone, trip)})"


def lasting(seconds: float) -> str:
    """Say a duration in its two largest units: `1 h 59 min`."""
    whole = max(0, round(min(seconds, 1e12)))
    parts = [
        (whole // 86_400, "d"),
        (whole // 3600 % 24, "h"),
        (whole // 60 % 60, "min"),
        (whole % 60, "s"),
    ]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def until(left_s: float | None) -> str:
    """Say for how long a mode still holds; nothing where it has no end."""
    return "" if left_s is None else f" ({lasting(left_s)}, then auto)"


def seconds(text: str) -> float:
    """Return the seconds of a duration as people write it: 90, 90s, 30m, 2h, 1d (ParameterError)."""
    found = DURATION.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise ParameterError(
            f"--for {harmless(text, 40)!r} is no duration; write 90 (seconds), 90s, 30m, 2h or 1d, for instance"
        )
    return float(found[1]) * UNITS_S[found[2] or "s"]


def count(number: int) -> int:
    """Return a number that can be printed, whatever was sent."""
    return max(-1, min(number, MANY))


def counted(number: int, word: str) -> str:
    """Return `1 sample`, `30 samples`."""
    return f"{count(number)} {word}{'' if number == 1 else 's'}"


def version(number: int | None) -> str:
    """Say which version is meant."""
    return f"version {count(number)}" if number else "the base"


def hint(model: str, user: str, candidate: int | None) -> str:
    """Return the command that puts a kept version to use; nothing where none is kept."""
    if not candidate:
        return ""
    of = f" --user {shlex.quote(harmless(user, 60))}" if user else ""
    named = f"{shlex.quote(harmless(model, 60))} {count(candidate)}"
    return f"finetuned promote{of} -- {named}" if model.startswith("-") else f"finetuned promote {named}{of}"


def listed(words: Sequence[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
