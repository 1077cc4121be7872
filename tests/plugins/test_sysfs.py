"""Heat, from made-up trees and, in a mount namespace, beside psutil's reading of the same."""

from __future__ import annotations

import errno
import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.zones import Reading, checked
from finetuned.service.machine import Machine
from finetuned.service.plugins import load
from finetuned_plugins import attributes
from finetuned_plugins.sysfs import LOOKS, MOST_FOLDERS, Temperatures, finetuned_sensors
from trees import chip, device, over_sys, thermal, trips

if TYPE_CHECKING:
    from pathlib import Path

COOL, HOT = "41000", "85000"


# ── builders ────────────────────────────────────────────────────────────────────────────────────
def sensor(root: Path, *zones: str, zone: str = "thermal") -> Temperatures:
    return Temperatures(machine=Machine(sysfs=root, zones=zones), zone=zone, name=zone)


def readings(of: Temperatures) -> list[Reading]:
    """Read it as the governor does, which takes a lie for a missing reading."""
    return [checked(reading) for reading in of.read()]


def heats(of: Temperatures) -> dict[str, float | None]:
    return {reading.name: reading.value for reading in readings(of)}


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file that says `errno 11` be one that the kernel answers with that error."""
    plain = attributes.read

    def read(path: Path) -> str:
        said = plain(path)
        if said.startswith("errno "):
            number = int(said.split()[1])
            raise OSError(number, os.strerror(number))
        return said

    monkeypatch.setattr(attributes, "read", read)


def refusal(number: int) -> str:
    return f"errno {number}"


# ── which places ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "kind", ["x86_pkg_temp", "cpu-thermal", "CPU-therm", "soc_thermal", "bigcore-thermal", "acpitz"]
)
def test_zones_of_the_processor_are_chosen_among_others(tmp_path: Path, kind: str) -> None:
    for index, other in enumerate(["iwlwifi_1", "nvme", "pch_cannonlake", "battery", "wifi-thermal", "B0D4"]):
        thermal(tmp_path, index, type=other, temp=HOT)
    thermal(tmp_path, 10, type=kind, temp="51250")
    assert heats(sensor(tmp_path)) == {kind: 51.25}


def test_where_no_zone_names_the_processor_all_but_the_foreign_ones_are_read(tmp_path: Path) -> None:
    for index, kind in enumerate(["B0D4", "TSKN", "iwlwifi_1", "GPU-therm"]):
        thermal(tmp_path, index, type=kind, temp=COOL)
    assert heats(sensor(tmp_path)) == {"B0D4": 41.0, "TSKN": 41.0}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("nvme*", "nvme Composite"),
        ("nvme", "nvme"),
        ("composite", "Composite"),
        ("iwl*", "iwlwifi_1"),
        ("off*", "off-thermal"),
        ("gpu-*", "gpu-thermal"),
    ],
)
def test_a_place_that_the_configuration_names_is_read_under_a_name_that_its_pattern_fits(
    tmp_path: Path, pattern: str, name: str
) -> None:
    for index, kind in enumerate(["cpu-thermal", "iwlwifi_1", "gpu-thermal"]):
        thermal(tmp_path, index, type=kind, temp=COOL)
    thermal(tmp_path, 3, type="off-thermal", temp=COOL, mode="disabled")
    chip(tmp_path, 0, name="nvme", temp1_input=COOL, temp1_label="Composite", temp1_crit="84850")
    zones = ("thermal", "gpu", f"thermal/{pattern}")
    heat, graphics = sensor(tmp_path, *zones), sensor(tmp_path, *zones, zone="gpu")
    assert set(heats(heat)) == {"cpu-thermal", name}
    assert set(heats(graphics)) == {"gpu-thermal"} - {name}  # a place counts in one zone


def test_a_graphics_card_that_sleeps_is_not_woken_and_one_that_nobody_uses_may_fall_asleep(
    tmp_path: Path,
) -> None:
    card = chip(tmp_path, 0, name="amdgpu", temp1_input=COOL)
    graphics = sensor(tmp_path, zone="gpu")
    (card / "device").symlink_to(device(tmp_path, "0000:03:00.0", control="auto"))
    power = card / "device" / "power"
    assert heats(graphics) == {"amdgpu temp1": 41.0}
    (power / "runtime_usage").write_text("0\n")
    assert heats(graphics) == {}
    (power / "control").write_text("on\n")
    assert heats(graphics) == {"amdgpu temp1": 41.0}
    (power / "runtime_status").write_text("suspended\n")
    assert heats(graphics) == {}


# ── what stands still ───────────────────────────────────────────────────────────────────────────
def test_what_is_plugged_in_or_taken_away_is_seen_at_the_next_look(tmp_path: Path) -> None:
    heat = sensor(tmp_path)
    assert heats(heat) == {}
    zone = thermal(tmp_path, 0, type="cpu-thermal", temp=COOL)
    assert heats(heat) == {"cpu-thermal": 41.0}
    (zone / "temp").write_text(HOT)
    chip(tmp_path, 0, name="k10temp", temp1_input=COOL)
    assert heats(heat) == {"cpu-thermal": 85.0, "k10temp temp1": 41.0}
    zone.rename(tmp_path / "gone")
    assert heats(heat) == {"k10temp temp1": 41.0}


def test_a_trip_point_that_is_changed_is_seen_after_a_while(tmp_path: Path) -> None:
    heat = sensor(tmp_path)
    zone = thermal(tmp_path, 0, type="cpu-thermal", temp=COOL, **trips(("passive", 95)))
    assert [reading.passive for reading in heat.read()] == [95.0]
    (zone / "trip_point_0_temp").write_text("80000")
    later = [next(iter(heat.read())).passive for _ in range(LOOKS)]
    assert later == [95.0] * (LOOKS - 1) + [80.0]


def test_the_lowest_passive_trip_point_is_the_zones_own(tmp_path: Path) -> None:
    points = trips(("critical", 50), ("passive", 95), ("passive", -274), ("passive", 85))
    thermal(tmp_path, 0, type="cpu-thermal", temp=COOL, **points, trip_point_4_type="passive")
    thermal(tmp_path, 1, type="cpu-thermal", temp=COOL)
    assert [reading.passive for reading in sensor(tmp_path).read()] == [85.0, None]


# ── failures and lies ───────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nan", "not plausible: nan"),
        ("", "temp is empty"),
        ("hot", "temp says 'hot'"),
        ("-273000", "not plausible: -273"),
        ("1000000", "not plausible: 1000"),
        ("45", "temp says 45, which is no thousandth of a degree"),
        ("-22", "temp says -22, which is no thousandth of a degree"),
        ("41000" + " " * 1_000_000, "File too large"),
        ("41000 " * 20, "temp says '41000 41000 41000 41000 41000 41000"),
        (refusal(errno.EACCES), "Permission denied"),
        (refusal(errno.EIO), "Input/output error"),
        (None, "No such file or directory"),
    ],
)
def test_a_zone_that_fails_or_lies_is_a_missing_reading_beside_the_others(
    tmp_path: Path, text: str | None, why: str
) -> None:
    thermal(tmp_path, 0, type="cpu0", **({} if text is None else {"temp": text}))
    thermal(tmp_path, 1, type="cpu1", temp=COOL)
    lying, fine = readings(sensor(tmp_path))
    assert (lying.value, lying.why[: len(why)]) == (None, why)
    assert fine.value == 41.0


def test_freezing_point_and_frost_are_no_lies(tmp_path: Path) -> None:
    for index, text in enumerate(["0", "-12500"]):
        thermal(tmp_path, index, type=f"cpu{index}", temp=text)
    assert heats(sensor(tmp_path)) == {"cpu0": 0.0, "cpu1": -12.5}


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENODATA])
def test_a_place_without_power_is_left_out_but_a_processor_always_has_some(
    tmp_path: Path, number: int
) -> None:
    cpu = thermal(tmp_path, 0, type="cpu-thermal", temp=COOL)
    for index, kind in enumerate(["cv0-thermal", "gpu-thermal"], 1):
        thermal(tmp_path, index, type=kind, temp=refusal(number))
    assert heats(sensor(tmp_path)) == {"cpu-thermal": 41.0}
    assert heats(sensor(tmp_path, zone="gpu")) == {}
    (cpu / "temp").write_text(refusal(number))
    assert heats(sensor(tmp_path)) == {"cpu-thermal": None, "cv0-thermal": None}


def test_garbage_folders_and_loops_in_place_of_files_spoil_no_other_place(tmp_path: Path) -> None:
    thermal(tmp_path, 0, type="cpu0", temp=COOL)
    garbage = thermal(tmp_path, 1, type="cpu1")
    (garbage / "temp").write_bytes(bytes(range(256)) * 16)
    (thermal(tmp_path, 2, type="cpu2") / "temp").mkdir()
    loop = thermal(tmp_path, 3, type="cpu3") / "temp"
    loop.symlink_to(loop)
    named = thermal(tmp_path, 4, temp=COOL)
    (named / "type").write_bytes(b"cpu\x00\x1b[31m\xff\n" + b"x" * 200)
    (tmp_path / "class" / "thermal" / "thermal_zone5").symlink_to("thermal_zone5")
    (tmp_path / "class" / "hwmon").symlink_to(os.devnull)
    found = readings(sensor(tmp_path))
    assert [reading.value for reading in found] == [41.0, None, None, None, 41.0]
    assert [reading.why for reading in found[2:4]] == ["Is a directory", "Too many levels of symbolic links"]
    assert (found[4].name.isprintable(), len(found[4].name)) == (True, 48)


def test_of_ten_thousand_zones_the_first_are_read(tmp_path: Path) -> None:
    first = thermal(tmp_path, 0, type="cpu", temp=COOL)
    for index in range(1, 10_000):
        (first.parent / f"thermal_zone{index}").symlink_to(first)
    assert [reading.value for reading in sensor(tmp_path).read()] == [41.0] * MOST_FOLDERS


def test_a_file_that_hangs_hangs_the_thread_that_reads_it_and_no_longer_than_it_does(tmp_path: Path) -> None:
    zone = thermal(tmp_path, 0, type="cpu0")
    os.mkfifo(zone / "temp")
    found: list[Reading] = []
    thread = threading.Thread(target=lambda: found.extend(sensor(tmp_path).read()), daemon=True)
    thread.start()
    with (zone / "temp").open("w") as file:  # waits for the thread to be there
        assert thread.is_alive()
        file.write(COOL)
    thread.join()
    assert [reading.value for reading in found] == [41.0]


# ── the real path ───────────────────────────────────────────────────────────────────────────────
def test_the_sensors_enter_by_their_entry_point_and_say_nothing_of_a_machine_without_any(
    tmp_path: Path,
) -> None:
    machine = Machine(sysfs=tmp_path)
    bundled = {(each.zone, each.name) for each in finetuned_sensors(machine)}
    loaded = {(each.zone, each.name): each for each in load().sensors(machine)}
    assert {zone for zone, _ in bundled} == {"thermal", "gpu", "battery"}
    assert [loaded[key].read() for key in sorted(bundled)] == [(), (), ()]


READ = """
import sys
from pathlib import Path
from finetuned import Machine
from finetuned_plugins.sysfs import finetuned_sensors
heat, graphics, supply = finetuned_sensors(Machine())
zone = Path(sys.argv[1])
for text in ("85000", "51000"):  # seen through the bind mount, as a changing zone would be
    (zone / "temp").write_text(text)
    print(*(f"{reading.name}={reading.value}" for reading in heat.read()))
"""


def test_a_made_up_zone_mounted_over_sys_is_read_where_the_daemon_reads_it(tmp_path: Path) -> None:
    zone = thermal(tmp_path, 0, type="x86_pkg_temp", temp=COOL)
    assert over_sys(tmp_path, READ, str(zone)) == ["x86_pkg_temp=85.0", "x86_pkg_temp=51.0"]


BOTH = """
import json
import psutil
from finetuned import Machine
from finetuned_plugins.sysfs import finetuned_sensors
heat, graphics, supply = finetuned_sensors(Machine(zones=("thermal", "gpu", "thermal/?v*", "thermal/iwl*")))
ours = {reading.name: [reading.value, reading.passive] for reading in (*heat.read(), *graphics.read())}
found = psutil.sensors_temperatures()
theirs = {f"{chip} {t.label}".strip(): [t.current, t.critical] for chip, all in found.items() for t in all}
print(json.dumps(ours, sort_keys=True))
print(json.dumps(theirs, sort_keys=True))
"""


def test_psutil_reads_the_same_chips(tmp_path: Path) -> None:
    chip(tmp_path, 0, name="nvme", temp1_input="38850", temp1_label="Composite", temp1_crit="84850")
    chip(tmp_path, 1, name="k10temp", temp1_input="61125", temp1_label="Tctl", temp1_crit="95000")
    chip(tmp_path, 2, name="amdgpu", temp1_input="44000", temp1_label="edge", temp1_crit="94000")
    chip(tmp_path, 3, name="coretemp", temp1_input="-5000", temp1_label="Package id 0", temp1_crit="100000")
    ours, theirs = map(json.loads, over_sys(tmp_path, BOTH))
    assert ours == theirs
    assert len(ours) == 4


def test_psutil_reads_the_same_zones(tmp_path: Path) -> None:
    for index, (kind, text) in enumerate(
        [("x86_pkg_temp", "63000"), ("iwlwifi_1", "51000"), ("gpu-thermal", "47250")]
    ):
        thermal(tmp_path, index, type=kind, temp=text)
    ours, theirs = map(json.loads, over_sys(tmp_path, BOTH))
    assert ours == theirs
    assert len(ours) == 3
