"""Made-up trees of sysfs, and a namespace in which they stand where the kernel's own stood."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from shared import missing

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = ("thermal", "hwmon", "power_supply")
OVER_SYS = """
mount -t tmpfs none /sys/class || exit
for name in thermal hwmon power_supply; do
    mkdir "/sys/class/$name" && mount --bind "$1/class/$name" "/sys/class/$name" || exit
done
shift && exec "$@"
"""


def write(folder: Path, **files: str) -> Path:
    """Write files of one line each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def thermal(root: Path, index: int, **files: str) -> Path:
    """Write a thermal zone."""
    return write(root / "class" / "thermal" / f"thermal_zone{index}", **files)


def chip(root: Path, index: int, **files: str) -> Path:
    """Write a chip of hwmon."""
    return write(root / "class" / "hwmon" / f"hwmon{index}", **files)


def supply(root: Path, name: str, **files: str) -> Path:
    """Write a power supply."""
    return write(root / "class" / "power_supply" / name, **files)


def battery(root: Path, name: str = "BAT0", **files: str) -> Path:
    """Write a battery that discharges."""
    return supply(root, name, **{"type": "Battery", "status": "Discharging", "capacity": "55"} | files)


def device(root: Path, address: str, *, status: str = "active", control: str = "on", **files: str) -> Path:
    """Write a PCI device, as NVIDIA's graphics processors look."""
    folder = write(
        root / "bus" / "pci" / "devices" / address, **{"vendor": "0x10de", "class": "0x030000"} | files
    )
    write(folder / "power", runtime_status=status, control=control, runtime_usage="1")
    return folder


def trips(*kinds_and_degrees: tuple[str, float]) -> dict[str, str]:
    """Return the files of a zone's trip points, from their kinds and degrees."""
    files: dict[str, str] = {}
    for index, (kind, degrees) in enumerate(kinds_and_degrees):
        files |= {
            f"trip_point_{index}_type": kind,
            f"trip_point_{index}_temp": str(round(degrees * 1000)),
        }
    return files


def over_sys(root: Path, script: str, *arguments: str) -> list[str]:
    """Run a Python script where the tree's classes stand in /sys/class, and return the lines that it prints."""
    for name in CLASSES:
        (root / "class" / name).mkdir(parents=True, exist_ok=True)
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OVER_SYS, "sh", str(root)]
    try:
        allowed = subprocess.run([*namespace, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        missing("left out: there is no unshare here (util-linux)")
    if allowed.returncode:
        missing(f"left out: no mount namespace here ({allowed.stderr.decode().strip()})")
    command = [*namespace, sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
