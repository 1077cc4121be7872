"""`--simulate ZONE=VALUE`: readings that are said rather than seen."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from finetuned.edge.wording import harmless
from finetuned.errors import ParameterError
from finetuned.policy.zones import QUANTITIES, Reading, checked, homes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from finetuned.policy.budget import Budget, Zone

SIMULATED = "simulated"
MISSING, MAINS = "missing", "mains"
NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{0,15})?|\.\d{1,15})", re.ASCII)
WORDS = {
    "schedule": {"inside": 1.0, "outside": 0.0},
    "power": {"limited": 1.0, "unlimited": 0.0},
}
"""By kind of zone, the values that are said in words, and in no other way."""


def simulated(budget: Budget, readings: Iterable[Reading], said: Sequence[str]) -> tuple[Reading, ...]:
    """Return the readings with what is said in place of what was read, one after the other.

    A zone's name (`thermal`, `thermal/nvme*`) stands for all its places, each with its own trips; `thermal/x86_pkg_temp` for
    one of them.  ParameterError for a zone or a value that there is not, with what is allowed.
    """
    taken = tuple(readings)
    for each in said:
        name, equals, value = each.partition("=")
        if not equals:
            raise ParameterError(f"--simulate {harmless(each)!r}: write ZONE=VALUE, as in thermal=85")
        zone, replaced = _meant(budget, taken, name)
        say = _value(zone.reason, each, value)
        kept = [reading for reading in taken if reading not in replaced]
        taken = (*kept, *(say(reading) for reading in replaced or (_made(zone),)))
    return taken


# ── which zone ──────────────────────────────────────────────────────────────────────────────────
def _meant(budget: Budget, readings: Sequence[Reading], name: str) -> tuple[Zone, list[Reading]]:
    """Return the zone that is meant, and the readings whose place is taken."""
    home = homes(budget.zones, readings)
    for zone in budget.zones:
        if zone.name.lower() == name.lower():
            return zone, home[zone.name]
    for zone in budget.zones:
        if of := [each for each in home[zone.name] if _full_name(each) == name.lower()]:
            return zone, of
    places = dict.fromkeys(_full_name(each) for of in home.values() for each in of)
    known = dict.fromkeys([*(zone.name for zone in budget.zones), *map(harmless, places)])
    raise ParameterError(
        f"--simulate: there is no zone {harmless(name)!r} in force; there are {', '.join(known)}"
    )


def _full_name(reading: Reading) -> str:
    return f"{reading.zone}/{reading.name}".lower()


def _made(zone: Zone) -> Reading:
    """Return a reading of a zone that has none here; its name fits the pattern of the zone's place."""
    name = re.sub(r"\[!?(.)[^]]*\]", r"\1", zone.place).replace("*", "").replace("?", "0")
    made = Reading(zone=zone.reason, name=name or SIMULATED, value=None)
    if not zone.has(made):
        raise ParameterError(
            f"--simulate: name a place that is one of {zone.name}, there is none on this machine"
        )
    return made


# ── which value ─────────────────────────────────────────────────────────────────────────────────
def _value(kind: str, said: str, value: str) -> Callable[[Reading], Reading]:
    """Return what the value makes of a reading of this kind."""
    word = value.strip().lower()
    if word == MISSING:
        return lambda reading: replace(reading, value=None, why=SIMULATED, on_battery=None)
    if kind == "battery" and word == MAINS:
        return lambda reading: replace(reading, why="", on_battery=False)
    number = WORDS[kind].get(word) if kind in WORDS else _number(kind, word)
    if number is None:
        raise ParameterError(f"--simulate {harmless(said)!r}: {kind} is {_allowed(kind)}")
    on_battery = True if kind == "battery" else None
    return lambda reading: replace(reading, value=number, why="", on_battery=on_battery)


def _number(kind: str, word: str) -> float | None:
    if not NUMBER.fullmatch(word):
        return None
    return checked(Reading(zone=kind, name=SIMULATED, value=float(word))).value


def _allowed(kind: str) -> str:
    """Say which values a kind of zone can have."""
    if kind in WORDS:
        return f"{', '.join(WORDS[kind])} or {MISSING}"
    quantity = QUANTITIES[kind]
    unit = f" ({quantity.unit})" if quantity.unit else ""
    bounds = [f"from {quantity.least:g}"] if quantity.least > float("-inf") else []
    bounds += [f"up to {quantity.most:g}"] if quantity.most < float("inf") else []
    mains = ", which means on battery, or mains" if kind == "battery" else ""
    return f"a number{unit} {' '.join(bounds)}{mains}, or {MISSING}".replace(" ,", ",")
