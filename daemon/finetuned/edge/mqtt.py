"""The MQTT bridge, the first sink: what the outbox says goes out, what is requested comes in.

Theory of operation.  `run` makes one connection after the other.  Each has a subscription of its own to the
outbox, so that what was progress while nobody listened is gone, states begin anew, and an outcome without
acknowledgement is sent again.  A connection greets (says `online`, takes back the retained states that are no
longer true), then receives and sends side by side until it breaks; then a pause, which grows.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiomqtt
import msgspec
from aiomqtt import MqttError

from finetuned.edge.bucket import Bucket
from finetuned.edge.connection import Connection, Refused, connected
from finetuned.edge.logs import get_logger
from finetuned.edge.requests import Desk, Handler, Memory
from finetuned.edge.topics import OFFLINE, ONLINE, Topics
from finetuned.errors import HostError
from finetuned.service.events import MiniBatchEnd
from finetuned.service.outbox import OutcomeItem, ProgressItem, StateItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from finetuned.edge.broker import Address
    from finetuned.edge.config import Mqtt
    from finetuned.service.outbox import Outbox, Subscription

SINK = "mqtt"
REQUESTS_PER_SECOND = 20
MAX_VERB = 64
"""A longer one is none of ours, and its answer's topic might be longer than MQTT allows: it gets none."""
log = get_logger("mqtt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited: between attempts from `first_s` up to `most_s`, for the broker's answers, for what is retained."""

    first_s: float = 1.0
    most_s: float = 60.0
    answer_s: float = 10.0
    retained_s: float = 2.0
    farewell_s: float = 2.0

    def delays(self, jitter: Callable[[], float]) -> Iterator[float]:
        """Yield growing pauses; half of each is chance, so that a hundred daemons do not come back as one."""
        delay = self.first_s
        while True:
            yield min(self.most_s, delay * (1 + jitter() / 2))
            delay = min(self.most_s, 2 * delay)


@dataclass(kw_only=True)
class Bridge:
    """Joins one outbox and one handler of requests to one broker; `run` it in a task of its own."""

    address: Address
    mqtt: Mqtt
    node: str
    outbox: Outbox
    handler: Handler
    memory: Memory
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    rest: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Take a name for the broker.

        It is the same for all connections, so that a new one ends the one before, and can be guessed by nobody,
        so that no other client ends ours.
        """
        self.topics = Topics(self.mqtt.prefix, self.node)
        self.identifier = f"finetuned-{self.node}-{secrets.token_hex(4)}"
        self._desk = Desk(allow=self.mqtt.allow, handler=self.handler, memory=self.memory, now=self.now)
        self._requests = Bucket(rate=REQUESTS_PER_SECOND, burst=REQUESTS_PER_SECOND, clock=self.clock)
        self._batches = Bucket(rate=self.mqtt.batch_events_per_second, burst=1, clock=self.clock)
        self._delays = self.patience.delays(self.jitter)
        self._said = ""

    async def run(self) -> None:
        """Be connected as often as possible, until cancelled; then say `offline`."""
        while True:
            try:
                await self._session()
            except* MqttError as errors:
                self._say_once(str(_first(errors)))
            except* Refused as errors:
                self._say_once(f"{_first(errors)}; the broker's access list must allow it")
            except* HostError as errors:
                self._say_once(str(_first(errors)))
            await self.rest(next(self._delays))

    async def _session(self) -> None:
        will = aiomqtt.Will(self.topics.availability, OFFLINE, qos=1, retain=True)
        async with connected(
            self.address, self.identifier, will=will, timeout=self.patience.answer_s
        ) as connection:
            try:
                await self._converse(connection)
            except asyncio.CancelledError:
                # A proper DISCONNECT holds back the last will, so it is said by ourselves.
                await self._farewell(connection)
                raise

    async def _farewell(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self.patience.farewell_s):
                await self._publish(connection, self.topics.availability, OFFLINE)
        except (TimeoutError, MqttError) as error:
            log.info("left without a word", reason=str(error))

    async def _converse(self, connection: Connection) -> None:
        async with self.outbox.subscribe(SINK) as subscription:
            early = await self._greet(connection)
            self._delays, self._said = self.patience.delays(self.jitter), ""
            log.info("connected", host=self.address.host, port=self.address.port, node=self.node)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._receive(connection, early), name="mqtt receive")
                group.create_task(self._send(connection, subscription, group), name="mqtt send")

    # ── greeting ────────────────────────────────────────────────────────────────────────────────
    async def _greet(self, connection: Connection) -> list[aiomqtt.Message]:
        """Say `online` and clear what is retained of models and tasks that the outbox does not know.

        Brokers send what is retained before what is published next, so when our own `online` comes back all of
        it has been seen.  Returns the requests that came meanwhile.
        """
        await connection.listen(self.topics.request("#"), as_published=True)
        await connection.listen(self.topics.availability, *self.topics.kept)
        await self._publish(connection, self.topics.availability, ONLINE)
        retained, early = await self._read_back(connection)
        await connection.unsubscribe(list(self.topics.kept))
        true = {self.topics.state(key) for key in self.outbox.states}
        for topic in sorted(retained - true):
            await self._publish(connection, topic, b"")
        return early

    async def _read_back(self, connection: Connection) -> tuple[set[str], list[aiomqtt.Message]]:
        retained: set[str] = set()
        early: list[aiomqtt.Message] = []
        try:
            async with asyncio.timeout(self.patience.retained_s):
                async for message in connection.messages:
                    kind = self.topics.below(str(message.topic)).partition("/")[0]
                    if kind == "availability" and not message.retain and message.payload == ONLINE:
                        break
                    if kind in {"model", "task"} and message.retain:
                        retained.add(str(message.topic))
                    elif kind == "request":
                        early.append(message)
        except TimeoutError:
            log.info("could not read back everything that is retained")
        return retained, early

    # ── what comes in ───────────────────────────────────────────────────────────────────────────
    async def _receive(self, connection: Connection, early: list[aiomqtt.Message]) -> None:
        for message in early:
            await self._heard(connection, message)
        async for message in connection.messages:
            await self._heard(connection, message)

    async def _heard(self, connection: Connection, message: aiomqtt.Message) -> None:
        topic = str(message.topic)
        kind, _, rest = self.topics.below(topic).partition("/")
        if kind == "request" and 0 < len(rest) <= MAX_VERB and message.payload:
            await self._requested(connection, rest, message)
        elif topic == self.topics.availability and message.payload == OFFLINE:
            # The last will of a connection of ours that the broker only now found dead.
            await self._publish(connection, topic, ONLINE)

    async def _requested(self, connection: Connection, verb: str, message: aiomqtt.Message) -> None:
        while wait := self._requests.take():
            await self.rest(wait)
        answering = asyncio.create_task(self._desk.answer(verb, message.payload, retained=message.retain))
        try:
            response = await asyncio.shield(answering)
        except asyncio.CancelledError:
            # What was begun is finished and remembered, though nobody hears it: the repeat will.
            await asyncio.wait({answering}, timeout=self.patience.answer_s)
            raise
        await self._publish(connection, self.topics.response(verb), response)
        if message.retain:
            await self._publish(connection, str(message.topic), b"", retain=True)

    # ── what goes out ───────────────────────────────────────────────────────────────────────────
    async def _send(
        self, connection: Connection, subscription: Subscription, group: asyncio.TaskGroup
    ) -> None:
        async for item in subscription:
            match item:
                case OutcomeItem():
                    await self._send_outcome(connection, subscription, group, item)
                case ProgressItem():
                    await self._send_progress(connection, item)
                case StateItem():
                    await self._publish(connection, self.topics.state(item.key), item.payload or b"")

    async def _send_outcome(
        self,
        connection: Connection,
        subscription: Subscription,
        group: asyncio.TaskGroup,
        item: OutcomeItem,
    ) -> None:
        if await self._publish(connection, self.topics.event(item.type), msgspec.json.encode(item.payload)):
            await subscription.acknowledge(item.id)
        else:
            # States and progress go on; no other outcome comes before this one is acknowledged.
            group.create_task(self._insist(connection, subscription, item), name="mqtt insist")

    async def _insist(self, connection: Connection, subscription: Subscription, item: OutcomeItem) -> None:
        payload = msgspec.json.encode(item.payload)
        for delay in self.patience.delays(self.jitter):
            await self.rest(delay)
            if await self._publish(connection, self.topics.event(item.type), payload):
                break
        await subscription.acknowledge(item.id)

    async def _send_progress(self, connection: Connection, item: ProgressItem) -> None:
        if isinstance(item.event, MiniBatchEnd) and self._batches.take():
            return
        topic = self.topics.event(str(item.event.__struct_config__.tag))
        await self._publish(connection, topic, msgspec.json.encode(item.event))

    async def _publish(
        self, connection: Connection, topic: str, payload: bytes, *, retain: bool | None = None
    ) -> bool:
        """Publish in the topic's way; False, and a line in the log, if the broker refuses it."""
        way = self.topics.way(topic)
        try:
            await connection.send(
                topic, payload, qos=way.qos, retain=way.retain if retain is None else retain
            )
        except Refused as refused:
            self._say_once(f"the broker refuses {refused}")
            return False
        return True

    def _say_once(self, reason: str) -> None:
        """Log a trouble, but not every minute for as long as it lasts."""
        if reason != self._said:
            self._said = reason
            log.warning(
                "trouble with the broker", reason=reason, host=self.address.host, port=self.address.port
            )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
