"""Below the connection: what paho and aiomqtt take from the wire, and what they put on it, kept within bounds."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt import client as paho
    from paho.mqtt.enums import MQTTErrorCode

    from finetuned.edge.topics import Way

MAX_PACKET_BYTES = 1 << 20
"""A packet above this is not sent to us (MQTT 5), or read and thrown away; requests may have 64 KiB."""
MAX_WAITING_BYTES = 8 << 20
MESSAGE_BYTES = 512
"""What a message takes besides its topic and payload, roughly."""
READ_BYTES = 64 * 1024
TEXT = 1
REASON = 2
"""Where the reason stands in a PUBACK of MQTT 5, behind the number; in 3.1.1 there is none."""
UNSPECIFIED = 0x80
KNOWN = frozenset(
    reason
    for reason, names in ReasonCode.names.items()
    if any(PacketTypes.PUBACK in types for types in names.values())
)
"""The reasons that paho takes from a PUBACK."""
QUICK_ACKNOWLEDGEMENT: int | None = getattr(socket, "TCP_QUICKACK", None)


class Inbox(asyncio.Queue[aiomqtt.Message]):
    """Messages that wait to be read: what finds it full is dropped, as aiomqtt has it; full by bytes, not by number alone."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._waiting_bytes = 0

    def full(self) -> bool:
        """Whether as many wait as may."""
        return super().full() or self._waiting_bytes >= MAX_WAITING_BYTES

    def _put(self, item: aiomqtt.Message) -> None:
        super()._put(item)
        self._waiting_bytes += _bytes(item)

    def _get(self) -> aiomqtt.Message:
        item = super()._get()
        self._waiting_bytes -= _bytes(item)
        return item


def _bytes(message: aiomqtt.Message) -> int:
    answer = len(getattr(message.properties, "CorrelationData", b""))
    return len(message.payload) + len(message.topic.value) + answer + MESSAGE_BYTES


def sieved(client: paho.Client) -> Callable[[int], bytes]:
    """Return paho's way to read, with an end to what it keeps of one packet.

    paho collects a packet until it is whole, up to 256 MiB, and MQTT 3.1.1 has no word against that.  From
    `MAX_PACKET_BYTES` on what comes is read and thrown away, one byte of each read excepted, for nothing means the end
    to paho.  The message is then acknowledged like any other, its payload cut.
    """
    receive = client._sock_recv  # noqa: SLF001 - paho has no place to hook in

    def read(size: int) -> bytes:
        data = receive(min(size, READ_BYTES))
        if size > 1:
            acknowledge(client.socket())
        packet = client._in_packet  # noqa: SLF001 - as above
        if data and len(packet["packet"]) >= MAX_PACKET_BYTES:
            packet["to_process"] -= len(data) - 1
            return data[-1:]
        return data

    return read


def forgiving(
    client: paho.Client, told: Callable[[int, int], None]
) -> Callable[[Literal["PUBACK", "PUBCOMP"]], MQTTErrorCode]:
    """Return paho's way to take an acknowledgement, for reasons that it does not know as well; `told` gets mid and reason.

    paho ends the connection at one that the standard does not list for a PUBACK, and mosquitto says `Packet too large`
    there where it has a `message_size_limit`.
    """
    handle = client._handle_pubackcomp  # noqa: SLF001 - paho has no place to hook in

    def take(kind: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = client._in_packet["packet"]  # noqa: SLF001 - as above
        if kind == "PUBACK" and len(packet) > REASON and packet[REASON] not in KNOWN:
            reason = packet[REASON]
            told(int.from_bytes(packet[:REASON]), reason)
            packet[REASON] = UNSPECIFIED if reason >= UNSPECIFIED else 0
        return handle(kind)

    return take


class Constant(Properties):
    """Properties that stay as they are once they have been sent: packed once, which is half of what a publish costs."""

    def pack(self) -> bytes:
        """Return them as they go onto the wire."""
        if "packed" not in self.__dict__:
            self.__dict__["packed"] = super().pack()  # type: ignore[no-untyped-call]  # paho's only untyped class
        packed: bytes = self.__dict__["packed"]
        return packed


def acknowledge(sock: Any) -> None:  # noqa: ANN401 - paho's idea of a socket
    """Acknowledge at once what was read, where TCP can be told so.

    Else the kernel waits for 40 ms whether it can go with something else, and so long a broker that has Nagle's algorithm
    on (mosquitto, unless `set_tcp_nodelay`) holds back its next small packet: every answer to a command.
    """
    if QUICK_ACKNOWLEDGEMENT is not None and sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, QUICK_ACKNOWLEDGEMENT, 1)


def properties_of(way: Way, *, correlation: bytes | None = None) -> Properties:
    """Return what MQTT 5 says besides a message: what it is, how long it is worth sending, what it answers."""
    properties = Constant(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # as above
    properties.PayloadFormatIndicator = TEXT
    properties.ContentType = way.content
    if way.expiry_s is not None:
        properties.MessageExpiryInterval = way.expiry_s
    if correlation is not None:
        properties.CorrelationData = correlation
    return properties


def will_properties() -> Properties:
    """Return what MQTT 5 says besides a last will of ours, which is a word."""
    properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]  # as above
    properties.PayloadFormatIndicator = TEXT
    properties.ContentType = "text/plain"
    return properties


class Ear(logging.Handler):
    """Hears what paho and aiomqtt log, which is where paho says why a socket broke; `said` is the last of it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what it says, after its head; the bridge says what matters in its own words."""
        self.said = record.getMessage().partition(": ")[2]

    def logger(self) -> logging.Logger:
        """Return a logger that nobody else hears."""
        logger = logging.Logger("mqtt", logging.ERROR)  # noqa: LOG001 - one for each connection, in no tree
        logger.addHandler(self)
        return logger
