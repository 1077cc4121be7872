"""Heat and charge as the kernel tells them in sysfs (Documentation/ABI/testing/sysfs-class-{thermal,power,hwmon}).

Half-filled and empty files are missing readings; a number that lies (-273 °C) is told as it stands, and the governor, which
believes no sensor blindly, makes it a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count, takewhile
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from finetuned import Sensor

# Zones by their `type`, in lower case: the processor's own, and those that say nothing of it.
PROCESSOR = ("x86_pkg_temp", "cpu*", "soc*", "*-thermal", "acpitz", "tcpu*", "package*", "big*", "little*")
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
    "pm*",
)
# hwmon knows chips of every kind, whose unconnected inputs show anything: only processors are read there.
PROCESSOR_CHIPS = ("coretemp", "k8temp", "k10temp", "zenpower", "cpu*", "soc*")

NO_MAINS = ("Battery", "UPS")
MILLI = 1000.0
FULL, OVERFULL = 100.0, 120.0  # %; worn batteries say up to so much, and mean full


@hookimpl
def finetuned_sensors(root: Path) -> list[Sensor]:
    """Return the sensors below `root` (`/sys`); what is plugged in later is found as well."""
    return [ThermalZones(root=root), PowerSupplies(root=root)]


# ── files ───────────────────────────────────────────────────────────────────────────────────────
def _read(path: Path) -> str:
    return path.read_bytes().decode("ascii", "replace").strip()


def _text(path: Path) -> str:
    """Return the file's text, "" where there is none."""
    try:
        return _read(path)
    except OSError:
        return ""


def _number(path: Path) -> float:
    """Return the file's number; raise `OSError` or `ValueError`."""
    text = _read(path)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path.name} is empty" if not text else f"{path.name} says {text!r:.40}") from None


def _optional(path: Path) -> float | None:
    try:
        return _number(path)
    except (OSError, ValueError):
        return None


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


# ── heat ────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalZones:
    """The zones of CPU and SoC in °C, each with its own passive trip point; without any, the CPU's hwmon.

    `trips` remembers the trip points by zone and type: they stand still, and reading them is most of the cost.
    """

    root: Path
    name: str = "thermal zones"
    zone: str = "thermal"
    trips: dict[tuple[str, str], float | None] = field(default_factory=dict, repr=False)

    def read(self) -> Sequence[Reading]:
        """Return one reading for each zone that tells of the processor."""
        zones = _zones(self.root / "class" / "thermal")
        readings = tuple(_degrees(kind, zone / "temp", self._passive(kind, zone)) for kind, zone in zones)
        return readings or _chips(self.root / "class" / "hwmon")

    def _passive(self, kind: str, zone: Path) -> float | None:
        key = (zone.name, kind)
        if key not in self.trips:
            self.trips[key] = _passive(zone)
        return self.trips[key]


def _zones(folder: Path) -> list[tuple[str, Path]]:
    """Return type and folder of the zones that tell of the processor; of all, where no type does."""
    found = [(_text(zone / "type") or zone.name, zone) for zone in sorted(folder.glob("thermal_zone*"))]
    near = [(kind, zone) for kind, zone in found if not _matches(kind, ELSEWHERE)]
    return [(kind, zone) for kind, zone in near if _matches(kind, PROCESSOR)] or near


def _passive(zone: Path) -> float | None:
    """Return the lowest passive trip point in °C: where the kernel begins to slow the processor down."""
    kinds = takewhile(bool, (_text(zone / f"trip_point_{index}_type") for index in count()))
    passive = [index for index, kind in enumerate(kinds) if kind == "passive"]
    trips = [_optional(zone / f"trip_point_{index}_temp") for index in passive]
    return min((trip / MILLI for trip in trips if trip is not None and trip > 0), default=None)


def _chips(folder: Path) -> tuple[Reading, ...]:
    chips = [(_text(chip / "name"), chip) for chip in sorted(folder.glob("hwmon*"))]
    return tuple(
        _degrees(f"{name} {place.name.removesuffix('_input')}", place)
        for name, chip in chips
        if _matches(name, PROCESSOR_CHIPS)
        for place in sorted(chip.glob("temp*_input"))
    )


def _degrees(name: str, path: Path, passive: float | None = None) -> Reading:
    try:
        value, why = _number(path) / MILLI, ""
    except (OSError, ValueError) as error:
        value, why = None, _why(error)
    return Reading(zone="thermal", name=name, value=value, why=why, passive=passive)


# ── charge ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSupplies:
    """The machine's own batteries, as one charge in %; those of a mouse or a UPS are none of it.

    On battery, as UPower has it: some battery discharges and no mains is online.  A status that cannot be read, or
    is not known, means mains.
    """

    root: Path
    name: str = "power supplies"
    zone: str = "battery"

    def read(self) -> Sequence[Reading]:
        """Return one reading for all batteries together, none where there is no battery."""
        folders = sorted((self.root / "class" / "power_supply").glob("*"))
        supplies = [folder for folder in folders if _text(folder / "scope") != "Device"]
        batteries = [supply for supply in supplies if _is_battery(supply)]
        return (_charge(batteries, on_battery=_on_battery(supplies, batteries)),) if batteries else ()


def _is_battery(supply: Path) -> bool:
    return _text(supply / "type") == "Battery" and _text(supply / "present") != "0"


def _on_battery(supplies: Iterable[Path], batteries: Iterable[Path]) -> bool:
    mains = (each for each in supplies if _text(each / "type") not in ("", *NO_MAINS))
    online = any((_optional(each / "online") or 0) > 0 for each in mains)
    return not online and any(_text(battery / "status") == "Discharging" for battery in batteries)


def _charge(batteries: Sequence[Path], *, on_battery: bool) -> Reading:
    name = ", ".join(battery.name for battery in batteries)
    value, why = _weighted(batteries), ""
    if value is None:
        value, why = _mean(batteries)
    if value is not None and FULL < value <= OVERFULL:
        value = FULL
    return Reading(zone="battery", name=name, value=value, why=why, on_battery=on_battery)


def _weighted(batteries: Sequence[Path]) -> float | None:
    """Return the charge of several batteries by their energy; None where one of them does not tell."""
    if len(batteries) == 1:
        return None
    now = [_optional(battery / "energy_now") for battery in batteries]
    full = [_optional(battery / "energy_full") for battery in batteries]
    known_now, known_full = ([each for each in energies if each is not None] for energies in (now, full))
    if len(known_now) < len(batteries) or len(known_full) < len(batteries) or sum(known_full) <= 0:
        return None
    return FULL * sum(known_now) / sum(known_full)


def _mean(batteries: Sequence[Path]) -> tuple[float | None, str]:
    """Return the mean of the capacities that can be read, and if there are none, why."""
    known, why = [], ""
    for battery in batteries:
        try:
            known.append(_number(battery / "capacity"))
        except (OSError, ValueError) as error:
            why = _why(error)
    return (sum(known) / len(known), "") if known else (None, why)
