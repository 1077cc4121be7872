"""A whole machine whose firmware has a battery, a mains adapter and heat: does the budget see what they do?

    PYTHONPATH=tests python -m qemu [--kernel FOLDER]

QEMU emulates the machine (without KVM: any host will do), its ACPI table is `machine.dsl`, its kernel is Debian's, and
its files are the host's own, to be read only.  Through the emulator's monitor this script changes the world, and
in the guest the governor looks, then `finetuned update` and the daemon train (`guest.py`).  What they say is
compared with what was put in.

Wanted, on a Debian of amd64 (nothing is installed by this script; the kernel is fetched with apt-get download):

    apt-get install --no-install-recommends qemu-system-x86 acpica-tools busybox-static kmod cpio
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qemu.machine import TOOLS, booted, fetch_kernel
from qemu.story import HEAD, INTERVAL_S, STORY, World, paced, row, unlike, untimely, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qemu.machine import Guest
    from qemu.story import Step

Waves = Sequence[tuple[float, World]]
CALM = World(charge=80, mains=True, celsius=55)
WARM = World(charge=50, mains=False, celsius=71)
HOT = replace(CALM, celsius=90)
AWAY = [
    (delay_s, replace(CALM, charge=charge, mains=False)) for delay_s, charge in ((4, 80), (24, 50), (32, 25))
]
BACK = replace(CALM, charge=25)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# ── the governor ────────────────────────────────────────────────────────────────────────────────
def play(guest: Guest, step: Step, began: float) -> list[str]:
    """Look until the pace is as wanted, or the looks are used up; return what was not as it should be."""
    guest.monitor.change(step.world)
    wrong, looks, done = list[str](), 0, False
    while not done:
        time.sleep(INTERVAL_S)
        answer = guest.ask("look")
        looks += 1
        say(row(step, time.monotonic() - began, answer))
        wrong += unlike(step, answer)
        done = paced(step, answer) or looks == step.looks[1]
    return wrong + untimely(step, looks, answer)


def look(guest: Guest) -> list[str]:
    """Play the story before the governor; return what was not as it should be."""
    say(f"\nthe governor looks every {INTERVAL_S:g} s:\n\n{HEAD}")
    began = time.monotonic()
    return [fault for step in STORY for fault in play(guest, step, began)]


def ask(guest: Guest) -> list[str]:
    """Ask the command on battery and in some heat; return what was not as it should be."""
    guest.monitor.change(WARM)
    answer = guest.ask("budget")
    say(f"\n`finetuned budget` at {words(WARM).strip()}:\n\n{answer['table']}")
    read = {zone["name"]: zone["reading"] for zone in answer["zones"]}
    right = read["battery"] == WARM.charge and read["thermal"] == WARM.celsius
    return [] if right else [f"the command reads {read}"]


# ── real training ───────────────────────────────────────────────────────────────────────────────
def train(guest: Guest, command: str, waves: Mapping[str, Waves]) -> list[dict[str, Any]]:
    """Train in the guest; each event that `waves` names changes the world, after so many seconds; return the events."""
    guest.monitor.change(CALM)
    guest.send(command)
    began, told = time.monotonic(), list[dict[str, Any]]()

    def change(world: World) -> None:
        guest.monitor.change(world)
        say(f"{time.monotonic() - began:4.0f}  → {words(world).strip()}")

    while not told or told[-1]["type"] != "end":
        event = guest.answer()
        told.append(event)
        say(f"{time.monotonic() - began:4.0f}  {_told(event)}")
        for delay_s, world in waves.get(event["type"], ()):
            threading.Timer(delay_s, change, [world]).start()
    return told


def _told(event: dict[str, Any]) -> str:
    wanted = ("type", "pace", "duty", "reasons", "reading", "trip", "durationSeconds", "after", "sha256")
    return "  ".join(str(event[key]) for key in wanted if event.get(key) not in (None, []))


def heat(guest: Guest) -> list[str]:
    """Update undisturbed and through a wave of heat; return what was not as it should be."""
    say("\n`finetuned update`, undisturbed:\n")
    calm = train(guest, "update 60", {})
    say("\n`finetuned update` through a wave of heat:\n")
    hot = train(guest, "update 60", {"trainingBegin": [(8, HOT)], "paused": [(8, CALM)]})
    return unequal(calm, hot) + held(hot, "thermal", float(HOT.celsius))


def drain(guest: Guest) -> list[str]:
    """Let the daemon train while the mains is away; return what was not as it should be."""
    say("\nthe daemon, undisturbed:\n")
    calm = train(guest, "daemon 400", {})
    say("\nthe daemon, while the mains is away:\n")
    away = train(guest, "daemon 400", {"trainingBegin": AWAY, "paused": [(8, BACK)]})
    return unequal(calm, away) + held(away, "battery", float(BACK.charge))


def unequal(calm: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the bytes of two results."""
    return [] if calm[-1] == other[-1] and calm[-1]["sha256"] else ["the results differ"]


def held(told: Sequence[dict[str, Any]], reason: str, reading: float) -> list[str]:
    """Return what is wrong with the one pause that there should be."""
    moves = [event for event in told if event["type"] in {"paused", "resumed"}]
    if [event["type"] for event in moves] != ["paused", "resumed"]:
        return [f"{reason}: not held and let go, once"]
    seen = moves[0]["reasons"], moves[0]["reading"]
    return [] if seen == ([reason], reading) else [f"{reason}: held for {seen}"]


# ── all of it ───────────────────────────────────────────────────────────────────────────────────
def run(folder: Path, kernel: Path) -> list[str]:
    """Boot, play, train; return what was not as it should be."""
    began = time.monotonic()
    with booted(folder, kernel, STORY[0].world) as guest:
        say(f"{guest.heard().strip()} after {time.monotonic() - began:.0f} s; it shows:\n")
        for path, value in guest.ask("files").items():
            say(f"  {path:55} {value}")
        return ask(guest) + look(guest) + heat(guest) + drain(guest)


def main() -> int:
    """Return 0 where everything was as it should be."""
    parser = argparse.ArgumentParser(description="The budget on a live ACPI battery, mains adapter and heat.")
    parser.add_argument("--kernel", type=Path, help="an unpacked linux-image of Debian; default: fetched")
    kernel = parser.parse_args().kernel
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        say(f"not here: {', '.join(missing)}.{(__doc__ or '').partition('Wanted')[2]}")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrong = run(folder, kernel.resolve() if kernel else fetch_kernel(folder))
    say("\n".join(("\nnot as it should be:", *wrong)) if wrong else "\neverything is as it was put in")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
