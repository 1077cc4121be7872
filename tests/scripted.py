"""A broker of a few lines that does what a test wants: a script tells what it answers, and when it talks nonsense."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetuned.edge.broker import LOOPBACK, Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


MQTT_5 = 5


def packet(head: int, body: bytes) -> bytes:
    """Return a packet with its length before it."""
    length, count = b"", len(body)
    while True:
        count, rest = divmod(count, 128)
        length += bytes([rest | (128 if count else 0)])
        if not count:
            return bytes([head]) + length + body


def text(value: str | bytes) -> bytes:
    """Return a string as MQTT writes it."""
    encoded = value if isinstance(value, bytes) else value.encode()
    return struct.pack("!H", len(encoded)) + encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the broker does on one connection; the default is what a good one does.

    `connack` and `puback` are reason codes, the latter one for each publish, 0 when there are no more; `properties` are
    those of the CONNACK; `answer` stands for the CONNACK; `nonsense` is said once the daemon says that it is online;
    a packet of more than `most` bytes ends the connection.
    """

    connack: int = 0
    properties: bytes = b""
    answer: bytes | None = None
    puback: tuple[int, ...] = ()
    suback: int = 1
    nonsense: bytes = b""
    most: int = 1 << 28
    hangs_up: bool = False
    slow_s: float = 0.0


GOOD = Script()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was published, with the properties of MQTT 5 as they came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The payload as an object."""
        found: dict[str, Any] = json.loads(self.payload)
        return found


@dataclass(kw_only=True)
class Scripted:
    """One script for each connection, then as a good broker; `published` is all that was accepted, in order."""

    scripts: list[Script]
    published: list[Published] = field(default_factory=list)
    retained: dict[str, bytes] = field(default_factory=dict)
    refused: list[Published] = field(default_factory=list)
    most_unacknowledged: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    writer: asyncio.StreamWriter | None = None

    async def until(self, topic: str, payload: bytes | None = None) -> Published:
        """Wait until something was published on a topic."""
        async with asyncio.timeout(20):
            while True:
                for each in self.published:
                    if each.topic == topic and payload in {None, each.payload}:
                        return each
                self.news.clear()
                await self.news.wait()

    def say(self, data: bytes) -> None:
        """Send bytes to the daemon."""
        assert self.writer
        self.writer.write(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client until it or the script ends it."""
        number, self.connections = self.connections, self.connections + 1
        script = self.scripts[number] if number < len(self.scripts) else GOOD
        self.writer = writer
        try:
            await _Talk(broker=self, script=script, writer=writer).run(reader)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            self.left.set()


@dataclass(kw_only=True)
class _Talk:
    broker: Scripted
    script: Script
    writer: asyncio.StreamWriter
    mqtt5: bool = False
    unacknowledged: int = 0
    pubacks: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.pubacks = list(self.script.puback)

    async def run(self, reader: asyncio.StreamReader) -> None:
        while True:
            head, body = await _read(reader)
            if len(body) > self.script.most:
                self._say(0xE0, b"\x95")
                await self.writer.drain()
                return
            match head >> 4:
                case 1:
                    self._connect(body)
                    if self.script.connack or self.script.answer is not None or self.script.hangs_up:
                        await self.writer.drain()
                        return
                case 3:
                    self._publish(head, body)
                case 8:
                    self._say(0x90, body[:2] + self._none() + bytes([self.script.suback]))
                case 10:
                    self._say(0xB0, body[:2] + (b"\0\0" if self.mqtt5 else b""))
                case 12:
                    self._say(0xD0, b"")
                case 14:
                    return

    def _connect(self, body: bytes) -> None:
        self.mqtt5 = body[6] == MQTT_5
        if self.script.answer is not None:
            self.writer.write(self.script.answer)
        elif not self.script.hangs_up:
            properties = packet(0, self.script.properties)[1:] if self.mqtt5 else b""
            self._say(0x20, bytes([0, self.script.connack]) + properties)

    def _publish(self, head: int, body: bytes) -> None:
        qos, size = (head >> 1) & 3, struct.unpack("!H", body[:2])[0]
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        mid, rest = (rest[:2], rest[2:]) if qos else (b"", rest)
        length = 1 + rest[0] if self.mqtt5 else 0
        properties, payload = rest[1 : length or 1] if self.mqtt5 else b"", rest[length:]
        found = Published(topic=topic, payload=payload, qos=qos, retain=bool(head & 1), properties=properties)
        code = self.pubacks.pop(0) if qos and self.pubacks else 0
        (self.broker.refused if code >= 0x80 else self.broker.published).append(found)
        if found.retain and code < 0x80:
            self.broker.retained[topic] = payload
        if qos:
            self.unacknowledged += 1
            self.broker.most_unacknowledged = max(self.broker.most_unacknowledged, self.unacknowledged)
            asyncio.get_running_loop().call_later(self.script.slow_s, self._acknowledge, mid, code)
        if topic.endswith("/availability") and code == 0:
            # As who has subscribed to it hears it.
            self._say(0x30, text(topic) + self._none() + payload)
            if payload == b"online":
                self.writer.write(self.script.nonsense)
        self.broker.news.set()

    def _acknowledge(self, mid: bytes, code: int) -> None:
        """Acknowledge a little later, so that others can be under way at the same time."""
        self.unacknowledged -= 1
        self._say(0x40, mid + (bytes([code]) if self.mqtt5 and code else b""))

    def _none(self) -> bytes:
        """No properties."""
        return b"\0" if self.mqtt5 else b""

    def _say(self, head: int, body: bytes) -> None:
        self.writer.write(packet(head, body))


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return head, await reader.readexactly(length)


@asynccontextmanager
async def scripted(*scripts: Script, mqtt5: bool = True) -> AsyncIterator[tuple[Scripted, Address]]:
    """Run a broker by these scripts; yield it, and its address."""
    broker = Scripted(scripts=list(scripts))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(broker.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    try:
        yield broker, Address(host=LOOPBACK, port=server.sockets[0].getsockname()[1], node="n", mqtt5=mqtt5)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
