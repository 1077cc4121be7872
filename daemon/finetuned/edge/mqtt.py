"""The MQTT bridge, the first sink: what the outbox says goes out, what is requested comes in.

Theory of operation.  `run` makes one connection after the other.  Each has a subscription of its own to the
outbox, so that what was progress while nobody listened is gone, states begin anew, and an outcome without
acknowledgement is sent again.  A connection greets (says `online`, takes back the retained states that are no
longer true), then hears, obeys and sends (`voice`) side by side until it breaks; then a pause, which grows until a
connection has lasted.  Requests wait for each other in a queue of their own, which is bounded: nothing else waits behind them.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiomqtt
from aiomqtt import MqttError

from finetuned.edge.announcing import UnderWay
from finetuned.edge.bucket import Bucket
from finetuned.edge.connection import Refused, connected
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.logs import get_logger
from finetuned.edge.replies import reply_to
from finetuned.edge.requests import Desk, Handler, Memory
from finetuned.edge.topics import FOREIGN, OFFLINE, ONLINE, Topics
from finetuned.edge.voice import Voice
from finetuned.edge.wire import Inbox
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from finetuned.edge.announcing import Announcer
    from finetuned.edge.broker import Address
    from finetuned.edge.config import Mqtt
    from finetuned.edge.connection import Connection
    from finetuned.service.outbox import Outbox

SINK = "mqtt"
REQUESTS_PER_SECOND = 20
MAX_REQUESTS = 100
"""So many wait at most, for five seconds; what comes then is dropped, and whoever asked hears nothing."""
SLACK = 1.1
MAX_VERB = 64
"""A longer one is none of ours, and its answer's topic might be longer than MQTT allows: it gets none."""
log = get_logger("mqtt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited: between attempts from `first_s` up to `most_s`, for the broker's answers, for what is retained.

    A connection that breaks before `lasting_s` makes the next pause no shorter: another client with our name, or a
    broker that hangs up on us, is met once a minute in the end.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    answer_s: float = 10.0
    retained_s: float = 2.0
    farewell_s: float = 2.0
    lasting_s: float = 30.0

    def delays(self, jitter: Callable[[], float]) -> Iterator[float]:
        """Yield growing pauses; a third of each is chance, the longest too, so that a hundred daemons do not come back as one."""
        delay = 1.5 * self.first_s
        while True:
            yield min(self.most_s, delay) * (2 + jitter()) / 3
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
    disclosure: Disclosure = field(default_factory=Disclosure)
    announcers: tuple[Announcer, ...] = ()
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
        self._desk = Desk(
            allow=self.mqtt.allow,
            handler=self.handler,
            memory=self.memory,
            disclosure=self.disclosure,
            now=self.now,
        )
        self._requests = Bucket(rate=REQUESTS_PER_SECOND, burst=REQUESTS_PER_SECOND, clock=self.clock)
        self._batches = _batches(self.mqtt.batch_events_per_second, self.clock)
        self._delays = self.patience.delays(self.jitter)
        self._said: set[str] = set()
        self._under_way = UnderWay()
        self._echoes = 0

    async def run(self) -> None:
        """Be connected as often as possible, until cancelled; then say `offline`."""
        while True:
            try:
                await self._session()
            except* MqttError as errors:
                self._say_once(_words(errors))
            except* Refused as errors:
                self._say_once(f"{_words(errors)}; the broker's access list must allow it")
            except* HostError as errors:
                self._say_once(_words(errors))
            self._give_up_notices()
            await self.rest(next(self._delays))

    def _give_up_notices(self) -> None:
        if notice := self._under_way.broke():
            self.announcers = ()
            size = f"{notice.what} ({len(notice.payload)} bytes)"
            self._say_once(f"the broker hangs up at {size}; it is left out until the daemon starts again")

    async def _session(self) -> None:
        will = aiomqtt.Will(self.topics.availability, OFFLINE, qos=1, retain=True)
        async with connected(
            self.address, self.identifier, will=will, timeout=self.patience.answer_s
        ) as connection:
            voice = self._voice(connection)
            try:
                await self._converse(voice)
            except asyncio.CancelledError:
                # A proper DISCONNECT holds back the last will, so it is said by ourselves.
                await self._farewell(voice)
                raise

    def _voice(self, connection: Connection) -> Voice:
        return Voice(
            connection=connection,
            topics=self.topics,
            disclosure=self.disclosure,
            announcers=self.announcers,
            under_way=self._under_way,
            batches=self._batches,
            delays=lambda: self.patience.delays(self.jitter),
            rest=self.rest,
            trouble=self._say_once,
        )

    async def _farewell(self, voice: Voice) -> None:
        try:
            async with asyncio.timeout(self.patience.farewell_s):
                await voice.publish(self.topics.availability, OFFLINE)
        except (TimeoutError, MqttError) as error:
            log.info("left without a word", reason=str(error))

    async def _converse(self, voice: Voice) -> None:
        async with self.outbox.subscribe(SINK) as subscription:
            waiting = Inbox(MAX_REQUESTS)
            await self._greet(voice, waiting)
            log.info("connected", host=self.address.host, port=self.address.port, node=self.node)
            greeted = self.clock()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._hear(voice, waiting), name="mqtt hear")
                    group.create_task(self._obey(voice, waiting), name="mqtt obey")
                    group.create_task(voice.send(subscription), name="mqtt send")
            finally:
                if self.clock() - greeted >= self.patience.lasting_s:
                    self._delays = self.patience.delays(self.jitter)
                    self._said.clear()

    # ── greeting ────────────────────────────────────────────────────────────────────────────────
    async def _greet(self, voice: Voice, waiting: Inbox) -> None:
        """Say `online`, clear what is retained of models and tasks that the outbox does not know, let announcers begin.

        Brokers send what is retained before what is published next, so when our own `online` comes back all of
        it has been seen.
        """
        connection = voice.connection
        await connection.listen(self.topics.request("#"), as_published=True)
        await connection.listen(self.topics.availability, *self.topics.kept)
        await self._listen_for_announcers(connection)
        self._echoes = 0
        await self._say_online(voice)
        retained = await self._read_back(connection, waiting)
        await connection.unsubscribe(list(self.topics.kept))
        voice.learn(self.outbox.states)
        await voice.clear(retained)

    async def _listen_for_announcers(self, connection: Connection) -> None:
        for announcer in self.announcers:
            announcer.begin()
            for each in announcer.filters:
                try:
                    await connection.listen(each)
                except Refused as refused:
                    self._say_once(f"the broker refuses {refused}")

    async def _read_back(self, connection: Connection, waiting: Inbox) -> set[str]:
        retained: set[str] = set()
        try:
            async with asyncio.timeout(self.patience.retained_s):
                async for message in connection.messages:
                    kind = self.topics.below(str(message.topic)).partition("/")[0]
                    if kind == "availability" and not message.retain and message.payload == ONLINE:
                        self._heard_online()
                        break
                    if kind in {"model", "task"} and message.retain:
                        retained.add(str(message.topic))
                    elif kind == "request":
                        self._take(message, waiting)
                    else:
                        self._heard_by_announcers(message)
        except TimeoutError:
            log.info("could not read back everything that is retained")
        return retained

    # ── what comes in ───────────────────────────────────────────────────────────────────────────
    async def _hear(self, voice: Voice, waiting: Inbox) -> None:
        async for message in voice.connection.messages:
            topic = str(message.topic)
            if self.topics.below(topic).startswith("request/"):
                self._take(message, waiting)
            elif topic == self.topics.availability and message.payload == OFFLINE:
                # The last will of a connection of ours that the broker only now found dead.
                await self._say_online(voice)
            elif topic == self.topics.availability and message.payload == ONLINE:
                if not message.retain:
                    self._heard_online()
            elif self._heard_by_announcers(message):
                await voice.announce()

    async def _say_online(self, voice: Voice) -> None:
        self._echoes += 1
        await voice.keep(self.topics.availability, ONLINE)

    def _heard_online(self) -> None:
        """Tell ours, which come back, from another's by their number: the two would clear each other's states."""
        self._echoes -= 1
        if self._echoes < 0:
            self._echoes = 0
            self._say_once(
                f"another daemon says that it is {self.node}: if its state folder (or the card it is on) is a copy of this "
                "one's, remove the file `instance` in the copy and start it again"
            )

    def _take(self, message: aiomqtt.Message, waiting: Inbox) -> None:
        verb = self.topics.below(str(message.topic)).partition("/")[2]
        if not 0 < len(verb) <= MAX_VERB or not message.payload:
            return
        try:
            waiting.put_nowait(message)
        except asyncio.QueueFull:
            self._say_once(f"a flood of requests: more than {MAX_REQUESTS} wait, the others are dropped")

    def _heard_by_announcers(self, message: aiomqtt.Message) -> bool:
        """Hand a message to those that listen for it; whether there are any."""
        heard = False
        for announcer in self.announcers:
            if any(message.topic.matches(each) for each in announcer.filters):
                announcer.hear(str(message.topic), message.payload, retained=message.retain)
                heard = True
        return heard

    # ── requests ────────────────────────────────────────────────────────────────────────────────
    async def _obey(self, voice: Voice, waiting: Inbox) -> None:
        while True:
            message = await waiting.get()
            while wait := self._requests.take():
                await self.rest(wait)
            await self._requested(voice, message)

    async def _requested(self, voice: Voice, message: aiomqtt.Message) -> None:
        verb = self.topics.below(str(message.topic)).partition("/")[2]
        reply = reply_to(self.topics, verb, message.properties)
        answering = asyncio.create_task(
            self._desk.answer(verb, message.payload, retained=message.retain, wrong=reply.error)
        )
        try:
            response = await asyncio.shield(answering)
        except asyncio.CancelledError:
            # What was begun is finished and remembered, though nobody hears it: the repeat will.
            await asyncio.wait({answering}, timeout=self.patience.answer_s)
            raise
        await voice.publish_in(
            self.topics.way(reply.topic), reply.topic, response, correlation=reply.correlation
        )
        if message.retain:
            await voice.publish_in(FOREIGN, str(message.topic), b"")

    def _say_once(self, reason: str, kind: str = "") -> None:
        """Log a trouble, but not every minute for as long as it lasts, and one of each `kind` where it has one."""
        if (kind or reason) not in self._said:
            self._said.add(kind or reason)
            log.warning(
                "trouble with the broker", reason=reason, host=self.address.host, port=self.address.port
            )


def _batches(rate: float, clock: Callable[[], float]) -> Bucket:
    """Let mini-batches through at their rate; those of 50 ms come in one go from a worker that is fast.

    The worker keeps the rate itself: with no slack here, whatever came a little early would be lost.
    """
    return Bucket(rate=SLACK * rate, burst=max(1, int(rate / 20)), clock=clock)


def _words(errors: BaseExceptionGroup[BaseException]) -> str:
    """Return what the first of the errors says, or what it came of: the broker's own words, where it had any."""
    found = errors.exceptions[0]
    return _words(found) if isinstance(found, BaseExceptionGroup) else str(found.__cause__ or found)
