"""What the budget costs, and how soon it acts: the figures of the governor for `figures.py`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from daemons import NAME, Laptop, daemon, drop, event

from finetuned.edge import client
from finetuned.edge.budget_sections import Budget, CpuBusy, Schedule
from finetuned.edge.limits import budget_of, machine_of
from finetuned.service import plugins
from finetuned.service.governor import Governor

if TYPE_CHECKING:
    from finetuned.edge.client import Daemon

INTERVAL_S = Budget().interval_s
TRIALS, ROUNDS = 20, 7
LOOKS, BREATH_S = 100, 0.2
QUICK = 'interval_s = 0.05\nmin_paused_s = 0.0\nmin_running_s = 0.0\nsysfs = "{sysfs}"\n'
LONG = {"epochs": 1000, "miniBatchSize": 1}
NOTHING = 'sysfs = "/nonexistent"\nproc = "/nonexistent"\ninterval_s = 3600.0\ndisk.min_free_mb = 0'
DUTY = Path(__file__).with_name("duty.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A line of the table; `remark` says how it was measured."""

    what: str
    value: str
    remark: str = ""


# ── how soon ────────────────────────────────────────────────────────────────────────────────────
async def reactions(folder: Path) -> list[float]:
    """Return the seconds from a look that finds it hot to the event that the worker stands, several times."""
    laptop = Laptop.made(folder / "sys")
    more = f"[models.{NAME}.parameters]\nepochs = 1000\nminiBatchSize = 1\n"
    async with (
        daemon(folder, budget=QUICK.format(sysfs=laptop.root), more=more) as (_, address, _),
        client.connected(address, events=True) as known,
    ):
        await asyncio.to_thread(drop, folder / "state" / "inbox" / NAME, copies=2)
        await event(known, "epochEnd")
        return [await _reaction(laptop, known) for _ in range(TRIALS)]


async def _reaction(laptop: Laptop, known: Daemon) -> float:
    """Heat, wait for the pause, cool, wait for full speed.

    The sensor is a FIFO for one look: it is open to write at the moment in which it is read.
    """
    fifo = laptop.temp.with_name(".fifo")
    os.mkfifo(fifo)
    fifo.replace(laptop.temp)
    looked = await asyncio.to_thread(_answer, laptop, b"90000\n")
    await event(known, "paused")
    reaction = time.monotonic() - looked
    laptop.heat(40)
    await event(known, "paceChanged", pace="full")
    return reaction


def _answer(laptop: Laptop, said: bytes) -> float:
    """Answer one look, let the later ones find the same, and return when it was."""
    with laptop.temp.open("wb", buffering=0) as fifo:
        looked = time.monotonic()
        laptop.heat(int(said) / 1000)
        fifo.write(said)
    return looked


# ── how much ────────────────────────────────────────────────────────────────────────────────────
async def seconds_of_look(folder: Path) -> float:
    """Return the seconds of CPU that one look takes, with every sensor that comes with finetuned.

    Between looks there is a pause, as there is in life: what a look needs is not in the caches any more.
    """
    section = Budget(
        sysfs=str(Laptop.made(folder / "sys").root),
        cpu_busy=CpuBusy(enabled=True),
        schedule=Schedule(windows=("00:00-24:00",)),
    )
    governor = Governor(plugins.load().sensors(machine_of(section, folder)), budget_of(section))
    for _ in range(3):
        await governor.look()
    spent = 0.0
    for _ in range(LOOKS):
        await asyncio.sleep(BREATH_S)
        began = time.process_time()
        await governor.look()
        spent += time.process_time() - began
    return spent / LOOKS


async def speeds(folder: Path) -> list[float]:
    """Return how fast a training is with the budget on and never tripped, as shares of one without, in turns."""
    laptop = Laptop.made(folder / "sys")
    (folder / "with").mkdir()
    (folder / "without").mkdir()
    async with AsyncExitStack() as stack:
        watched = await _trainer(stack, folder / "with", f'sysfs = "{laptop.root}"')
        alone = await _trainer(stack, folder / "without", NOTHING)
        for each in (watched, alone):
            await _training_s(each)
        return [await _training_s(alone) / await _training_s(watched) for _ in range(ROUNDS)]


async def _trainer(stack: AsyncExitStack, folder: Path, budget: str) -> Daemon:
    _, address, _ = await stack.enter_async_context(daemon(folder, budget=budget, warm_s=600.0))
    known = await stack.enter_async_context(client.connected(address, events=True))
    drop(folder / "state" / "inbox" / NAME)
    await event(known, "completed")
    return known


async def _training_s(known: Daemon) -> float:
    await known.request("train", {"model": NAME, "parameters": LONG})
    return float((await event(known, "completed"))["durationSeconds"])


def duties() -> list[Figure]:
    """Return what `duty.py` prints: lines that begin with spaces, below headings that don't."""
    done = subprocess.run([sys.executable, DUTY], capture_output=True, text=True, check=True)  # noqa: S603 - a file beside this
    found, heading = [], ""
    for line in done.stdout.splitlines():
        if not line.startswith(" "):
            heading = line
            continue
        what, _, said = line.strip().partition(": ")
        value, _, remark = said.partition(" (")
        found.append(Figure(what=f"{heading}: {what}", value=value, remark=remark.removesuffix(")")))
    return found


# ── all of it ───────────────────────────────────────────────────────────────────────────────────
async def measured(folder: Path) -> list[Figure]:
    """Measure the governor."""
    for name in ("reaction", "cost", "speed"):
        (folder / name).mkdir(parents=True)
    found = [1000 * each for each in await reactions(folder / "reaction")]
    look_s = await seconds_of_look(folder / "cost")
    ratios = await speeds(folder / "speed")
    hour_s = look_s * 3600 / INTERVAL_S
    return [
        Figure(
            what="from a look that finds it too hot to the event that the worker stands",
            value=f"{median(found):.0f} ms, {max(found):.0f} ms at most",
            remark=f"{TRIALS} times; with the wait for the look, which is every {INTERVAL_S:g} s: "
            f"{INTERVAL_S / 2 + median(found) / 1000:.1f} s, {INTERVAL_S + max(found) / 1000:.1f} s at most",
        ),
        Figure(
            what="governor, CPU",
            value=f"{hour_s:.1f} s per hour, {hour_s / 3600:.3%} of a core",
            remark=f"{1000 * look_s:.2f} ms for each look at all sensors of a made-up laptop, every {INTERVAL_S:g} s",
        ),
        Figure(
            what="training with the budget on and never tripped",
            value=f"{median(ratios):.1%} of the speed without",
            remark=f"median of {ROUNDS} in turns, {min(ratios):.1%} to {max(ratios):.1%}",
        ),
    ]
