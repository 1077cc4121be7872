"""The Raspberry Pi's flags, from made-up trees."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from finetuned.service.machine import Machine
from finetuned_plugins.raspberry import Firmware, finetuned_sensors
from trees import chip, write

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"


def throttled(root: Path, text: str, at: str = OLD) -> Path:
    return write(root / "devices" / "platform" / at, get_throttled=text)


def read(root: Path) -> tuple[float | None, str]:
    (reading,) = Firmware(machine=Machine(sysfs=root)).read()
    assert (reading.zone, reading.name) == ("power", "firmware")
    return reading.value, reading.why


@pytest.mark.parametrize("at", [OLD, NEW])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("2", 1.0),
        ("4", 1.0),
        ("8", 1.0),
        ("50000", 0.0),  # it has been so, since the start
        ("50005", 1.0),
        ("e0008", 1.0),
        ("10", 0.0),
        ("0x50000", 0.0),
    ],
)
def test_the_supply_or_the_heat_limits_the_processor_while_one_of_four_flags_is_set(
    tmp_path: Path, text: str, value: float, at: str
) -> None:
    throttled(tmp_path, text, at)
    assert read(tmp_path) == (value, "")


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "get_throttled is empty"), ("so so", "get_throttled says 'so so'"), ("0" * 300, "File too large")],
)
def test_flags_that_cannot_be_read_are_a_missing_reading(tmp_path: Path, text: str, why: str) -> None:
    throttled(tmp_path, text)
    assert read(tmp_path) == (None, why)


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("1", 1.0)])
def test_without_the_flags_the_alarm_of_the_voltage_is_read(tmp_path: Path, text: str, value: float) -> None:
    chip(tmp_path, 0, name="nvme", in0_lcrit_alarm="1")
    chip(tmp_path, 1, name="rpi_volt", in0_lcrit_alarm=text)
    assert read(tmp_path) == (value, "")
    throttled(tmp_path, "nonsense")
    assert read(tmp_path) == (value, "")
    throttled(tmp_path, "4")
    assert read(tmp_path) == (1.0, "")


def test_a_machine_that_is_no_raspberry_pi_has_no_such_reading(tmp_path: Path) -> None:
    chip(tmp_path, 0, name="nvme", in0_lcrit_alarm="1")
    (sensor,) = finetuned_sensors(Machine(sysfs=tmp_path))
    assert sensor.read() == ()


def test_which_flags_are_set_is_logged_once_for_each_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sensor = Firmware(machine=Machine(sysfs=tmp_path))
    for text in ("0", "50005", "50005", "50001", "50000", "50000"):
        throttled(tmp_path, text)
        sensor.read()
    assert [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records] == [
        ("WARNING", "under-voltage, throttled"),
        ("WARNING", "under-voltage"),
        ("INFO", "all is well again"),
    ]
