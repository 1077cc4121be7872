"""Heat and charge, from made-up trees and, in a mount namespace, from the real /sys."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.zones import Reading, checked
from finetuned.service.plugins import load
from finetuned_plugins.sysfs import PowerSupplies, ThermalZones
from shared import missing

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.policy.zones import Sensor

COOL, HOT = "41000", "85000"


# ── builders ────────────────────────────────────────────────────────────────────────────────────
def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def thermal(root: Path, index: int, **files: str) -> Path:
    return write(root / "class" / "thermal" / f"thermal_zone{index}", **files)


def supply(root: Path, name: str, **files: str) -> Path:
    return write(root / "class" / "power_supply" / name, **files)


def battery(root: Path, name: str = "BAT0", **files: str) -> Path:
    return supply(root, name, **{"type": "Battery", "status": "Discharging", "capacity": "55"} | files)


def readings(sensor: Sensor) -> list[Reading]:
    """Read it as the governor does, which takes a lie for a missing reading."""
    found = sensor.read()
    return [checked(reading) for reading in ((found,) if isinstance(found, Reading) else found)]


def heats(root: Path) -> dict[str, float | None]:
    return {reading.name: reading.value for reading in readings(ThermalZones(root=root))}


def charge(root: Path) -> Reading:
    (reading,) = readings(PowerSupplies(root=root))
    return reading


# ── heat ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "kind", ["x86_pkg_temp", "cpu-thermal", "CPU-therm", "soc_thermal", "bigcore-thermal", "acpitz"]
)
def test_zones_of_the_processor_are_chosen_among_others(tmp_path: Path, kind: str) -> None:
    for index, other in enumerate(["iwlwifi_1", "nvme", "pch_cannonlake", "battery", "wifi-thermal", "B0D4"]):
        thermal(tmp_path, index, type=other, temp=HOT)
    thermal(tmp_path, 10, type=kind, temp="51250")
    assert heats(tmp_path) == {kind: 51.25}


def test_where_no_zone_names_the_processor_all_but_the_foreign_ones_are_read(tmp_path: Path) -> None:
    thermal(tmp_path, 0, type="B0D4", temp=COOL)
    thermal(tmp_path, 1, type="TSKN", temp=HOT)
    thermal(tmp_path, 2, type="iwlwifi_1", temp=HOT)
    assert heats(tmp_path) == {"B0D4": 41.0, "TSKN": 85.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nan", "not plausible: nan"),
        ("", "temp is empty"),
        ("hot", "temp says 'hot'"),
        ("-273000", "not plausible: -273"),
        ("1000000", "not plausible: 1000"),
        (None, "No such file or directory"),
    ],
)
def test_a_zone_that_fails_or_lies_is_a_missing_reading_beside_the_others(
    tmp_path: Path, text: str | None, why: str
) -> None:
    thermal(tmp_path, 0, type="cpu0", **({} if text is None else {"temp": text}))
    thermal(tmp_path, 1, type="cpu1", temp=COOL)
    lying, fine = readings(ThermalZones(root=tmp_path))
    assert (lying.value, lying.why) == (None, why)
    assert fine.value == 41.0


def test_a_zone_that_the_kernel_refuses_to_read_is_a_missing_reading(tmp_path: Path) -> None:
    zone = thermal(tmp_path, 0, type="cpu0")
    (zone / "temp").mkdir()  # reading it is an error of the same kind as EIO
    (reading,) = ThermalZones(root=tmp_path).read()
    assert (reading.value, reading.why) == (None, "Is a directory")


def test_the_lowest_passive_trip_point_is_the_zones_own(tmp_path: Path) -> None:
    trips = {
        "trip_point_0_type": "critical",
        "trip_point_0_temp": "50000",
        "trip_point_1_type": "passive",
        "trip_point_1_temp": "95000",
        "trip_point_2_type": "passive",
        "trip_point_2_temp": "-274000",
        "trip_point_3_type": "passive",
        "trip_point_3_temp": "85000",
        "trip_point_4_type": "passive",
    }
    thermal(tmp_path, 0, type="cpu-thermal", temp=COOL, **trips)
    thermal(tmp_path, 1, type="cpu-thermal", temp=COOL)
    assert [reading.passive for reading in ThermalZones(root=tmp_path).read()] == [85.0, None]


def test_without_a_thermal_zone_the_processors_hwmon_is_read(tmp_path: Path) -> None:
    write(tmp_path / "class" / "hwmon" / "hwmon0", name="nvme", temp1_input=HOT)
    write(tmp_path / "class" / "hwmon" / "hwmon1", name="k10temp", temp1_input="61000", temp2_input="x")
    assert heats(tmp_path) == {"k10temp temp1": 61.0, "k10temp temp2": None}
    thermal(tmp_path, 0, type="acpitz", temp=COOL)
    assert heats(tmp_path) == {"acpitz": 41.0}


def test_both_sensors_enter_by_their_entry_point_and_say_nothing_of_a_machine_without_any(
    tmp_path: Path,
) -> None:
    heat, power = load().sensors(tmp_path)
    assert [(heat.zone, heat.read()), (power.zone, power.read())] == [("thermal", ()), ("battery", ())]


# ── charge ──────────────────────────────────────────────────────────────────────────────────────
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
    assert PowerSupplies(root=tmp_path).read() == ()
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


# ── the real path ───────────────────────────────────────────────────────────────────────────────
READ = """
import sys
from pathlib import Path
from finetuned_plugins.sysfs import finetuned_sensors
heat, supply = finetuned_sensors(Path("/sys"))
zone = Path(sys.argv[1])
for text in ("85000", "51000"):  # seen through the bind mount, as a changing zone would be
    (zone / "temp").write_text(text)
    print(*(f"{reading.name}={reading.value}" for reading in heat.read()))
print(*(f"{reading.value} {reading.on_battery}" for reading in supply.read()))
"""


def test_a_made_up_zone_and_battery_mounted_over_sys_are_read_where_the_daemon_reads_them(
    tmp_path: Path,
) -> None:
    zone = thermal(tmp_path, 0, type="x86_pkg_temp", temp=COOL)
    battery(tmp_path, capacity="22")
    mounts = "".join(
        f'mount --bind "$1/class/{name}" /sys/class/{name} && ' for name in ("thermal", "power_supply")
    )
    inside = [
        "sh",
        "-c",
        f'{mounts} shift && exec "$@"',
        "sh",
        str(tmp_path),
        sys.executable,
        "-c",
        READ,
        str(zone),
    ]
    namespace = ["unshare", "--mount", "--propagation", "private"]
    try:
        allowed = subprocess.run([*namespace, *inside[:5], "true"], capture_output=True, check=False)
    except FileNotFoundError:
        missing("left out: there is no unshare here (util-linux)")
    if allowed.returncode:
        missing(f"left out: no mount namespace here ({allowed.stderr.decode().strip()})")
    done = subprocess.run([*namespace, *inside], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == ["x86_pkg_temp=85.0", "x86_pkg_temp=51.0", "22.0 True"]
