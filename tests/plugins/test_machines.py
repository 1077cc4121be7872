"""What is read of the machines that people have: trees made up after what their kernels show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from finetuned.policy.zones import checked
from finetuned.service.machine import Machine
from finetuned_plugins.sysfs import Temperatures
from trees import chip, thermal, trips

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Files = dict[str, str]
Read = dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A machine: its thermal zones by type, its chips by name, and what is to be read: by name, value and trip point."""

    zones: Mapping[str, Files] = field(default_factory=dict)
    chips: Mapping[str, Files] = field(default_factory=dict)
    heat: Read
    graphics: Read = field(default_factory=dict)


def temp(degrees: float, *points: tuple[str, float], **files: str) -> Files:
    return {"temp": str(round(degrees * 1000)), "mode": "enabled"} | trips(*points) | files


def passive(degrees: float) -> tuple[str, float]:
    return ("passive", degrees)


def critical(degrees: float) -> tuple[str, float]:
    return ("critical", degrees)


MACHINES = {
    "a laptop with an Intel processor and a graphics card of AMD": Made(
        zones={
            "INT3400 Thermal": temp(20, mode="disabled"),
            "acpitz": temp(57, critical(119)),
            "TSKN": temp(51, passive(50)),
            "TCPU": temp(62, passive(95), critical(105)),
            "iwlwifi_1": temp(93),
            "pch_cannonlake": temp(71, critical(115)),
            # What nobody has set is 0 or -274 °C.
            "x86_pkg_temp": temp(63, passive(0), passive(-274)),
        },
        chips={
            "acpitz": {"temp1_input": "57000", "temp1_crit": "119000"},
            "nvme": {"temp1_input": "88850", "temp1_label": "Composite", "temp1_crit": "84850"},
            "coretemp": {"temp1_input": "63000", "temp1_label": "Package id 0", "temp1_crit": "100000"},
            "amdgpu": {
                "temp1_input": "44000",
                "temp1_label": "edge",
                "temp1_crit": "94000",
                "temp1_crit_hyst": "-273150",
                "temp2_input": "97000",
                "temp2_label": "junction",
            },
        },
        heat={"acpitz": (57.0, None), "TCPU": (62.0, 95.0), "x86_pkg_temp": (63.0, None)},
        graphics={"amdgpu edge": (44.0, 94.0)},
    ),
    "an Intel server without a thermal zone": Made(
        chips={
            "nct6775": {"temp1_input": "127000", "temp1_label": "AUXTIN0"},
            "coretemp": {
                "temp1_input": "70000",
                "temp1_label": "Package id 0",
                "temp1_max": "82000",
                "temp1_crit": "92000",
                "temp2_input": "70000",
                "temp2_label": "Core 0",
            },
        },
        heat={"coretemp Package id 0": (70.0, 92.0)},
    ),
    "an AMD desktop, whose ACPI zone is a dummy": Made(
        zones={"acpitz": temp(16.8, critical(20.8))},
        chips={
            "acpitz": {"temp1_input": "16800", "temp1_crit": "20800"},
            "k10temp": {
                "temp1_input": "88000",
                "temp1_label": "Tctl",
                "temp1_max": "70000",
                "temp2_input": "68000",
                "temp2_label": "Tdie",
                "temp3_input": "66500",
                "temp3_label": "Tccd1",
            },
        },
        heat={"acpitz": (16.8, None), "k10temp Tdie": (68.0, None)},
    ),
    "an older AMD processor with a thermal control of its own": Made(
        chips={"k10temp": {"temp1_input": "48500", "temp1_max": "70000", "temp1_crit": "80000"}},
        heat={"k10temp temp1": (48.5, 80.0)},
    ),
    "an accelerator of AMD that has no edge": Made(
        chips={
            "amdgpu": {
                "temp2_input": "61000",
                "temp2_label": "junction",
                "temp2_crit": "100000",
                "temp3_input": "58000",
                "temp3_label": "mem",
            }
        },
        heat={},
        graphics={"amdgpu junction": (61.0, 100.0), "amdgpu mem": (58.0, None)},
    ),
    "graphics cards of Intel, and of NVIDIA with the free driver": Made(
        chips={
            "xe": {
                "temp2_input": "52000",
                "temp2_label": "pkg",
                "temp3_input": "60000",
                "temp3_label": "vram",
            },
            "nouveau": {"temp1_input": "49000", "temp1_max": "95000", "temp1_crit": "105000"},
        },
        heat={},
        graphics={"xe pkg": (52.0, None), "nouveau temp1": (49.0, 95.0)},
    ),
    "a Raspberry Pi 4": Made(
        zones={"cpu-thermal": temp(48.3, critical(110))},
        chips={"cpu_thermal": {"temp1_input": "48312"}, "rpi_volt": {"in0_lcrit_alarm": "0"}},
        heat={"cpu-thermal": (48.3, None)},
    ),
    "a Raspberry Pi 5": Made(
        zones={"cpu-thermal": temp(55.2, critical(110), ("active", 50), ("active", 60))},
        chips={
            "cpu_thermal": {"temp1_input": "55200", "temp1_crit": "110000"},
            "rp1_adc": {"temp1_input": "58900"},
            "pwmfan": {"fan1_input": "0"},
        },
        heat={"cpu-thermal": (55.2, None)},
    ),
    "a Jetson Nano": Made(
        zones={
            "AO-therm": temp(44.5),
            "CPU-therm": temp(37, passive(97), critical(102.5)),
            "GPU-therm": temp(36, passive(98), critical(103)),
            "PLL-therm": temp(35.5),
            "PMIC-Die": temp(100, critical(120)),
            "thermal-fan-est": temp(36.5, ("active", 51)),
        },
        heat={"CPU-therm": (37.0, 97.0)},
        graphics={"GPU-therm": (36.0, 98.0)},
    ),
    "a Jetson Orin": Made(
        zones={
            "cpu-thermal": temp(50.1, passive(99), critical(104.5)),
            "gpu-thermal": temp(47.2, passive(99)),
            "soc0-thermal": temp(48.5, passive(99)),
            "tj-thermal": temp(50.1),
            "tboard-thermal": temp(90.0),
        },
        heat={"cpu-thermal": (50.1, 99.0), "soc0-thermal": (48.5, 99.0), "tj-thermal": (50.1, None)},
        graphics={"gpu-thermal": (47.2, 99.0)},
    ),
    "a Rockchip RK3588 with its maker's kernel": Made(
        zones={
            # The power allocator wakes up at 75 °C, and steers towards 85 °C.
            "soc-thermal": temp(61.9, passive(75), passive(85), critical(115), policy="power_allocator"),
            "bigcore0-thermal": temp(62.8, critical(115)),
            "littlecore-thermal": temp(61.0, critical(115)),
            "center-thermal": temp(60.1),
            "gpu-thermal": temp(60.5),
            "npu-thermal": temp(60.5),
            "test_battery": {"temp": "2600"},
        },
        chips={"gpu_thermal": {"temp1_input": "60500"}, "soc_thermal": {"temp1_input": "61900"}},
        heat={
            "soc-thermal": (61.9, 85.0),
            "bigcore0-thermal": (62.8, None),
            "littlecore-thermal": (61.0, None),
            "center-thermal": (60.1, None),
            "npu-thermal": (60.5, None),
        },
        graphics={"gpu-thermal": (60.5, None)},
    ),
    "a Qualcomm board": Made(
        zones={
            "cpu0-thermal": temp(41, passive(90), passive(95)),
            "gpu-top-thermal": temp(39, passive(90)),
            "wlan-thermal": temp(88),
            "modem0-thermal": temp(87),
            "pm8150-thermal": temp(95),
        },
        heat={"cpu0-thermal": (41.0, 90.0)},
        graphics={"gpu-top-thermal": (39.0, 90.0)},
    ),
    "a virtual machine": Made(heat={}),
}


def build(root: Path, made: Made) -> Machine:
    for index, (kind, files) in enumerate(made.zones.items()):
        thermal(root, index, **{"type": kind} | files)
    for index, (name, files) in enumerate(made.chips.items()):
        chip(root, index, name=name, **files)
    return Machine(sysfs=root)


def read(machine: Machine, zone: str) -> Read:
    readings = [checked(reading) for reading in Temperatures(machine=machine, zone=zone, name=zone).read()]
    assert {reading.zone for reading in readings} <= {zone}
    return {reading.name: (reading.value, reading.passive) for reading in readings}


@pytest.mark.parametrize("made", MACHINES.values(), ids=MACHINES.keys())
def test_the_heat_of_processor_and_graphics_is_read_of_the_machines_that_people_have(
    tmp_path: Path, made: Made
) -> None:
    machine = build(tmp_path, made)
    assert read(machine, "thermal") == made.heat
    assert read(machine, "gpu") == made.graphics
