"""Heat and charge as the kernel tells them in sysfs (Documentation/ABI/testing/sysfs-class-{thermal,hwmon,power}).

Half-filled and empty files are missing readings; a number that lies (-273 °C) is told as it stands, and the governor, which
believes no sensor blindly, makes it a missing one.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl
from finetuned_plugins.attributes import asleep, complaint, entries, number, optional, text, title
from finetuned_plugins.power import PowerSupplies

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from finetuned import Machine, Sensor

THERMAL, GPU = "thermal", "gpu"

# ── which places are whose, by patterns of lower case ──
# Thermal zones by their `type`: the processor's own, the graphics processor's, and those that say nothing of either.
PROCESSOR = (
    "x86_pkg_temp",
    "cpu*",
    "soc*",
    "*-thermal",
    "*_thermal",
    "acpitz",
    "tcpu*",
    "package*",
    "big*",
    "little*",
)
GRAPHICS = ("*gpu*", "g3d*")
# A Jetson's PMIC-Die is 100 °C for ever, its thermal-fan-est a mean of the others.
ELSEWHERE = (
    "*bat*",
    "*charg*",
    "*wifi*",
    "*wlan*",
    "*nvme*",
    "*pch*",
    "*modem*",
    "*skin*",
    "*usb*",
    "*fan*",
    "*board*",
    "pm*",
)
# hwmon knows chips of every kind, whose unconnected inputs show anything: only these are read there.
PROCESSOR_CHIPS = ("coretemp", "k8temp", "k10temp", "zenpower", "cpu*", "soc*", "scpi_sensors")
GRAPHICS_CHIPS = ("amdgpu", "radeon", "nouveau", "i915*", "xe")
# Of a chip's inputs, the first of these that it has stand for it: a package is the hottest of its cores (and to ask each core
# would wake it), AMD's Tctl is up to 27 K above its Tdie where there are both, and a graphics card's junction and memory run
# far above the trips of this budget as they should.
INPUTS = ("package*", "tdie", "tctl", "edge", "pkg")
# Where the chip begins to slow itself down: `crit`, for the processors' drivers and amdgpu.  `max` is often something else: the
# goal of the fans (coretemp), or 70 °C on every machine (k10temp).  nouveau slows down at `max`.
SLOWS_AT = {"nouveau": "max"}

MILLI = 1000.0
NO_MILLI = 200  # below, other than 0, a number is in whole degrees, or an error that a driver prints for one
MOST_FOLDERS, MOST_TRIPS = (
    512,
    32,
)  # more zones, chips and trip points than any machine has are not looked through
LOOKS = (
    64  # after so many, what was found is looked for again: trip points can be changed, and inputs be added
)

# What the kernel answers for a place without power.
UNPOWERED = (errno.EAGAIN, errno.ENODATA)
OFF = "powered off"


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Return the sensors below `machine.sysfs`; what is plugged in later is found as well."""
    heat = [Temperatures(machine=machine, zone=zone, name=name) for zone, name in NAMES.items()]
    return [*heat, PowerSupplies(machine=machine)]


NAMES = {THERMAL: "temperatures", GPU: "temperatures of graphics"}


# ── one place ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a temperature is read: a thermal zone, or an input of a chip of hwmon.

    `source` is the zone's type or the chip's name, `label` the input's; `folder` is where its trip points are.
    """

    source: str
    label: str = ""
    folder: Path
    file: Path
    passive: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it can be called, the usual name first."""
        return (f"{self.source} {self.label}", self.source, self.label) if self.label else (self.source,)

    def named(self, patterns: Iterable[str]) -> str:
        """Return the name that one of the patterns means, "" where none does."""
        return next((name for name in self.names if _matches(name, patterns)), "")

    def read(self, zone: str, name: str) -> Reading:
        """Return the temperature; where that fails, a missing reading."""
        value, why = None, OFF
        try:
            if not asleep(self.folder / "device"):
                value, why = _degrees(self.file), ""
        except (OSError, ValueError) as error:
            unpowered = isinstance(error, OSError) and error.errno in UNPOWERED
            why = OFF if unpowered else complaint(error)
        return Reading(zone=zone, name=name, value=value, why=why, passive=self.passive)


def _degrees(file: Path) -> float:
    milli = number(file)
    if 0 < abs(milli) < NO_MILLI:
        raise ValueError(f"{file.name} says {milli:g}, which is no thousandth of a degree")
    return milli / MILLI


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


# ── the sensors ─────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Temperatures:
    """The places of one zone in °C, each with its own trip point; what stands still of them is looked for once."""

    machine: Machine
    zone: str
    name: str
    _places: Sequence[tuple[str, Place]] = field(default=(), repr=False)
    _seen: object = field(default=None, repr=False)
    _looks: int = field(default=0, repr=False)

    def read(self) -> Sequence[Reading]:
        """Return one reading for each place that tells of the zone.

        A place without power has nothing to tell.  But the processor has power while it reads this: if no other place of
        it can be read, that one is missing.
        """
        readings = tuple(place.read(self.zone, name) for name, place in self._found())
        awake = tuple(reading for reading in readings if reading.why != OFF)
        return awake or (readings if self.zone == THERMAL else ())

    def _found(self) -> Sequence[tuple[str, Place]]:
        folders = [self.machine.sysfs / "class" / name for name in ("thermal", "hwmon")]
        seen = [entries(folder) for folder in folders]
        if self._looks % LOOKS == 0 or seen != self._seen:
            zones, chips = (
                [folder / name for name in _first(found)] for folder, found in zip(folders, seen, strict=True)
            )
            self._places = _places(self.machine, self.zone, _zones(zones), _chips(chips))
            self._seen = seen
        self._looks += 1
        return self._places


def _first(found: Iterable[tuple[str, int]]) -> list[str]:
    """Return the folders' names as people count them."""
    names = (name for name, _ in found if name.startswith(("thermal_zone", "hwmon")))
    return sorted(names, key=lambda name: (len(name), name))[:MOST_FOLDERS]


# ── which places there are ──────────────────────────────────────────────────────────────────────
def _zones(folders: Iterable[Path]) -> list[Place]:
    return [
        Place(source=title(each / "type") or each.name, folder=each, file=each / "temp") for each in folders
    ]


def _chips(folders: Iterable[Path]) -> list[Place]:
    found = []
    for folder in folders:
        source = title(folder / "name") or folder.name
        inputs = (
            name.removesuffix("_input") for name, _ in entries(folder) if fnmatchcase(name, "temp*_input")
        )
        for name in sorted(inputs, key=lambda name: (len(name), name)):
            label = title(folder / f"{name}_label") or name
            found.append(Place(source=source, label=label, folder=folder, file=folder / f"{name}_input"))
    return found


def _places(
    machine: Machine, zone: str, zones: Sequence[Place], chips: Sequence[Place]
) -> list[tuple[str, Place]]:
    """Return the places of a zone, by name: those that the configuration asks for, and of the others the usual ones.

    Every place counts in one zone at most.
    """
    asked = {GPU: machine.places(GPU), THERMAL: machine.places(THERMAL)}

    def owner(place: Place) -> str | None:
        return next((each for each, patterns in asked.items() if place.named(patterns)), None)

    named = [(place.named(asked[zone]), place) for place in (*zones, *chips) if owner(place) == zone]
    doubles = {place.source.replace("-", "_") for place in zones}  # every zone is a chip as well
    if "x86_pkg_temp" in doubles:
        doubles.add("coretemp")
    free_zones = [
        place for place in zones if owner(place) is None and text(place.folder / "mode") != "disabled"
    ]
    free_chips = [place for place in chips if owner(place) is None and place.source not in doubles]
    usual = [(place.names[0], place) for place in USUAL[zone](free_zones, free_chips)]
    return [(name, replace(place, passive=_passive(place))) for name, place in (*named, *usual)]


def _of_graphics(zones: Iterable[Place], chips: Iterable[Place]) -> list[Place]:
    return [*_of(GRAPHICS, zones), *_standing(_of(GRAPHICS_CHIPS, chips))]


def _of_processor(zones: Iterable[Place], chips: Iterable[Place]) -> list[Place]:
    """Return the processor's places; where none is called so, the zones that are not known to be something else's."""
    near = [place for place in zones if not _matches(place.source, (*ELSEWHERE, *GRAPHICS))]
    return [*_of(PROCESSOR, near), *_standing(_of(PROCESSOR_CHIPS, chips))] or near


USUAL = {THERMAL: _of_processor, GPU: _of_graphics}


def _of(patterns: Iterable[str], places: Iterable[Place]) -> list[Place]:
    return [place for place in places if _matches(place.source, patterns)]


def _standing(places: Iterable[Place]) -> list[Place]:
    """Return the inputs that stand for each chip: the first kind of `INPUTS` that it has, or all."""
    found: list[Place] = []
    for _, of_chip in groupby(places, key=lambda place: place.folder):
        inputs = list(of_chip)
        kinds = ([place for place in inputs if _matches(place.label, (kind,))] for kind in INPUTS)
        found += next(filter(None, kinds), inputs)
    return found


# ── their trip points ───────────────────────────────────────────────────────────────────────────
def _passive(place: Place) -> float | None:
    """Return the trip point in °C where the kernel, or the chip itself, begins to slow the processor down."""
    if place.label:
        own = place.file.name.removesuffix("input") + SLOWS_AT.get(place.source, "crit")
        trips = [optional(place.folder / own)]
    else:
        trips = _passive_trips(place.folder)
    known = [trip / MILLI for trip in trips if trip is not None and trip > 0]
    # power_allocator steers towards its last passive trip point, which may be 15 K above the first: that merely wakes it.
    steered = not place.label and text(place.folder / "policy") == "power_allocator"
    return (max if steered else min)(known, default=None)


def _passive_trips(zone: Path) -> list[float | None]:
    kinds = list(takewhile(bool, (text(zone / f"trip_point_{index}_type") for index in range(MOST_TRIPS))))
    passive = [index for index, kind in enumerate(kinds) if kind == "passive"]
    return [optional(zone / f"trip_point_{index}_temp") for index in passive]
