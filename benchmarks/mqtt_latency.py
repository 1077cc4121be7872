"""How soon a subscriber hears: from the end of a mini-batch, an epoch or a task in the worker to a callback in another process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from governor import Figure
from mqtt_places import Heard, ear, mosquitto, noting_path, trainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOW = "From the moment at which the report leaves the work in the worker process to a subscriber's callback (paho) in another, by the clock that both share; what is more than the rate allows is dropped, not late."
COPIES = 3
TASK = {"epochs": 30, "miniBatchSize": 1}
TRIALS = ((5.0, 24), (100.0, 8), (1000.0, 8))
"""Batch events a second, and how many tasks of a second or two."""
KINDS = {"MiniBatchEnd": "miniBatchEnd", "EpochEnd": "epochEnd", "Completed": "completed"}
MOSQUITTO, PROMPT, EMBEDDED = "mosquitto", "mosquitto with set_tcp_nodelay", "embedded broker"
PATIENCE_S = 1.0
"""How long the subscriber may take for what we have heard already."""
QOS = {"miniBatchEnd": 0, "epochEnd": 1, "completed": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Milliseconds of those that were heard, sorted; `said` counts what the worker said."""

    said: int
    ms: list[float]

    def at(self, share: float) -> float:
        """Return a quantile."""
        return self.ms[min(len(self.ms) - 1, int(share * len(self.ms)))]


async def measured(folder: Path) -> list[Figure]:
    """Measure over mosquitto, as it is and told to be prompt, and over the embedded broker."""
    found = []
    for broker in (MOSQUITTO, PROMPT, EMBEDDED):
        for rate, tasks in TRIALS:
            delays = await _measured(folder / f"{broker} {rate:g}", broker, rate, tasks)
            kinds = KINDS.values() if rate == TRIALS[-1][0] else ("miniBatchEnd",)
            found += [_figure(kind, broker, rate, delays[kind]) for kind in kinds]
    return found


async def _measured(folder: Path, broker: str, rate: float, tasks: int) -> dict[str, Delays]:
    notes = folder / "notes"
    await asyncio.to_thread(notes.mkdir, parents=True)
    async with AsyncExitStack() as stack:
        mqtt = f"batch_events_per_second = {rate}"
        if broker != EMBEDDED:
            there = await stack.enter_async_context(mosquitto(folder / "broker", prompt=broker == PROMPT))
            mqtt += f'\nhost = "{there.address.host}"\nport = {there.port}'
        noting = ("env", f"PYTHONPATH={noting_path()}", f"FINETUNED_NOTES={notes}")
        trains = await stack.enter_async_context(trainer(folder, mqtt=mqtt, copies=COPIES, within=noting))
        await trains.train(epochs=2)  # a worker is warm from now on
        listener = await stack.enter_async_context(ear(folder, trains.known.address, trains.base))
        for _ in range(tasks):
            await trains.train(**TASK)
        await asyncio.sleep(PATIENCE_S)
        heard = await listener.stop()
    return {kind: _delays(said, kind, dict(_noted(notes)), heard) for said, kind in KINDS.items()}


def _noted(notes: Path) -> Iterator[tuple[tuple[str, str, str], int]]:
    """Yield when the worker had what: by type, task and step."""
    for file in notes.glob("worker-*"):
        for line in file.read_text().splitlines():
            kind, task, step, at_ns = line.split()
            yield (kind, task, step if kind != "Completed" else ""), int(at_ns)


def _delays(said: str, kind: str, noted: dict[tuple[str, str, str], int], heard: list[Heard]) -> Delays:
    mine = [message for message in heard if message.topic.endswith(f"/{kind}")]
    tasks = {message.payload["task"] for message in heard}
    ms = [
        (message.at_ns - noted[said, message.payload["task"], str(message.payload.get("step", ""))]) / 1e6
        for message in mine
    ]
    return Delays(said=sum(key[0] == said and key[1] in tasks for key in noted), ms=sorted(ms))


def _figure(kind: str, broker: str, rate: float, delays: Delays) -> Figure:
    return Figure(
        what=f"latency of {kind} (QoS {QOS[kind]}) at {rate:,g} batch events a second, {broker}",
        value=f"p50 {delays.at(0.5):.1f} ms, p99 {delays.at(0.99):.1f} ms, at most {delays.ms[-1]:.1f} ms",
        remark=f"{len(delays.ms):,} heard of {delays.said:,} that the worker said",
    )
