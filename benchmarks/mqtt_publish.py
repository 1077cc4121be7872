"""Publish 1,000 mini-batch events a second and say what that cost: `python mqtt_publish.py WAY PORT`, for `mqtt_cost.py`.

The ways: `paho` and `aiomqtt` as they are, and `finetuned`: our outbox and bridge, with a ledger behind them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import msgspec

from finetuned.edge.broker import LOOPBACK, Address
from finetuned.service.events import MiniBatchEnd
from finetuned.service.stamps import timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

RATE, SECONDS, TICK_S = 1000, 10, 0.001
NODE, TOPIC = "n", "finetuned/n/event/miniBatchEnd"


def event(step: int) -> MiniBatchEnd:
    """Return what a task says of a mini-batch."""
    metrics = {"epochIndex": 1, "miniBatchIndex": step, "lossValue": 0.25}
    task = "01JD8Q00000000000000000000"
    return MiniBatchEnd(
        ts=timestamp(time.time()), node=NODE, model="digits", task=task, attempt=1, step=step, metrics=metrics
    )


@asynccontextmanager
async def by_paho(port: int) -> AsyncIterator[Callable[[MiniBatchEnd], None]]:
    """Publish with paho, whose thread writes."""
    from paho.mqtt import client as paho  # noqa: PLC0415 - one contender at a time

    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect(LOOPBACK, port)
    client.loop_start()

    def publish(said: MiniBatchEnd) -> None:
        client.publish(TOPIC, msgspec.json.encode(said), 0)

    yield publish
    client.disconnect()
    client.loop_stop()


@asynccontextmanager
async def by_aiomqtt(port: int) -> AsyncIterator[Callable[[MiniBatchEnd], None]]:
    """Publish with aiomqtt from a queue, as a bridge has to."""
    queue: asyncio.Queue[MiniBatchEnd] = asyncio.Queue()

    async def send(client: aiomqtt.Client) -> None:
        while True:
            await client.publish(TOPIC, msgspec.json.encode(await queue.get()), 0)

    async with aiomqtt.Client(LOOPBACK, port) as client:
        sending = asyncio.create_task(send(client))
        yield queue.put_nowait
        sending.cancel()


@asynccontextmanager
async def by_finetuned(port: int) -> AsyncIterator[Callable[[MiniBatchEnd], None]]:
    """Publish through outbox and bridge."""
    from finetuned.edge.bucket import Bucket  # noqa: PLC0415
    from finetuned.edge.config import Mqtt  # noqa: PLC0415
    from finetuned.edge.mqtt import Bridge  # noqa: PLC0415
    from finetuned.edge.requests import Memory  # noqa: PLC0415
    from finetuned.service.ledger import Ledger  # noqa: PLC0415
    from finetuned.service.outbox import Outbox  # noqa: PLC0415

    async def nothing(*_: object) -> None:
        return None

    with tempfile.TemporaryDirectory() as folder:
        async with Ledger.open(Path(folder) / "ledger.db") as ledger:
            outbox = Outbox(ledger)
            bridge = Bridge(
                address=Address(host=LOOPBACK, port=port),
                mqtt=Mqtt(batch_events_per_second=RATE),
                node=NODE,
                outbox=outbox,
                handler=nothing,
                memory=Memory(recall=nothing, remember=nothing),  # type: ignore[arg-type]
            )
            # Nothing is dropped: the others drop nothing either.
            bridge._batches = Bucket(rate=2 * RATE, burst=RATE, clock=time.monotonic)  # noqa: SLF001
            running = asyncio.create_task(bridge.run())
            await asyncio.sleep(1.0)
            yield outbox.progress
            await outbox.drained()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def by_nobody(_: int) -> AsyncIterator[Callable[[MiniBatchEnd], None]]:
    """Publish nothing: what the making of events and the waiting cost."""

    def make(said: MiniBatchEnd) -> None:
        msgspec.json.encode(said)

    yield make


WAYS = {"nobody": by_nobody, "paho": by_paho, "aiomqtt": by_aiomqtt, "finetuned": by_finetuned}


async def main(way: str, port: int) -> float:
    """Return µs of CPU per event."""
    async with WAYS[way](port) as publish:
        began, used, step = time.monotonic(), time.process_time(), 0
        while (passed := time.monotonic() - began) < SECONDS:
            while step < passed * RATE:
                step += 1
                publish(event(step))
            await asyncio.sleep(TICK_S)
        await asyncio.sleep(0.1)
        return 1e6 * (time.process_time() - used) / step


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]))))
