"""Charge, from made-up trees and, in a mount namespace, beside psutil's reading of the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.zones import Reading, checked
from finetuned.service.machine import Machine
from finetuned_plugins.power import PowerSupplies
from trees import battery, over_sys, supply

if TYPE_CHECKING:
    from pathlib import Path


def charge(root: Path) -> Reading:
    """Read it as the governor does, which takes a lie for a missing reading."""
    (reading,) = PowerSupplies(machine=Machine(sysfs=root)).read()
    return checked(reading)


@pytest.mark.parametrize(
    ("status", "online", "on_battery"),
    [
        ("Discharging", "0", True),
        ("Discharging", "1", False),  # a mains adapter too weak, but there
        ("Charging", "1", False),
        ("Not charging", "0", False),
        ("Unknown", "0", False),
        ("", "0", False),
        ("Discharging", "nonsense", True),
    ],
)
def test_on_battery_means_that_one_discharges_and_no_mains_is_online(
    tmp_path: Path,
    status: str,
    online: str,
    on_battery: bool,  # noqa: FBT001 - a column of the table
) -> None:
    battery(tmp_path, status=status)
    supply(tmp_path, "AC", type="Mains", online=online)
    assert (charge(tmp_path).on_battery, charge(tmp_path).value) == (on_battery, 55.0)


def test_a_usb_supply_that_is_online_is_mains(tmp_path: Path) -> None:
    battery(tmp_path)
    supply(tmp_path, "ucsi-source", type="USB", online="1")
    assert charge(tmp_path).on_battery is False


def test_batteries_of_mice_and_ups_and_empty_bays_are_not_the_machines(tmp_path: Path) -> None:
    battery(tmp_path, "hidpp_battery_0", scope="Device", capacity="3")
    battery(tmp_path, "ups", type="UPS", capacity="4")
    battery(tmp_path, "BAT1", present="0", capacity="0")
    assert PowerSupplies(machine=Machine(sysfs=tmp_path)).read() == ()
    battery(tmp_path, scope="System", present="1")
    assert (charge(tmp_path).name, charge(tmp_path).value) == ("BAT0", 55.0)


def test_several_batteries_weigh_by_their_energy_where_all_tell_it(tmp_path: Path) -> None:
    battery(tmp_path, "BAT0", capacity="90", energy_now="9000", energy_full="10000")
    battery(tmp_path, "BAT1", capacity="10", energy_now="3000", energy_full="30000", status="Full")
    assert (charge(tmp_path).value, charge(tmp_path).on_battery) == (30.0, True)
    (tmp_path / "class" / "power_supply" / "BAT1" / "energy_now").unlink()
    assert charge(tmp_path).value == 50.0


@pytest.mark.parametrize(
    ("capacity", "value", "why"),
    [
        ("104", 100.0, ""),
        ("1000", None, "not plausible: 1000"),
        ("-1", None, "not plausible: -1"),
        ("nan", None, "not plausible: nan"),
        ("", None, "capacity is empty"),
    ],
)
def test_a_charge_that_lies_is_a_missing_reading(
    tmp_path: Path, capacity: str, value: float | None, why: str
) -> None:
    battery(tmp_path, capacity=capacity)
    assert (charge(tmp_path).value, charge(tmp_path).why) == (value, why)


# ── an independent opinion ──────────────────────────────────────────────────────────────────────
BOTH = """
import json
import psutil
from finetuned import Machine
from finetuned_plugins.power import PowerSupplies
(ours,) = PowerSupplies(machine=Machine()).read()
theirs = psutil.sensors_battery()
print(json.dumps([[ours.value, not ours.on_battery], [theirs.percent, theirs.power_plugged]]))
"""


@pytest.mark.parametrize(
    ("status", "online", "plugged"),
    [("Discharging", "0", False), ("Charging", "1", True), ("Full", "1", True)],
)
def test_psutil_says_the_same_of_the_battery(
    tmp_path: Path,
    status: str,
    online: str,
    plugged: bool,  # noqa: FBT001 - a column of the table
) -> None:
    battery(tmp_path, status=status, capacity="22", energy_now="11000", energy_full="50000")
    supply(tmp_path, "AC", type="Mains", online=online)
    (line,) = over_sys(tmp_path, BOTH)
    ours, theirs = json.loads(line)
    assert ours == theirs == [22.0, plugged]
