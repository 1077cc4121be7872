"""What happens to a bridge and its broker in each row of `fault_rows`, and what must be true afterwards."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import aiomqtt
import msgspec

from bridges import BASE, DEADLINE_S, QUICK, TS, Behind, Heard, accepted, bridged, epoch, line_to, retained
from brokers import Mosquitto, client, running
from finetuned.service.ledger_outcomes import append_outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from bridges import Line
    from brokers import BrokerProcess
    from finetuned.edge.broker import Address

ALLOWED = "\n".join(["user finetuned", f"topic readwrite {BASE}/#", ""])
PAUSE_S = 0.02
KEPT = {"availability": b"online", "state": b"{}", "model/hands/state": b"{}", "task/alive/state": b"{}"}
"""All that is retained at the end."""


@dataclass(kw_only=True)
class Collector:
    """A subscriber that comes back, and hears everything that is said while it is there."""

    address: Address
    heard: list[Heard] = field(default_factory=list)
    there: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except aiomqtt.MqttError:
                self.there.clear()
                self.gone.set()
                await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        async with client(self.address) as connection:
            await connection.subscribe(f"{BASE}/#", qos=1)
            self.gone.clear()
            self.there.set()
            async for message in connection.messages:
                topic = str(message.topic).removeprefix(f"{BASE}/")
                self.heard.append(
                    Heard(topic=topic, payload=message.payload, qos=message.qos, retain=message.retain)
                )
                self.news.set()

    async def until(self, condition: Callable[[list[Heard]], bool]) -> None:
        """Wait until this is true of what was heard."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self.heard):
                self.news.clear()
                await self.news.wait()

    def names(self) -> list[str]:
        """The names of the outcomes as they came, repeats too."""
        return [heard.json["name"] for heard in self.heard if heard.topic == "event/sampleAccepted"]


@dataclass(kw_only=True)
class Scene:
    """A bridge at work, and what a fault needs to be done to it."""

    broker: BrokerProcess
    line: Line
    behind: Behind
    collector: Collector
    gate: asyncio.Event
    rests: list[float]
    folder: Path
    told: list[str] = field(default_factory=list)
    left_out: int = 0

    async def tell(self, count: int = 5, ts: str = TS) -> None:
        """Let outcomes and an epoch happen."""
        names = [f"{len(self.told) + number}.png" for number in range(count)]
        self.told += names
        await self.behind.ledger.run(
            append_outcomes, [msgspec.structs.replace(accepted(name), ts=ts) for name in names]
        )
        self.behind.outbox.outcomes_written()
        self.behind.outbox.progress(epoch(len(self.told)))

    async def arrived(self) -> None:
        """Wait until everything that was told has been heard and is acknowledged."""
        await self.collector.until(lambda _heard: set(self.told) <= set(self.collector.names()))

        async def acknowledged() -> bool:
            return await self.behind.acknowledged() == len(self.told) + self.left_out

        await becomes(acknowledged)

    async def online_again(self, since: int) -> None:
        """Wait until the bridge said `online` after so many messages."""
        await self.collector.until(
            lambda heard: any(
                each.topic == "availability" and each.payload == b"online" and not each.retain
                for each in heard[since:]
            )
        )

    async def comes_back(self) -> None:
        """Start the broker again; the bridge comes when the subscriber is back, so that it misses nothing."""
        await self.collector.gone.wait()
        await self.broker.start()
        await self.collector.there.wait()
        self.gate.set()


# ── what happens ────────────────────────────────────────────────────────────────────────────────
async def killed(scene: Scene) -> None:
    """The broker forgets everything."""
    scene.gate.clear()
    await scene.broker.kill()
    await scene.tell()
    scene.behind.outbox.state("task/ended", None)
    await scene.comes_back()


async def restarted(scene: Scene) -> None:
    """The broker keeps what is retained."""
    scene.gate.clear()
    assert isinstance(scene.broker, Mosquitto)
    await scene.broker.leave()
    await scene.tell()
    scene.behind.outbox.state("task/ended", None)
    await scene.comes_back()


async def stopped(scene: Scene) -> None:
    """The bridge gives up on the broker, and tries again before it goes on."""
    assert isinstance(scene.broker, Mosquitto)
    scene.gate.clear()
    scene.broker.stop()
    await scene.tell()
    await _given_up(scene)
    scene.broker.go_on()
    scene.gate.set()


async def slow(scene: Scene) -> None:
    """Sixteen bytes at a time."""
    scene.line.at_once = 16
    await scene.tell()
    await scene.arrived()
    scene.line.at_once = 65536


async def silent(scene: Scene) -> None:
    """Nothing gets through, until the bridge gives up."""
    scene.gate.clear()
    scene.line.dead = True
    await scene.tell()
    await _given_up(scene)
    scene.line.dead = False
    scene.gate.set()


async def deaf(scene: Scene) -> None:
    """What the bridge says gets through."""
    scene.gate.clear()
    scene.line.deaf = True
    await scene.tell()
    await _given_up(scene)
    scene.line.deaf = False
    scene.gate.set()


async def _given_up(scene: Scene) -> None:
    before = len(scene.rests)

    async def rests() -> bool:
        return len(scene.rests) > before

    await becomes(rests)


async def cut(scene: Scene) -> None:
    """After 3, 40 and 90 bytes of the broker's."""
    for after in 3, 40, 90:
        scene.line.lost.clear()
        scene.line.cut_after = after
        await scene.tell()
        async with asyncio.timeout(DEADLINE_S):
            await scene.line.lost.wait()
    await scene.arrived()


async def denied(scene: Scene) -> None:
    """States go on."""
    await scene.tell()
    scene.behind.outbox.state("state", b"[]")
    await scene.collector.until(lambda heard: any(each.payload == b"[]" for each in heard))
    assert await scene.behind.acknowledged() == 0
    scene.behind.outbox.state("state", b"{}")
    _allow(scene)


def _allow(scene: Scene) -> None:
    (scene.folder / "acl").write_text(ALLOWED)
    scene.broker.reload()


async def rival(scene: Scene) -> None:
    """Each takes the connection from the other."""
    for _ in range(5):
        since = len(scene.collector.heard)
        async with client(scene.broker.address, identifier=scene.behind.bridge.identifier) as other:
            await scene.tell(1)
            await scene.online_again(since)
            with suppress(aiomqtt.MqttError):
                await anext(other.messages)
    assert scene.rests[-1] > scene.rests[0]


async def forgotten(scene: Scene) -> None:
    """Somebody clears what the daemon retains."""
    async with client(scene.broker.address) as other:
        for topic in KEPT:
            await other.publish(f"{BASE}/{topic}", b"", qos=1, retain=True)
    since = len(scene.collector.heard)
    await scene.broker.kill()
    await scene.collector.gone.wait()
    await scene.broker.start()
    await scene.online_again(since)


async def clock(scene: Scene) -> None:
    """Later outcomes have earlier times."""
    await scene.tell(ts="2026-11-23T05:00:00.000Z")
    await scene.tell(ts="2025-11-23T05:00:00.000Z")


async def limited(scene: Scene) -> None:
    """An outcome and a state are larger than it takes."""
    await scene.behind.happen("x" * LIMIT_BYTES)
    scene.left_out = 1
    scene.behind.outbox.state("model/large", b"x" * 2 * LIMIT_BYTES)
    await scene.tell()
    await scene.arrived()
    assert scene.rests == [], "no connection was ended"


FAULTS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        killed,
        restarted,
        stopped,
        slow,
        silent,
        deaf,
        cut,
        denied,
        rival,
        forgotten,
        clock,
        limited,
    )
}
LIMIT_BYTES = 300
SETTINGS = {"restarted": ("persistence true",), "limited": (f"message_size_limit {LIMIT_BYTES}",)}
ALLOWED_FIRST = ("availability", "state", "task/#", "request/#")
ACLS = {
    "denied": (*(f"topic readwrite {BASE}/{kind}" for kind in ALLOWED_FIRST), f"topic read {BASE}/#"),
}


# ── how it is looked at ─────────────────────────────────────────────────────────────────────────
@asynccontextmanager
async def scene_of(kind: str, key: str, folder: Path) -> AsyncIterator[Scene]:
    """Set a bridge before a broker, with a subscriber that has seen its first outcomes."""
    gate, rests = asyncio.Event(), []
    gate.set()

    async def rest(delay: float) -> None:
        rests.append(delay)
        await gate.wait()
        await asyncio.sleep(PAUSE_S)

    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(
            running(
                kind,
                folder,
                ACLS.get(key, ()),
                settings=SETTINGS.get(key, ()),
            )
        )
        line, near = await stack.enter_async_context(line_to(broker.address))
        collector = Collector(address=broker.address)
        listening = asyncio.create_task(collector.run())
        stack.push_async_callback(asyncio.wait, [listening])
        stack.callback(listening.cancel)
        await collector.there.wait()
        patience = replace(QUICK, answer_s=1.0)
        behind = await stack.enter_async_context(bridged(near, folder, patience=patience, rest=rest))
        for state in "state", "model/hands", "task/alive", "task/ended":
            behind.outbox.state(state, b"{}")
        yield Scene(
            broker=broker,
            line=line,
            behind=behind,
            collector=collector,
            gate=gate,
            rests=rests,
            folder=folder,
        )


async def run(kind: str, key: str, folder: Path) -> None:
    """Let the fault happen; assert what has to be true of every one of them."""
    async with scene_of(kind, key, folder) as scene:
        if key not in ACLS:
            await scene.tell()
            await scene.arrived()
        await FAULTS[key](scene)
        await scene.tell()
        scene.behind.outbox.state("task/ended", None)
        await scene.arrived()
        await verdict(scene)


async def verdict(scene: Scene) -> None:
    """Say of any fault what has to be true of it."""
    heard = scene.collector.heard
    events: dict[int, bytes] = {}
    assert list(dict.fromkeys(scene.collector.names())) == scene.told, "every outcome, in order"
    for each in heard:
        assert not (each.retain and each.topic.startswith(("event/", "response/", "request/")))
        if each.topic == "event/sampleAccepted":
            assert events.setdefault(each.json["id"], each.payload) == each.payload, "a repeat is the same"
    assert len(events) == len(scene.told) == await scene.behind.acknowledged() - scene.left_out
    steps = [each.json["step"] for each in heard if each.topic == "event/epochEnd"]
    assert steps == sorted(set(steps)), "progress is never told again"

    async def rightly_retained() -> bool:
        return await retained(scene.broker.address) == KEPT

    await becomes(rightly_retained)


async def becomes(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until this is so."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if await true():
                return
            await asyncio.sleep(PAUSE_S)
