"""Charge as the kernel tells it in sysfs (Documentation/ABI/testing/sysfs-class-power).

A number that lies is told as it stands: the governor, which believes no sensor blindly, makes it a missing reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned import Reading
from finetuned_plugins.attributes import complaint, number, optional, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from finetuned import Machine

NO_MAINS = ("Battery", "UPS")
FULL, OVERFULL = 100.0, 120.0  # %; worn batteries say up to so much, and mean full


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSupplies:
    """The machine's own batteries, as one charge in %; those of a mouse or a UPS are none of it.

    On battery, as UPower has it: some battery discharges and no mains is online.  A status that cannot be read, or
    is not known, means mains.
    """

    machine: Machine
    name: str = "power supplies"
    zone: str = "battery"

    def read(self) -> Sequence[Reading]:
        """Return one reading for all batteries together, none where there is no battery."""
        folders = sorted((self.machine.sysfs / "class" / "power_supply").glob("*"))
        supplies = [folder for folder in folders if text(folder / "scope") != "Device"]
        batteries = [supply for supply in supplies if _is_battery(supply)]
        return (_charge(batteries, on_battery=_on_battery(supplies, batteries)),) if batteries else ()


def _is_battery(supply: Path) -> bool:
    return text(supply / "type") == "Battery" and text(supply / "present") != "0"


def _on_battery(supplies: Iterable[Path], batteries: Iterable[Path]) -> bool:
    mains = (each for each in supplies if text(each / "type") not in ("", *NO_MAINS))
    online = any((optional(each / "online") or 0) > 0 for each in mains)
    return not online and any(text(battery / "status") == "Discharging" for battery in batteries)


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
    now = [optional(battery / "energy_now") for battery in batteries]
    full = [optional(battery / "energy_full") for battery in batteries]
    known_now, known_full = ([each for each in energies if each is not None] for energies in (now, full))
    if len(known_now) < len(batteries) or len(known_full) < len(batteries) or sum(known_full) <= 0:
        return None
    return FULL * sum(known_now) / sum(known_full)


def _mean(batteries: Sequence[Path]) -> tuple[float | None, str]:
    """Return the mean of the capacities that can be read, and if there are none, why."""
    known, why = [], ""
    for battery in batteries:
        try:
            known.append(number(battery / "capacity"))
        except (OSError, ValueError) as error:
            why = complaint(error)
    return (sum(known) / len(known), "") if known else (None, why)
