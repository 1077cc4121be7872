"""What the bridge costs: CPU per event beside bare paho and bare aiomqtt, and the daemon that is connected and has nothing to do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING

from daemons import daemon
from governor import Figure
from mqtt_places import HERE, Mosquitto, cpu_of, cpu_of_threads, ear, mosquitto, noting_path
from mqtt_publish import RATE, WAYS

from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ROUNDS, IDLE_S, SETTLE_S, SHOWN = 3, 60.0, 5.0, 8
HOW = "The contenders are fed the same events at the same pace, each in a process of its own; the last lines come of a daemon that counts."


async def measured(folder: Path) -> list[Figure]:
    """Measure both."""
    async with mosquitto(folder / "broker") as broker, ear(folder, broker.address, "finetuned/+"):
        found = await _peers(broker)
    async with mosquitto(folder / "idle") as broker:
        idle_mosquitto = await _idle(folder / "external", broker)
        causes = await _causes(folder / "counted", broker)
    return [*found, idle_mosquitto, await _idle(folder / "embedded", None), *causes]


# ── per event ───────────────────────────────────────────────────────────────────────────────────
async def _peers(broker: Mosquitto) -> list[Figure]:
    """Let the contenders publish in turns; the cost of making the events is taken off."""
    rounds = [{way: await _published(way, broker.port) for way in WAYS} for _ in range(ROUNDS)]
    found = {way: median(each[way] - each["nobody"] for each in rounds) for way in WAYS if way != "nobody"}
    peers = ", ".join(f"{way} {us:.0f} µs" for way, us in found.items())
    return [
        Figure(
            what=f"CPU for each of {RATE:,} events a second, from the outbox to mosquitto",
            value=f"{found['finetuned'] / found['aiomqtt']:.2f} × aiomqtt, {found['finetuned'] / found['paho']:.2f} × paho",
            remark=f"{peers}; without making and encoding the event; medians of {ROUNDS} in turns",
        )
    ]


async def _published(way: str, port: int) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "mqtt_publish.py"), way, str(port), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise HostError(f"mqtt_publish.py {way} has failed")
    return float(said.splitlines()[-1])  # the log speaks before


# ── at idle ─────────────────────────────────────────────────────────────────────────────────────
@asynccontextmanager
async def _alone(folder: Path, broker: Mosquitto | None, within: tuple[str, ...] = ()) -> AsyncIterator[int]:
    """Run a daemon that has nothing to do, and to which nobody is connected; yield its process."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    section = f'[mqtt]\nhost = "{broker.address.host}"\nport = {broker.port}' if broker else ""
    async with daemon(folder, more=section, within=within) as (process, _, _):
        await asyncio.sleep(SETTLE_S)
        yield process.pid


async def _idle(folder: Path, broker: Mosquitto | None) -> Figure:
    async with _alone(folder, broker) as pid:
        before = cpu_of(pid)
        await asyncio.sleep(IDLE_S)
        share = (cpu_of(pid) - before) / IDLE_S
    return Figure(
        what=f"daemon at idle, {'connected to mosquitto' if broker else 'with the embedded broker'}",
        value=f"{share:.3%} of a core",
        remark=f"all threads, over {IDLE_S:g} s; no other client",
    )


async def _causes(folder: Path, broker: Mosquitto) -> list[Figure]:
    """Return what wakes an idle daemon: each callback's own time, and that of what is no callback."""
    within = ("env", f"PYTHONPATH={noting_path()}", f"FINETUNED_NOTES={folder}")
    async with _alone(folder, broker, within) as pid:
        os.kill(pid, signal.SIGUSR1)
        before = cpu_of_threads(pid)
        await asyncio.sleep(IDLE_S)
        after = cpu_of_threads(pid)
        os.kill(pid, signal.SIGUSR2)
        await asyncio.sleep(1.0)
    counted: dict[str, tuple[int, float]] = json.loads((folder / "callbacks.json").read_text())
    rows = sorted(counted.items(), key=lambda row: -row[1][1])
    threads = {thread: used - before.get(thread, 0.0) for thread, used in after.items()}
    loop_s = threads.pop(str(pid)) - sum(taken for _, taken in counted.values())
    return [
        *(_cause(name, taken, f"{runs / IDLE_S:.2f} a second") for name, (runs, taken) in rows[:SHOWN]),
        _cause("other threads", sum(threads.values()), f"{len(threads)} of them"),
        _cause("the loop itself", loop_s, "epoll, timers, and the counting of all this"),
    ]


def _cause(name: str, taken_s: float, remark: str) -> Figure:
    return Figure(what=f"of it: `{name}`", value=f"{taken_s / IDLE_S:.4%} of a core", remark=remark)
