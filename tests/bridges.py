"""A bridge with a real outbox and ledger behind it, a subscriber in front of it, and a line in between that can fail."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from brokers import client
from finetuned.edge.broker import LOOPBACK, Address
from finetuned.edge.config import Mqtt
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.mqtt import SINK, Bridge, Patience
from finetuned.edge.requests import Handler, Memory
from finetuned.errors import RequestError
from finetuned.service.events import EpochEnd, MiniBatchEnd, SampleAccepted
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_outcomes import append_outcomes, sink_cursor
from finetuned.service.ledger_requests import recall, remember
from finetuned.service.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import aiomqtt

    from finetuned.edge.announcing import Announcer
    from finetuned.service.ledger_requests import Answer

NODE = "n"
TS = "2026-11-23T04:50:12.418Z"
BASE = "finetuned/n"
DEADLINE_S = 20
SLOW = 100
QUICK = Patience(first_s=0.01, most_s=0.05, answer_s=10.0)


# ── events ──────────────────────────────────────────────────────────────────────────────────────
def accepted(name: str) -> SampleAccepted:
    return SampleAccepted(ts=TS, node=NODE, model="hands", label="rock", name=name)


def batch(step: int) -> MiniBatchEnd:
    return MiniBatchEnd(ts=TS, node=NODE, task="t", attempt=1, step=step, metrics={"miniBatchIndex": step})


def epoch(step: int) -> EpochEnd:
    metrics = {"epochIndex": step, "lossValue": 0.5}
    return EpochEnd(
        ts=TS, node=NODE, task="t", attempt=1, step=step, metrics=metrics, last_mini_batch_loss=0.4
    )


# ── behind the bridge ───────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Behind:
    """What a test does to the daemon behind a bridge."""

    ledger: Ledger
    outbox: Outbox
    bridge: Bridge
    calls: list[tuple[str, dict[str, Any]]]

    async def happen(self, *names: str) -> None:
        """Let an outcome happen for each name."""
        await self.ledger.run(append_outcomes, [accepted(name) for name in names])
        self.outbox.outcomes_written()

    async def acknowledged(self) -> int:
        """Return the last outcome that the bridge has acknowledged."""
        return await self.ledger.run(sink_cursor, SINK)


@asynccontextmanager
async def bridged(  # noqa: PLR0913 - the bridge's own
    address: Address,
    folder: Path,
    *,
    mqtt: Mqtt | None = None,
    handler: Handler | None = None,
    patience: Patience = QUICK,
    clock: Callable[[], float] = time.monotonic,
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep,
    disclosure: Disclosure | None = None,
    announcers: tuple[Announcer, ...] = (),
) -> AsyncIterator[Behind]:
    """Run a bridge over the ledger in `folder`; without a `handler` requests are counted."""
    calls: list[tuple[str, dict[str, Any]]] = []

    async def obey(verb: str, body: dict[str, Any]) -> dict[str, Any]:
        calls.append((verb, body))
        if body.get("model") == "unknown":
            raise RequestError("there is no model unknown; there are: hands")
        return {"call": len(calls)}

    async with Ledger.open(folder / "ledger.db") as ledger:
        outbox = Outbox(ledger)

        async def known(transaction: str) -> Answer | None:
            return await ledger.run(recall, transaction)

        async def keep(transaction: str, answer: Answer) -> Answer:
            return await ledger.run(remember, transaction, answer, at=TS, synchronised=True)

        bridge = Bridge(
            address=address,
            mqtt=mqtt or Mqtt(),
            node=NODE,
            outbox=outbox,
            handler=handler or obey,
            memory=Memory(recall=known, remember=keep),
            disclosure=disclosure or Disclosure(),
            announcers=announcers,
            patience=patience,
            clock=clock,
            rest=rest,
        )
        running = asyncio.create_task(bridge.run())
        try:
            yield Behind(ledger=ledger, outbox=outbox, bridge=bridge, calls=calls)
        finally:
            running.cancel()
            outcome = (await asyncio.gather(running, return_exceptions=True))[0]
            assert isinstance(outcome, asyncio.CancelledError), outcome


# ── in front of it ──────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message as it arrived; `topic` is the part below finetuned/n/."""

    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def json(self) -> dict[str, Any]:
        """The payload as an object."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


@dataclass(kw_only=True)
class Subscriber:
    """Somebody on the broker who hears everything of the node."""

    client: aiomqtt.Client

    async def hear(self, *topics: str, payload: bytes | None = None) -> Heard:
        """Return the next message on one of these topics (on any, without); what comes before it is dropped."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message = await anext(self.client.messages)
                heard = Heard(
                    topic=str(message.topic).removeprefix(f"{BASE}/"),
                    payload=message.payload,
                    qos=message.qos,
                    retain=message.retain,
                )
                if (not topics or heard.topic in topics) and payload in {None, heard.payload}:
                    return heard

    async def hear_names(self, until: str) -> list[str]:
        """Return the names of the accepted samples up to this one, repeats by id dropped."""
        names: dict[int, str] = {}
        while until not in names.values():
            event = (await self.hear("event/sampleAccepted")).json
            names.setdefault(event["id"], event["name"])
        return list(names.values())

    async def ask(self, verb: str, payload: bytes, *, retain: bool = False) -> dict[str, Any]:
        """Publish a request; return the response."""
        await self.client.publish(f"{BASE}/request/{verb}", payload, qos=1, retain=retain)
        return (await self.hear(f"response/{verb}")).json

    async def online(self) -> None:
        """Wait until the bridge has said that it is there."""
        await self.hear("availability", payload=b"online")


@asynccontextmanager
async def subscribed(address: Address, *filters: str) -> AsyncIterator[Subscriber]:
    """Subscribe to everything below the node, or to filters."""
    async with client(address) as connection:
        for each in filters or (f"{BASE}/#",):
            await connection.subscribe(each, qos=1)
        yield Subscriber(client=connection)


async def retained(address: Address) -> dict[str, bytes]:
    """Return what the broker retains below the node, by the topic below it."""
    found: dict[str, bytes] = {}
    async with subscribed(address) as subscriber:
        # Brokers send what is retained first.
        await subscriber.client.publish(f"{BASE}/end", b"", qos=1)
        while (heard := await subscriber.hear()).topic != "end":
            found[heard.topic] = heard.payload
    return found


# ── in between ──────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Line:
    """A line to a broker on which what the broker says (`deaf`) or both say (`dead`) can be lost.

    It can be slow, in bytes that go at once, and be cut after so many bytes of the broker's.
    """

    address: Address
    deaf: bool = False
    dead: bool = False
    at_once: int = 65536
    cut_after: int | None = None
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until an end of it is closed."""
        async with AsyncExitStack() as stack:
            stack.callback(writer.close)
            try:
                back, forth = await asyncio.open_connection(self.address.host, self.address.port)
            except OSError:  # the broker is down
                return
            stack.callback(forth.close)
            there = asyncio.create_task(self._copy(reader, forth, losing=False))
            here = asyncio.create_task(self._copy(back, writer, losing=True))
            await asyncio.wait({there, here}, return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            here.cancel()
            await asyncio.gather(there, here, return_exceptions=True)

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, losing: bool
    ) -> None:
        while data := await source.read(self.at_once):
            if self.dead or (losing and self.deaf):
                self.lost.set()
                continue
            if losing and self.cut_after is not None:
                data, self.cut_after = data[: self.cut_after], self.cut_after - len(data)
            target.write(data)
            await target.drain()
            if self.cut_after is not None and self.cut_after <= 0:
                self.cut_after = None
                self.lost.set()
                return
            if self.at_once < SLOW:
                await asyncio.sleep(0.002)  # what makes it slow


@asynccontextmanager
async def line_to(address: Address) -> AsyncIterator[tuple[Line, Address]]:
    """Lay a line to the broker; yield it, and the address of its near end."""
    line = Line(address=address)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(line.carry(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    try:
        yield line, replace(address, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
