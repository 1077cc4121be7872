"""What the machine goes through, and what the budget is to make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INTERVAL_S = 4.0
HEAD = "   s  what happens       put in               the kernel shows     the budget    pace   duty cores start  because"


# ── the story ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the firmware tells: % of charge, whether on mains, °C."""

    charge: int
    mains: bool
    celsius: int


@dataclass(frozen=True, slots=True)
class Step:
    """The world, and the duty and share of the cores that it leads to; after how many looks at least and at most."""

    words: str
    world: World
    duty: float
    cores: float
    looks: tuple[int, int]


def _step(row: str) -> Step:
    """Return a row of the table below."""
    words, charge, supply, celsius, duty, cores, first, last = row.rsplit(maxsplit=7)
    world = World(charge=int(charge), mains=supply == "mains", celsius=int(celsius))
    return Step(words.strip(), world, float(duty), float(cores), (int(first), int(last)))


# The looks are 4 s apart.  Every step of the pace takes 3 in a row, a turn downwards 30 s, and a pause comes at once and
# lasts for 60 s.  The firmware's passive trip is 82 °C, so heat pauses at 77 °C and throttles at 70 °C.
#     what happens             %   supply °C  duty cores looks
_STORY = """
      cool and on mains        80  mains  50  1    1     1  1
      unplugged                80  -      50  0.5  1     3  3
      drains                   60  -      50  0.25 1     3  3
      drains                   30  -      50  0.25 0.5   3  3
      drains below 30 %        25  -      50  0    1     1  1
      plugged in again         25  mains  50  0.25 0.5  14 16
      charges                  26  mains  50  0.25 1     3  3
      charges                  27  mains  50  0.5  1     3  3
      charges                  28  mains  50  1    1     3  3
      heats up                 60  mains  71  0.5  1     7  9
      heats up                 60  mains  75  0.25 1     3  3
      heats up                 60  mains  76  0.25 0.5   3  3
      5 K below passive        60  mains  77  0    1     1  1
      hot                      60  mains  90  0    1     1  1
      cools                    60  mains  68  0    1     1  1
      cool again               60  mains  55  0.25 0.5  11 14
      cool again               60  mains  55  0.25 1     3  3
      cool again               60  mains  55  0.5  1     3  3
      cool again               60  mains  55  1    1     3  3
"""
STORY = tuple(_step(row) for row in _STORY.strip().splitlines())


# ── comparing ───────────────────────────────────────────────────────────────────────────────────
def shown(files: dict[str, str]) -> World:
    """Return the world as the kernel shows it."""
    supplies, zone = "/sys/class/power_supply", "/sys/class/thermal/thermal_zone0"
    status = files[f"{supplies}/BAT0/status"]
    online = files[f"{supplies}/ADP1/online"] == "1"
    if online != (status == "Charging"):
        raise ValueError(f"the adapter says online={online}, the battery {status}")
    celsius = int(files[f"{zone}/temp"]) // 1000
    return World(charge=int(files[f"{supplies}/BAT0/capacity"]), mains=online, celsius=celsius)


def paced(step: Step, answer: dict[str, Any]) -> bool:
    """Say whether the pace is the one that this step leads to."""
    return (answer["duty"], answer["cores"]) == (step.duty, step.cores)


def unlike(step: Step, answer: dict[str, Any]) -> list[str]:
    """Return what the kernel or the budget does not see as it was put in."""
    read = {"battery": float(step.world.charge), "thermal": float(step.world.celsius)}
    checks = {
        "the kernel shows another world": shown(answer["files"]) == step.world,
        "the budget reads another world": answer["readings"].items() >= read.items(),
        "the budget misses a reading": not answer["warnings"],
    }
    return [f"{step.words}: {fault}" for fault, right in checks.items() if not right]


def untimely(step: Step, looks: int, answer: dict[str, Any]) -> list[str]:
    """Return what is wrong with the pace after the last look of a step."""
    if not paced(step, answer):
        return [f"{step.words}: the pace after {looks} looks"]
    return [] if looks >= step.looks[0] else [f"{step.words}: the pace, after {looks} looks only"]


# ── telling ─────────────────────────────────────────────────────────────────────────────────────
def row(step: Step, seconds: float, answer: dict[str, Any]) -> str:
    """Return one line: what was put in, what the kernel shows, what was read, and the verdict."""
    put, seen, read = step.world, shown(answer["files"]), answer["readings"]
    pace = f"{answer['pace']:6} {answer['duty']:<4g} {answer['cores']:<5g}"
    start = "yes" if answer["may_start"] else "no"
    causes = "; ".join(_cause(**cause) for cause in answer["causes"])
    budget = f"{read['battery']:3g} % {read['thermal']:3g} °C"
    return f"{seconds:4.0f}  {step.words:18} {words(put)}  {words(seen)}  {budget}  {pace} {start:5}  {causes}".rstrip()


def _cause(reason: str, reading: float, trip: float | None) -> str:
    return f"{reason} {reading:g}" + ("" if trip is None else f", trip {trip:g}")


def words(world: World) -> str:
    """Return a world in columns."""
    return f"{world.charge:3} % {'mains' if world.mains else '-    '} {world.celsius:3} °C"
