"""Daemons to measure: a real process that knows the demo's model, on a laptop whose sysfs is made up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.edge import client, config
from finetuned.edge.demo_data import DROPS, MODEL, TEST, pictures
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.edge.broker import Address
    from finetuned.edge.client import Daemon

# Workers run at nice 0 here: what else runs on the machine is not measured.
NAME = "digits"
QUIET_S, SETTLE_S = 1.0, 0.2
PATIENCE_S = 90.0
TICKS = os.sysconf("SC_CLK_TCK")
CONFIGURATION = """
state = "{state}"
[ingest]
settle_s = {settle}
[trigger]
quiet_s = {quiet}
[budget]
{budget}
[worker]
nice = 0
warm_s = {warm}
{worker}
[models.{name}]
path = "{model}"
{more}
"""
DESK = 'battery.on_battery = "ignore"'

CORES = ("Package id 0", "Core 0", "Core 1", "Core 2", "Core 3")
LAPTOP = {
    "class/thermal/thermal_zone0": {"type": "acpitz", "temp": "40000"},
    "class/thermal/thermal_zone1": {
        "type": "x86_pkg_temp",
        "temp": "40000",
        "trip_point_0_type": "passive",
        "trip_point_0_temp": "95000",
    },
    "class/thermal/thermal_zone2": {"type": "iwlwifi_1", "temp": "38000"},
    "class/hwmon/hwmon0": {"name": "nvme", "temp1_input": "35850", "temp1_label": "Composite"},
    "class/hwmon/hwmon1": {
        "name": "coretemp",
        **{f"temp{index}_label": label for index, label in enumerate(CORES, start=1)},
        **{f"temp{index}_input": "40000" for index in range(1, len(CORES) + 1)},
        **{f"temp{index}_crit": "100000" for index in range(1, len(CORES) + 1)},
    },
    "class/power_supply/AC": {"type": "Mains", "online": "1"},
    "class/power_supply/BAT0": {"type": "Battery", "present": "1", "status": "Full", "capacity": "100"},
}
"""What sysfs says of a laptop with five sensors of its processor, a disk, a radio, a battery and its mains."""
PROCESSOR = "class/thermal/thermal_zone1"


# ── the machine ─────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Laptop:
    """The made-up sysfs below `root`."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> Laptop:
        """Write all of it."""
        for folder, files in LAPTOP.items():
            (root / folder).mkdir(parents=True)
            for name, text in files.items():
                (root / folder / name).write_text(f"{text}\n")
        return cls(root)

    @property
    def temp(self) -> Path:
        """The processor's temperature."""
        return self.root / PROCESSOR / "temp"

    def heat(self, celsius: float) -> None:
        """Set the processor's temperature."""
        aside = self.temp.with_name(".temp")
        aside.write_text(f"{celsius * 1000:.0f}\n")
        aside.replace(self.temp)


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
@asynccontextmanager
async def daemon(  # noqa: PLR0913 - what a benchmark varies
    folder: Path,
    *,
    budget: str = DESK,
    more: str = "",
    warm_s: float = 1.0,
    worker: str = "",
    within: tuple[str, ...] = (),
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Address, float]]:
    """Run one; yield it, its address, and the seconds that it took to answer.

    `budget`, `worker` and `more` are lines of its configuration; `within` is a program that becomes the daemon's command.
    """
    file = folder / "finetuned.toml"
    text = CONFIGURATION.format(
        state=folder / "state",
        settle=SETTLE_S,
        quiet=QUIET_S,
        warm=warm_s,
        worker=worker,
        budget=budget,
        name=NAME,
        model=MODEL,
        more=more,
    )
    file.write_text(text)
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(folder / "run")}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(*within, sys.executable, "-P", "-m", "finetuned", "run", "-c", str(file)),
        env=environ,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            address = await _answering(config.load(file), environ)
        yield process, address, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _answering(loaded: config.Config, environ: dict[str, str]) -> Address:
    while True:
        try:
            address = client.find(loaded, environ)
            async with client.connected(address, timeout=1.0) as known:
                await known.request("status", timeout=1.0)
        except HostError:
            await asyncio.sleep(0.02)
        else:
            return address


async def event(known: Daemon, kind: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the next event of a kind with these fields; what comes before it is let go."""
    async for topic, payload in known.events():
        if topic == f"event/{kind}" and fields.items() <= payload.items():
            return payload
        if topic in {"event/completed", "event/failed"}:
            raise HostError(f"the task has ended before there was a {kind}: {payload}")
    raise HostError("the daemon is gone")


def drop(inbox: Path, *, copies: int = 0) -> None:
    """Drop the demo's pictures; with `copies`, also those that it tests with, and each so often."""
    for picture in (*pictures(DROPS), *(pictures(TEST) if copies else ())):
        for copy in range(max(1, copies)):
            name = f"{copy}-{picture.path.name}"
            aside = inbox / picture.label / f".{name}"
            aside.write_bytes(
                picture.path.read_bytes() + bytes(copy)
            )  # what follows a PNG's end is not looked at
            aside.rename(inbox / picture.label / name)


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that the process has used: utime and stime of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
