"""What 1,000 subscribed batch events a second cost a training: two daemons, one with and one without, in turns."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from governor import Figure
from mqtt_places import Trainer, cpu_of, ear, mosquitto, pin, trainer

if TYPE_CHECKING:
    from pathlib import Path

HOW = "Two daemons with a warm worker each and one thread, the same task in turns; a subscriber (paho) in a process of its own hears all events of the one, the other sends no batch events and nobody listens."
RATE, ROUNDS, COPIES = 1000, 9, 5
QUICK = ("quick", {"epochs": 60, "miniBatchSize": 1})
SLOW = ("slow", {"epochs": 600, "miniBatchSize": 256})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A training: its length, the CPU time of its worker, its mini-batches."""

    wall_s: float
    cpu_s: float
    steps: int


async def run(each: Trainer, parameters: dict[str, float]) -> Run:
    """Train once."""
    before = cpu_of(each.worker)
    wall_s, steps = await each.train(**parameters)
    return Run(wall_s=wall_s, cpu_s=cpu_of(each.worker) - before, steps=steps)


async def in_turns(loud: Trainer, silent: Trainer, parameters: dict[str, float]) -> list[tuple[Run, Run]]:
    """Train with and without, each time in another order."""
    pairs = []
    for number in range(ROUNDS):
        if number % 2:
            without = await run(silent, parameters)
            pairs.append((await run(loud, parameters), without))
        else:
            pairs.append((await run(loud, parameters), await run(silent, parameters)))
    return pairs


async def measured(folder: Path) -> list[Figure]:
    """Measure with all on one core but the workers, which have the other; and wherever the kernel puts them."""
    cores = sorted(os.sched_getaffinity(0))
    found = []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[0]})
        try:
            found += await _measured(folder / "pinned", worker_core=cores[1])
        finally:
            os.sched_setaffinity(0, set(cores))
    return found + await _measured(folder / "free", worker_core=None)


async def _measured(folder: Path, worker_core: int | None) -> list[Figure]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        brokers = [await enter(mosquitto(folder / name)) for name in ("a", "b")]
        loud, silent = [
            await enter(
                trainer(
                    folder / name,
                    mqtt=f'host = "{broker.address.host}"\nport = {broker.port}\nbatch_events_per_second = {rate}',
                    copies=COPIES,
                )
            )
            for name, broker, rate in (("loud", brokers[0], RATE), ("silent", brokers[1], 0))
        ]
        listener = await enter(ear(folder, brokers[0].address, loud.base))
        for each in (loud, silent):
            await each.train(epochs=2)
            if worker_core is not None:
                pin(each.worker, worker_core)
        pairs = {name: await in_turns(loud, silent, parameters) for name, parameters in (QUICK, SLOW)}
        heard = sum(message.topic.endswith("/miniBatchEnd") for message in await listener.stop())
    where = "free" if worker_core is None else "workers on a core of their own"
    total = sum(one.wall_s for found in pairs.values() for one, _ in found)
    return [_figure(name, where, found) for name, found in pairs.items()] + [
        Figure(
            what=f"events heard ({where})",
            value=f"{heard / total:.0f} a second",
            remark=f"over {total:.0f} s of training",
        )
    ]


def _figure(name: str, where: str, pairs: list[tuple[Run, Run]]) -> Figure:
    walls = [without.wall_s / one.wall_s for one, without in pairs]
    cpus = [without.cpu_s / one.cpu_s for one, without in pairs]
    _, without = pairs[0]
    each_ms = 1000 * median(run.wall_s for _, run in pairs) / without.steps
    return Figure(
        what=f"speed with {RATE:,} subscribed batch events a second, {name} mini-batches, {where}",
        value=f"{median(walls):.1%} of that without ({min(walls):.1%} to {max(walls):.1%}); by CPU time {median(cpus):.1%}",
        remark=f"{1000 / each_ms:,.0f} mini-batches of {each_ms:.3f} ms a second, {without.steps:,} in a task; "
        f"medians of {len(pairs)} in turns",
    )
