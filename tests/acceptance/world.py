"""A daemon in a mount namespace of its own, where /sys/class and what the kernel tells of memory are made up.

Whoever reads them there, finetuned's sensors as well as psutil, reads the usual paths.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acceptance.house import LONG, House, digits
from service.samples import until
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

UNSHARE = ("unshare", "--mount", "--propagation", "private")
MOUNTS = """
mount --bind "$0/sys/class" /sys/class
mount --bind "$0/proc/meminfo" /proc/meminfo
if [ -e /proc/pressure ]; then mount --bind "$0/proc/pressure" /proc/pressure; fi
exec "$@"
"""
MEMINFO = "MemTotal: 8000000 kB\nMemFree: 6000000 kB\nMemAvailable: 6000000 kB\n"
PRESSURE = "some avg10={:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"

# A sensor that counts how often it is looked at; while there is a file `flap`, it also moves the temperature from one side
# to the other after so many looks.
LOOKS = """#!/bin/sh
cd "$(dirname "$0")" && echo >> looks
if [ -e flap ]; then
  read -r cold hot dwell < flap
  if [ $(($(wc -l < looks) / dwell % 2)) = 0 ]; then now=$cold; else now=$hot; fi
  echo "$now" > .temp && mv .temp sys/class/thermal/thermal_zone0/temp
fi
echo 0
"""
COUNTED = '[budget.commands.looks]\nrun = ["{program}"]\npause = 1.0\nresume = 0.5\n'

PSUTIL = """
import json, psutil
print(json.dumps({"heat": psutil.sensors_temperatures(), "battery": psutil.sensors_battery()._asdict()}))
"""
SYNCHRONISED = "int adjtimex(void *timex) { (void)timex; return 0; }"

SPEEDS = (
    ("full", 1.0, 1.0),
    ("slow", 0.5, 1.0),
    ("slow", 0.25, 1.0),
    ("slow", 0.25, 0.5),
    ("paused", 0.0, 1.0),
)
"""The ladder of a machine without accelerator: pace, duty and share of the cores of each rung."""
PACES = ("paused", "resumed", "paceChanged")


# ── what the kernel says ────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class World:
    """What is mounted over the real files, as files that a test writes while the daemon runs; `folder` holds them all."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> World:
        """Return one with everything that is mounted, calm and empty."""
        world = cls(folder)
        (folder / "sys/class").mkdir(parents=True)
        (folder / "proc/pressure").mkdir(parents=True)
        (folder / "proc/meminfo").write_text(MEMINFO)
        world.press(0)
        (folder / "look").write_text(LOOKS)
        (folder / "look").chmod(0o700)
        (folder / "looks").touch()
        return world

    @property
    def zone(self) -> Path:
        """The CPU's thermal zone."""
        return self.folder / "sys/class/thermal/thermal_zone0"

    @property
    def within(self) -> tuple[str, ...]:
        """The program that becomes a command in here."""
        return (*UNSHARE, "sh", "-ec", MOUNTS, str(self.folder))

    @property
    def counted(self) -> str:
        """The configuration in which `looked` works."""
        return COUNTED.format(program=self.folder / "look")

    async def looked(self, times: int) -> None:
        """Wait until the governor has looked so often from now on."""
        wanted = self._looks() + times
        await until(lambda: self._looks() >= wanted)

    def _looks(self) -> int:
        return (self.folder / "looks").read_bytes().count(b"\n")

    def press(self, percent: float) -> None:
        """Let so much of the time be spent on waiting for memory."""
        aside = self.folder / "proc/pressure/.memory"
        aside.write_text(PRESSURE.format(percent) + "\n")
        aside.replace(self.folder / "proc/pressure/memory")

    @asynccontextmanager
    async def flapping(self, cold: float, hot: float, *, dwell: int = 1) -> AsyncIterator[None]:
        """Move the temperature to the other side after every `dwell` looks."""
        aside = self.folder / ".flap"
        aside.write_text(f"{cold * 1000:.0f} {hot * 1000:.0f} {dwell}\n")
        aside.replace(self.folder / "flap")
        await self.looked(1)
        yield
        (self.folder / "flap").unlink()
        await self.looked(2)

    def say(self, text: str) -> None:
        """Let the CPU's zone say anything."""
        aside = self.zone / ".temp"
        aside.write_text(text)
        aside.replace(self.zone / "temp")

    async def hang(self) -> None:
        """Let whoever reads the CPU's zone wait."""
        fifo = self.zone / ".fifo"
        os.mkfifo(fifo)
        (self.zone / ".temp").hardlink_to(fifo)
        (self.zone / ".temp").replace(self.zone / "temp")

    async def answer(self, text: str) -> None:
        """Let whoever reads the CPU's zone read this, and whoever waited there go."""
        self.say(text)
        os.close(await _writable(self.zone / ".fifo"))


async def _writable(fifo: Path) -> int:
    """Open a FIFO that is being read, or that will be."""
    while True:
        with suppress(OSError):  # nobody reads it yet
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        await asyncio.sleep(0.01)


# ── the daemon in it ────────────────────────────────────────────────────────────────────────────
@asynccontextmanager
async def a_world(
    folder: Path, *, parameters: Mapping[str, int] = LONG, more: str = "", **settings: object
) -> AsyncIterator[tuple[House, World]]:
    """Yield a started daemon that knows the demo's model as `digits`, and the world around it; its sensors are at 40 °C."""
    _needed()
    world = World.made(folder)
    around: dict[str, Any] = {"within": world.within, "sysfs": "/sys", "proc": "/proc", **settings}
    async with digits(folder, parameters=parameters, more=world.counted + more, **around) as house:
        yield house, world


def _needed() -> None:
    """Skip where nobody may mount."""
    if os.geteuid() != 0:
        missing("left out: only root may mount made-up sensors over the real ones")
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"left out: no mount namespace can be had here ({done.stderr.strip()})")


def needs_pressure() -> None:
    """Skip where there is nothing to mount over."""
    if not Path("/proc/pressure/memory").exists():
        missing("left out: this kernel tells no memory pressure (CONFIG_PSI)")


def seen_by_psutil(house: House) -> dict[str, Any]:
    """Return what psutil reads in the daemon's namespace: temperatures and battery."""
    assert house.process
    command = ["nsenter", "-t", str(house.process.pid), "-m", sys.executable, "-c", PSUTIL]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return found


def rungs(house: House) -> list[int]:
    """Return where each event of pace led on the ladder, in order."""
    return [SPEEDS.index((e["pace"], e["duty"], e.get("cores", 1.0))) for e in house.ear.events(*PACES)]


async def reached(house: House, rung: int) -> dict[str, Any]:
    """Wait until the last event of pace led to this rung, and return it."""
    await house.ear.until(lambda: rungs(house)[-1:] == [rung], f"the rung {rung}")
    return house.ear.events(*PACES)[-1]


async def shown(
    house: House, *, readings: Mapping[str, float] | None = None, **fields: object
) -> dict[str, Any]:
    """Wait until the daemon's state topic says this, with these readings and maybe others, and return all of it."""

    def state() -> dict[str, Any] | None:
        found = house.ear.retained["state"]
        told = fields.items() <= found.items() and (readings or {}).items() <= found["readings"].items()
        return found if told else None

    found: dict[str, Any] = await house.ear.until(state, f"the state {fields}")
    return found


# ── what else is around ─────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Manager:
    """A service manager that writes down what it is told."""

    said: list[str] = field(default_factory=list)


@contextmanager
def a_manager(folder: Path) -> Iterator[Manager]:
    """Listen where the house's daemon finds its service manager."""
    manager, loop = Manager(), asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        channel.bind(str(folder / "notify"))
        loop.add_reader(channel, lambda: manager.said.append(channel.recv(4096).decode()))
        try:
            yield manager
        finally:
            loop.remove_reader(channel)


@contextmanager
def a_small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of this size on a folder."""
    _needed()
    folder.mkdir()
    options = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "finetuned-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def believable_clock(folder: Path) -> str:
    """Return a library that, loaded before others, lets the kernel call its clock synchronised."""
    if shutil.which("cc") is None:
        missing("left out: there is no C compiler for a clock that is synchronised (apt-get install gcc)")
    library = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=SYNCHRONISED, text=True, check=True)
    return str(library)


def ticks(pid: int) -> int:
    """Return the CPU time that a process has used: utime and stime of proc(5), in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
