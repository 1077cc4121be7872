"""UPower and logind, played by dbusmock on a bus of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from buses import DISPLAY, LOGIND, UPOWER, Bus, bus, show_battery, show_presence
from finetuned.policy.zones import Reading, checked
from finetuned.service.machine import Machine
from finetuned_plugins.desktop import Presence, SystemBus, UPower, finetuned_sensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from finetuned.policy.zones import Sensor

SOON_S, LATE_S = 0.3, 30.0
MONOTONIC_S = 5000.0


# ── builders ────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    """A bus that the sensors take for the system's."""
    with bus(tmp_path) as found:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.address)
        yield found


@contextmanager
def upower(deadline_s: float = LATE_S) -> Iterator[UPower]:
    with closing(SystemBus(deadline_s)) as connection:
        yield UPower(connection)


@contextmanager
def presence() -> Iterator[Presence]:
    with closing(SystemBus(LATE_S)) as connection:
        yield Presence(connection, clock=lambda: MONOTONIC_S)


def said(sensor: UPower | Presence) -> tuple[float | None, bool | None, str] | None:
    """What the governor, which believes no sensor blindly, takes from it; None: there is no such zone."""
    readings = [checked(reading) for reading in sensor.read()]
    assert {(reading.zone, reading.name) for reading in readings} <= {(sensor.zone, sensor.name)}
    return next(((reading.value, reading.on_battery, reading.why) for reading in readings), None)


# ── the battery ─────────────────────────────────────────────────────────────────────────────────
def test_a_battery_is_followed_from_mains_to_empty_and_back(system: Bus) -> None:
    with system.service("upower", UPOWER), upower() as sensor:
        for percentage, on_battery in ((80.0, False), (80.0, True), (25.0, True), (25.0, False)):
            show_battery(system, percentage, on_battery=on_battery)
            assert said(sensor) == (percentage, on_battery, "")


@pytest.mark.parametrize(("kind", "present"), [(3, True), (0, True), (2, False)])
def test_a_ups_or_a_battery_that_is_not_there_is_no_zone(system: Bus, *, kind: int, present: bool) -> None:
    with system.service("upower", UPOWER), upower() as sensor:
        show_battery(system, 50.0, on_battery=True, kind=kind, present=present)
        assert said(sensor) is None


def test_a_charge_that_lies_is_a_missing_reading(system: Bus) -> None:
    with system.service("upower", UPOWER), upower() as sensor:
        show_battery(system, 400.0, on_battery=True)
        assert said(sensor) == (None, True, "not plausible: 400")


def test_a_upower_that_dies_is_a_missing_reading_until_it_comes_back(system: Bus) -> None:
    with upower() as sensor:
        assert said(sensor) is None
        for percentage in (60.0, 50.0):
            with system.service("upower", UPOWER):
                show_battery(system, percentage, on_battery=True)
                assert said(sensor) == (percentage, True, "")
            assert said(sensor) == (None, None, "UPower does not run any more")


def test_a_upower_that_hangs_is_an_error_within_its_deadline_and_recovers(system: Bus) -> None:
    with system.service("upower", UPOWER) as process, upower(SOON_S) as sensor:
        show_battery(system, 60.0, on_battery=True)
        process.send_signal(signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(TimeoutError, match=r"org\.freedesktop\.UPower does not answer"):
                sensor.read()
        process.send_signal(signal.SIGCONT)
        sensor.bus = SystemBus(LATE_S)
        with closing(sensor.bus):
            assert said(sensor) == (60.0, True, "")


def test_a_bus_that_hangs_is_an_error_within_the_deadline(system: Bus) -> None:
    system.process.send_signal(signal.SIGSTOP)
    with upower(SOON_S) as sensor, pytest.raises(TimeoutError):
        sensor.read()


def test_a_bus_that_ends_is_a_missing_reading_until_there_is_another(tmp_path: Path, system: Bus) -> None:
    with upower() as sensor:
        with system.service("upower", UPOWER):
            show_battery(system, 60.0, on_battery=True)
            assert said(sensor) == (60.0, True, "")
            system.process.kill()
            system.process.wait()
            assert said(sensor) == (None, None, "UPower does not run any more")
        (tmp_path / "bus").unlink()
        with bus(tmp_path) as another, another.service("upower", UPOWER):
            show_battery(another, 40.0, on_battery=False)
            assert said(sensor) == (40.0, False, "")


def test_a_service_that_answers_nonsense_is_an_error(system: Bus) -> None:
    with system.service("upower", UPOWER), upower() as sensor:
        system.send(
            UPOWER, "/org/freedesktop/UPower", "org.freedesktop.DBus.Mock.RemoveObject", f"string:{DISPLAY}"
        )
        with pytest.raises(OSError, match=r"org\.freedesktop\.DBus\.Error"):
            sensor.read()


def test_a_service_that_the_bus_could_start_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, witness = tmp_path / "data" / "dbus-1" / "services", tmp_path / "started"
    services.mkdir(parents=True)
    starter = tmp_path / "starter"
    starter.write_text(f"#!/bin/sh\ntouch {witness}\nexit 1\n")
    starter.chmod(0o755)
    lines = ["[D-BUS Service]", f"Name={UPOWER}", f"Exec={starter}"]
    (services / "upower.service").write_text("\n".join(lines))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "data"))
    with bus(tmp_path) as system, upower() as sensor:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", system.address)
        assert said(sensor) is None
        assert not witness.exists()
        with pytest.raises(subprocess.CalledProcessError):  # anybody else's call would have started it
            system.send(UPOWER, "/org/freedesktop/UPower", f"{UPOWER}.GetCriticalAction")
        assert witness.exists()


# ── who is there ────────────────────────────────────────────────────────────────────────────────
def test_idle_time_begins_where_logind_says_and_somebody_there_is_none(system: Bus) -> None:
    with system.service("logind", LOGIND), presence() as sensor:
        show_presence(system, idle=True, since_us=4_400_000_000)
        assert said(sensor) == (600.0, None, "")
        show_presence(system, idle=False, since_us=4_400_000_000)  # as a terminal tells the last key pressed
        assert said(sensor) == (0.0, None, "")


def test_without_a_session_it_is_idle_since_the_start(system: Bus) -> None:
    with system.service("logind", LOGIND), presence() as sensor:
        show_presence(system, idle=True, since_us=0)
        assert said(sensor) == (MONOTONIC_S, None, "")


def test_who_logs_out_was_there_until_then(system: Bus) -> None:
    with system.service("logind", LOGIND), presence() as sensor:
        show_presence(system, idle=False, since_us=0)
        assert said(sensor) == (0.0, None, "")
        show_presence(system, idle=True, since_us=0)
        assert said(sensor) == (0.0, None, "")  # the clock stands still, and nobody left before


def test_an_idle_time_of_the_future_is_none(system: Bus) -> None:
    with system.service("logind", LOGIND), presence() as sensor:
        show_presence(system, idle=True, since_us=2**64 - 1)
        assert said(sensor) == (0.0, None, "")


# ── nothing there ───────────────────────────────────────────────────────────────────────────────
def sensors(*zones: str) -> list[Sensor]:
    return finetuned_sensors(Machine(zones=zones))


def test_logind_is_asked_only_where_a_zone_is_about_idle_time() -> None:
    assert [sensor.zone for sensor in sensors("battery")] == ["battery"]
    assert [sensor.zone for sensor in sensors("battery", "idle")] == ["battery", "idle"]


@pytest.mark.parametrize("address", ["unix:path=/nowhere/bus", "unix:abstract=nobody-listens-here"])
def test_without_a_bus_there_is_no_such_zone(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    assert [sensor.read() for sensor in sensors("idle")] == [(), ()]


def test_without_dbus_fast_there_is_no_battery_and_idle_time_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dbus_fast", None)
    battery, (idle,) = (sensor.read() for sensor in sensors("idle"))  # type: ignore[misc]
    assert battery == ()
    assert isinstance(idle, Reading)
    assert idle.why == "D-Bus needs dbus-fast: pip install 'finetuned[desktop]'"


def test_the_plugin_imports_no_dbus_before_it_is_needed() -> None:
    program = (
        "import sys, finetuned_plugins.desktop as d; d.UPower().read(); print('dbus_fast' in sys.modules)"
    )
    environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": ""}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
