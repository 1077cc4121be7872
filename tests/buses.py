"""A system bus of a test's own, and the services of a desktop on it as dbusmock plays them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"  # dbusmock is the distribution's, and so is its Python
PATIENCE_S = 30.0
PROPERTIES = "org.freedesktop.DBus.Properties"
UPOWER = "org.freedesktop.UPower"
DISPLAY = "/org/freedesktop/UPower/devices/DisplayDevice"
LOGIND = "org.freedesktop.login1"


def needed() -> None:
    """Skip where a bus or dbusmock is not installed."""
    for program in ("dbus-daemon", "dbus-send"):
        if shutil.which(program) is None:
            missing(f"left out: there is no {program} here (Debian: apt install dbus)")
    found = subprocess.run([SYSTEM_PYTHON, "-c", "import dbusmock"], capture_output=True, check=False)
    if found.returncode:
        missing("left out: dbusmock is not installed (Debian: apt install python3-dbusmock)")


class Bus:
    """A bus daemon at `address`, and what a test asks of it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address, self.process = address, process

    def send(self, service: str, path: str, method: str, *arguments: str) -> str:
        """Call a method as `dbus-send` writes it, and return the reply."""
        command = ["dbus-send", f"--bus={self.address}", "--print-reply=literal", f"--dest={service}", path]
        done = subprocess.run([*command, method, *arguments], capture_output=True, check=True, text=True)
        return done.stdout.strip()

    def set(self, service: str, path: str, interface: str, **values: str) -> None:
        """Set properties, each as `dbus-send` writes it (`boolean:true`)."""
        for name, value in values.items():
            words = (f"string:{interface}", f"string:{name}", f"variant:{value}")
            self.send(service, path, f"{PROPERTIES}.Set", *words)

    def has(self, service: str) -> bool:
        """Say whether somebody owns the name of this service."""
        method = "org.freedesktop.DBus.NameHasOwner"
        return "true" in self.send("org.freedesktop.DBus", "/", method, f"string:{service}")

    @contextmanager
    def service(self, template: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run one of dbusmock's services, from when its name is there until it is gone."""
        program = [SYSTEM_PYTHON, "-m", "dbusmock", "--template", template]
        environment = {"DBUS_SYSTEM_BUS_ADDRESS": self.address, "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL) as process:
            try:
                self._until(name, there=True)
                yield process
            finally:
                _end(process)
                if self.process.poll() is None:
                    self._until(name, there=False)

    def _until(self, name: str, *, there: bool) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.has(name) is not there:
            assert time.monotonic() < end, f"{name} is {'not there' if there else 'still there'}"


@contextmanager
def bus(folder: Path) -> Iterator[Bus]:
    """Run a bus of its own in `folder`."""
    needed()
    address = f"unix:path={folder / 'bus'}"
    program = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}"]
    with subprocess.Popen([*program, "--print-address=1"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it listens
            yield Bus(address, process)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, also one that is stopped or has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def show_battery(
    on: Bus, percentage: float, *, on_battery: bool, kind: int = 2, present: bool = True
) -> None:
    """Let the mocked UPower show this charge, as a desktop would see it."""
    device = f"{UPOWER}.Device"
    words = {"Type": f"uint32:{kind}", "Percentage": f"double:{percentage}", "IsPresent": _truth(present)}
    on.set(UPOWER, DISPLAY, device, **words)
    on.set(UPOWER, "/org/freedesktop/UPower", UPOWER, OnBattery=_truth(on_battery))


def show_presence(on: Bus, *, idle: bool, since_us: int) -> None:
    """Let the mocked logind say whether everybody is idle, and since when."""
    words = {"IdleHint": _truth(idle), "IdleSinceHintMonotonic": f"uint64:{since_us}"}
    on.set(LOGIND, "/org/freedesktop/login1", f"{LOGIND}.Manager", **words)


def _truth(value: object) -> str:
    return f"boolean:{'true' if value else 'false'}"
