"""The embedded broker: amqtt on a socket of ours, so that a first start needs no root and no package manager.

What it does: MQTT 3.1.1, QoS 0 to 2, retained messages and last wills, in memory, for who knows the password.
What it does not: MQTT 5, TLS, reason codes, access lists, anything that survives the process, sessions that
outlive their connection (one that comes back at once is heard no more: connect with clean session), and ending
the connection of a client that is silent for longer than its keep-alive (a process that dies closes its socket,
which is noticed; a stopped one is not).  A household that needs those has mosquitto.

What it bounds: the size of a packet (1 MiB; more ends the connection, unread), clients, those who have yet to say the
password (any user of this machine can open connections), and what it retains.  What it cannot: messages for a subscriber
that does not read wait in memory until it leaves.  Whoever has the password of this machine's owner could do worse.

amqtt is pinned to 0.12: this module corrects some of its habits in a subclass, each told at its place and each
held by a test.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin

from finetuned.edge.bucket import Bucket
from finetuned.edge.logs import get_logger
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from amqtt.session import Session

LISTENER = "default"
MAX_PACKET_BYTES = 1 << 20
MAX_RETAINED_BYTES = 16 << 20
MESSAGE_BYTES = 512
"""What a retained message takes besides its topic and payload, roughly."""
LINES_PER_SECOND = 1
MOST_LINES = 10
"""So often the log tells of connections that went wrong, which any user of this machine can make."""
log = get_logger("broker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many are served at once: `clients` that said the password, and `strangers` that have `connect_s` to say it.

    They are counted apart, so that strangers take no place of those who know the password.
    """

    clients: int = 64
    strangers: int = 32
    connect_s: float = 5.0


class Door:
    """Who is there, by the task that serves them; beyond the room, a stranger goes for the next one."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._strangers: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        self._clients: set[asyncio.Task[None]] = set()
        self._ours, self._amqtts = (
            Bucket(rate=LINES_PER_SECOND, burst=MOST_LINES, clock=time.monotonic) for _ in range(2)
        )

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """All that serve somebody."""
        return (*self._strangers, *self._clients)

    def arrive(self, task: asyncio.Task[None]) -> None:
        """Give a stranger a place: that of the one who has been silent for longest, if there is no other."""
        if len(self._strangers) >= self._room.strangers:
            self._turn_away(next(iter(self._strangers)))
        timer = asyncio.get_running_loop().call_later(self._room.connect_s, self._turn_away, task)
        self._strangers[task] = timer
        task.add_done_callback(self._leave)

    def let_in(self, task: asyncio.Task[None]) -> None:
        """Make a client of a stranger; AMQTTError, which ends the connection, where there are as many as may be."""
        if len(self._clients) >= self._room.clients:
            raise AMQTTError(f"more than {self._room.clients} clients")
        self._strangers.pop(task).cancel()
        self._clients.add(task)

    def tell(self, what: str, error: str) -> None:
        """Log what went wrong with a connection, unless there was a lot of it lately."""
        if not self._ours.take():
            log.warning(what, error=error)

    def passes(self, record: logging.LogRecord) -> bool:
        """Whether a line of amqtt's goes into the log: it has some for every connection that is none."""
        return record.levelno < logging.WARNING or not self._amqtts.take()

    def _turn_away(self, task: asyncio.Task[None]) -> None:
        self._leave(task)
        task.cancel()
        self.tell("a connection was ended", "the password was not said in time")

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._clients.discard(task)
        if timer := self._strangers.pop(task, None):
            timer.cancel()


class PasswordPlugin(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets in who knows the one user and password; nobody comes in without."""

    @dataclass
    class Config:
        """amqtt fills it from the broker's configuration."""

        user: str
        password: str

    async def authenticate(self, *, session: Session) -> bool:
        """Compare in constant time, the user as well."""
        user = hmac.compare_digest((session.username or "").encode(), self.config.user.encode())
        password = hmac.compare_digest((session.password or "").encode(), self.config.password.encode())
        return user and password


class Broker(AmqttBroker):  # type: ignore[misc]  # amqtt has no types
    """amqtt's broker, with its habits corrected."""

    def __init__(self, config: BrokerConfig, door: Door) -> None:
        super().__init__(config)
        self._door = door
        self._subscriptions: dict[str, list[tuple[Session, int]]]

    async def _authenticate(self, session: Session, listener: ListenerConfig) -> bool:
        # amqtt counts no connections that it has not accepted itself.  This runs in the task that serves this one.
        known: bool = await super()._authenticate(session, listener)
        if known and (task := asyncio.current_task()):
            self._door.let_in(task)
        return known

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # amqtt sends a client that connects the retained messages of *everybody's* subscriptions.
        subscribers = self._subscriptions.get(subscription[0], ())
        if any(subscriber.client_id == session.client_id for subscriber, _qos in subscribers):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray,
        qos: int | None = None,
    ) -> None:
        """Retain a message while there is room; what is retained already can always be cleared."""
        kept = {topic: len(message.data) for topic, message in self._retained_messages.items()}
        kept[topic_name or ""] = len(data)
        if (
            data
            and sum(size + len(topic) + MESSAGE_BYTES for topic, size in kept.items()) > MAX_RETAINED_BYTES
        ):
            log.warning("not retained: there is no more room", most=MAX_RETAINED_BYTES)
            return
        await super().retain_message(source_session, topic_name, data, qos)

    async def _session_monitor(self) -> None:
        # amqtt looks every second for sessions to drop; `forget` drops each when its connection ends.
        return

    def forget(self, writer: StreamWriterAdapter) -> None:
        """Drop the session of a connection that is over, and its subscriptions: amqtt keeps those it refused for ever."""
        for client, (session, handler) in list(self.sessions.items()):
            if handler.writer is writer:
                self.sessions.pop(client)
                # A new dict with new lists: amqtt may be in the middle of going through the old ones.
                self._subscriptions = {
                    topic: rest
                    for topic, subscribers in self._subscriptions.items()
                    if (rest := [each for each in subscribers if each[0] is not session])
                }


class Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """Reads what may be read: amqtt would hold any packet that somebody announces, up to 256 MiB."""

    async def read(self, n: int = -1) -> bytes:
        """Read so many bytes; ValueError, which ends the connection, where they are too many for one packet."""
        if n > MAX_PACKET_BYTES:
            raise ValueError(f"a packet of {n} bytes is too large (allowed: up to {MAX_PACKET_BYTES})")
        data: bytes = await super().read(n)
        return data


@asynccontextmanager
async def serve(
    host: str, port: int, user: str, password: str, room: Room | None = None
) -> AsyncIterator[int]:
    """Run the broker in this loop; yield the port (a free one when `port` is 0)."""
    door = Door(room or Room())
    broker = Broker(_configuration(user, password), door)
    await broker.start()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(broker, door, reader, writer), name="broker connection")
        door.arrive(task)
        # Who is turned away before the task has begun would keep the connection.
        task.add_done_callback(lambda _task: writer.close())

    try:
        server = await asyncio.start_server(accept, host, port)
    except OSError as error:
        await broker.shutdown()
        raise HostError(f"the embedded broker cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        with _amqtts_failures_told(door):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await broker.shutdown()
        tasks = door.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def _configuration(user: str, password: str) -> BrokerConfig:
    """One listener, whose sockets we hand over (so we know the port), and one plugin: nothing else, no $SYS."""
    plugin = f"{PasswordPlugin.__module__}.{PasswordPlugin.__qualname__}"
    return BrokerConfig(
        listeners={LISTENER: ListenerConfig(type=ListenerType.EXTERNAL, bind="")},
        plugins={plugin: {"user": user, "password": password}},
    )


@contextmanager
def _amqtts_failures_told(door: Door) -> Iterator[None]:
    """Tell of what fails in tasks of amqtt's, which nobody awaits, in a line: a client's nonsense is no error of ours."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and _is_amqtts(error):
            door.tell("a client's message was not handled", repr(error))
        elif before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loggers = [
        logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("amqtt.")
    ]
    loop.set_exception_handler(handle)
    for each in loggers:
        each.addFilter(door.passes)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
        for each in loggers:
            each.removeFilter(door.passes)


def _is_amqtts(error: BaseException) -> bool:
    frames = (frame for frame, _line in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith("amqtt.") for frame in frames)


async def _converse(
    broker: Broker, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection; whatever amqtt stumbles over ends this connection and no other."""
    adapter = StreamWriterAdapter(writer)
    try:
        await broker.external_connected(Reader(reader), adapter, LISTENER)
    except (AMQTTError, OSError, RuntimeError, ValueError, LookupError, AttributeError) as error:
        door.tell("a connection was ended", repr(error))
    finally:
        broker.forget(adapter)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
