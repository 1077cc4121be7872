"""The embedded broker: amqtt on a socket of ours, so that a first start needs no root and no package manager.

What it does: MQTT 3.1.1, QoS 0 to 2, retained messages and last wills, in memory, for who knows the password.
What it does not: MQTT 5, TLS, reason codes, access lists, anything that survives the process, sessions that
outlive their connection (one that comes back at once is heard no more: connect with clean session), and ending
the connection of a client that is silent for longer than its keep-alive (a process that dies closes its socket,
which is noticed; a stopped one is not).  A household that needs those has mosquitto.

What it bounds: the size of a packet (1 MiB; more ends the connection, unread), clients, and what it retains.  What it
cannot: messages for a subscriber that does not read wait in memory until it leaves.  Whoever has the password of this
machine's owner could do worse.

amqtt is pinned to 0.12: this module corrects two of its habits in a subclass, each told at its place and each
held by a test.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin

from finetuned.edge.logs import get_logger
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from amqtt.session import Session

LISTENER = "default"
MAX_CLIENTS = 64
MAX_PACKET_BYTES = 1 << 20
MAX_RETAINED_BYTES = 16 << 20
MESSAGE_BYTES = 512
"""What a retained message takes besides its topic and payload, roughly."""
log = get_logger("broker")


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
        """Drop the session of a connection that is over: amqtt keeps those it refused for ever."""
        for client, (session, handler) in list(self.sessions.items()):
            if handler.writer is writer and session.clean_session:
                self.sessions.pop(client)


class Reader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """Reads what may be read: amqtt would hold any packet that somebody announces, up to 256 MiB."""

    async def read(self, n: int = -1) -> bytes:
        """Read so many bytes; ValueError, which ends the connection, where they are too many for one packet."""
        if n > MAX_PACKET_BYTES:
            raise ValueError(f"a packet of {n} bytes is too large (allowed: up to {MAX_PACKET_BYTES})")
        data: bytes = await super().read(n)
        return data


@asynccontextmanager
async def serve(host: str, port: int, user: str, password: str) -> AsyncIterator[int]:
    """Run the broker in this loop; yield the port (a free one when `port` is 0)."""
    broker = Broker(_configuration(user, password))
    await broker.start()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_converse(broker, reader, writer), name="broker connection")
        connections.add(task)
        task.add_done_callback(connections.discard)

    try:
        server = await asyncio.start_server(accept, host, port)
    except OSError as error:
        await broker.shutdown()
        raise HostError(f"the embedded broker cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await broker.shutdown()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()


def _configuration(user: str, password: str) -> BrokerConfig:
    """One listener, whose sockets we hand over (so we know the port), and one plugin: nothing else, no $SYS."""
    plugin = f"{PasswordPlugin.__module__}.{PasswordPlugin.__qualname__}"
    return BrokerConfig(
        listeners={
            LISTENER: ListenerConfig(type=ListenerType.EXTERNAL, bind="", max_connections=MAX_CLIENTS)
        },
        plugins={plugin: {"user": user, "password": password}},
    )


async def _converse(broker: Broker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection; whatever amqtt stumbles over ends this connection and no other."""
    adapter = StreamWriterAdapter(writer)
    try:
        await broker.external_connected(Reader(reader), adapter, LISTENER)
    except (AMQTTError, OSError, RuntimeError, ValueError, LookupError, AttributeError) as error:
        log.warning("a connection was ended", error=repr(error))
    finally:
        broker.forget(adapter)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
