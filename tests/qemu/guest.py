"""Inside the guest: lines of JSON for each line that the host sends, over the second serial port.

`files` is answered with what the kernel shows in sysfs, `budget` with what the command says, `look` with what the
governor makes of it, `update N` and `daemon N` with the events of N epochs of training (`training.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tty
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.policy.budget import Budget
from finetuned.service.governor import Governor
from finetuned.service.machine import Machine
from finetuned.service.plugins import load
from qemu import training

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PORT = "/dev/ttyS1"
SYS = Path("/sys")
TRAINING = {"update": training.update, "daemon": training.daemon}
SHOWN = (
    "class/power_supply/*/type",
    "class/power_supply/*/online",
    "class/power_supply/*/status",
    "class/power_supply/*/capacity",
    "class/power_supply/*/energy_*",
    "class/thermal/*/type",
    "class/thermal/*/temp",
    "class/thermal/*/trip_point_*",
    "class/thermal/*/cur_state",
)


def files() -> dict[str, str]:
    """Return what the kernel shows, by path."""
    paths = sorted(path for pattern in SHOWN for path in SYS.glob(pattern))
    return {str(path): path.read_text().strip() for path in paths}


async def look(governor: Governor) -> dict[str, object]:
    """Return the kernel's values, and the governor's readings and verdict."""
    verdict = await governor.look()
    causes = [{"reason": c.reason, "reading": c.reading, "trip": c.trip} for c in verdict.causes]
    return {
        "pace": verdict.pace.value,
        "duty": verdict.duty,
        "cores": verdict.cores,
        "causes": causes,
        "may_start": governor.may_start().allowed,
        "readings": governor.readings,
        "warnings": governor.warnings,
        "files": files(),
    }


def budget() -> dict[str, object]:
    """Return what `finetuned budget` says, for people and for machines."""
    command = (sys.executable, "-m", "finetuned", "budget")
    people = subprocess.run(command, check=True, capture_output=True, text=True)
    machines = subprocess.run((*command, "--json"), check=True, capture_output=True, text=True)
    return {"table": people.stdout + people.stderr, "zones": json.loads(machines.stdout)["zones"]}


# ── the line to the host ────────────────────────────────────────────────────────────────────────
ASKING = {"files": files, "budget": budget}


async def answers(line: str, governor: Governor) -> AsyncIterator[object]:
    """Yield the answers to a line."""
    command, _, argument = line.partition(" ")
    if command in TRAINING:
        async for event in TRAINING[command](int(argument)):
            yield event
    elif command in ASKING:
        yield ASKING[command]()
    else:
        yield await look(governor)


async def main() -> None:
    """Answer for as long as the machine runs."""
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    governed = Budget()
    machine = Machine(sysfs=SYS, zones=tuple(zone.name for zone in governed.zones))
    governor = Governor(load().sensors(machine), governed)
    os.write(port, f"Linux {os.uname().release}\n".encode())
    with os.fdopen(os.dup(port)) as lines:
        while line := lines.readline().strip():
            async for answer in answers(line, governor):
                os.write(port, f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    asyncio.run(main())
