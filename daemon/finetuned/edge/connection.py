"""One connection to a broker: aiomqtt, with MQTT 5 first, and a publish that tells whether it was accepted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiomqtt
from aiomqtt import MqttError, ProtocolVersion
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from finetuned.edge import tls
from finetuned.edge.corrected import HUNG_UP, Client, value_of
from finetuned.edge.logs import get_logger
from finetuned.edge.wire import (
    MAX_PACKET_BYTES,
    Inbox,
    forgiving,
    properties_of,
    sieved,
    will_properties,
)
from finetuned.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from finetuned.edge.broker import Address
    from finetuned.edge.topics import Way

log = get_logger("mqtt")

KEEPALIVE_S = 30
MAX_IN_FLIGHT = 20
"""Publishes that wait for their acknowledgement at once, which is paho's; a broker may want fewer (Receive Maximum)."""
MAX_REMAINING = 268_435_455
OVERHEAD_BYTES = 64
"""What a publish is larger than its topic and payload at most, apart from correlation data: lengths, number, properties."""
PACKET_TOO_LARGE = 0x95
# 0x84, which paho also makes of 3.1.1's return code 1.
UNSUPPORTED_PROTOCOL = 132
FAILED = 0x80
"""A reason of MQTT 5, and what SUBACK says in 3.1.1, is a refusal from here on."""
LACKS = {0x9A: "retained messages", 0x9B: "QoS 1"}
"""What a broker does without, by the reason with which it refuses our last will."""


class Refused(Exception):  # noqa: N818 - an answer of the broker's, not an error of the connection
    """The broker does not take this message: its access list, a quota; the message says which."""


class TooLarge(Refused):
    """The broker never takes a packet of this size."""


class Connection(Client):
    """A client that knows what became of a publish.

    aiomqtt 2.5 takes any PUBACK for a success; MQTT 5 puts a refusal into it.  And a publish with QoS 1 that
    fails while the connection is down stays in paho, which would send it later, behind our back: hence the
    look at the connection first, and a new client for every connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - aiomqtt's
        super().__init__(*args, queue_type=Inbox, **kwargs)
        self._client._sock_recv = sieved(self._client)  # type: ignore[method-assign, assignment]  # noqa: SLF001 - paho has no hook
        self._client._handle_pubackcomp = forgiving(self._client, self._told)  # type: ignore[method-assign, assignment]  # noqa: SLF001 - as above
        self._acknowledgements: dict[int, asyncio.Future[ReasonCode | int]] = {}
        self._properties_of: dict[Way, Properties] = {}
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._most_bytes = MAX_REMAINING
        self._passed_over: set[str] = set()

    @property
    def mqtt5(self) -> bool:
        """Whether MQTT 5 is spoken."""
        return int(self._client.protocol) == int(ProtocolVersion.V5)

    # ── what goes out ───────────────────────────────────────────────────────────────────────────
    async def publish_in(
        self, way: Way, topic: str, payload: bytes, *, correlation: bytes | None = None
    ) -> None:
        """Publish in a way, with all that MQTT 5 can say about it; raises as `send` does."""
        properties = None
        if self.mqtt5 and correlation is not None:
            properties = properties_of(way, correlation=correlation)
        elif self.mqtt5 and payload:
            # Made once: paho builds a dozen tables for each.
            properties = self._properties_of.get(way) or self._properties_of.setdefault(
                way, properties_of(way)
            )
        await self.send(topic, payload, qos=way.qos, retain=way.retain, properties=properties)

    async def send(
        self, topic: str, payload: bytes, *, qos: int, retain: bool, properties: Properties | None = None
    ) -> None:
        """Publish; with QoS 1 wait for the acknowledgement, with QoS 0 until the line has taken what came before.

        Raises:
            MqttError: the connection is gone, or no acknowledgement came in time.
            Refused: the broker says that it does not take it; TooLarge: because of its size.
        """
        if self._disconnected.done():
            raise MqttError(self.end)
        size = len(topic.encode()) + len(payload) + OVERHEAD_BYTES
        size += len(getattr(properties, "CorrelationData", b""))
        if size > self._most_bytes:
            raise TooLarge(f"{topic}: {size} bytes, and it takes {self._most_bytes}")
        if qos:
            async with self._places:
                await self._acknowledged(self._publish(topic, payload, qos, retain, properties), topic)
        elif self._client.want_write():
            await self._acknowledged(self._publish(topic, payload, qos, retain, properties), topic)
        else:
            self._publish(topic, payload, qos, retain, properties)

    def _publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,  # noqa: FBT001 - paho's
        properties: Properties | None,
    ) -> int:
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        return info.mid

    async def _acknowledged(self, mid: int, topic: str) -> None:
        acknowledgement = self._loop.create_future()
        self._acknowledgements[mid] = acknowledgement
        try:
            await self._wait_for(acknowledgement, timeout=self.timeout)
        except MqttError:
            if self._is_too_large() and len(self._acknowledgements) == 1:
                raise TooLarge(f"{topic}: {self.end}") from None
            raise
        finally:
            del self._acknowledgements[mid]
        answer = acknowledgement.result()
        if value_of(answer) == PACKET_TOO_LARGE:
            raise TooLarge(f"{topic}: Packet too large")
        if value_of(answer) >= FAILED:
            raise Refused(f"{topic}: {answer if isinstance(answer, ReasonCode) else f'reason {answer:#x}'}")

    def _is_too_large(self) -> bool:
        """Whether the broker ended the connection over the size of a packet, which then can only be the one under way."""
        error = self._disconnected.exception() if self._disconnected.done() else None
        return isinstance(error, aiomqtt.MqttCodeError) and value_of(error.rc) == PACKET_TOO_LARGE

    # ── what comes in ───────────────────────────────────────────────────────────────────────────
    async def listen(self, *filters: str, as_published: bool = False) -> None:
        """Subscribe with QoS 1; `as_published` keeps the retain flag of what others publish, where MQTT 5 can.

        Raises:
            Refused: the broker does not allow one of them.
        """
        options = SubscribeOptions(qos=1, retainAsPublished=as_published)
        for each in filters:
            # paho takes either the options of MQTT 5 or a QoS, not both.
            how: dict[str, Any] = {"options": options} if self.mqtt5 else {"qos": 1}
            codes = await self.subscribe(each, **how)
            if not codes or value_of(codes[0]) >= FAILED:
                raise Refused(f"may not subscribe to {each}")

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401 - paho's
        if self._queue.full():
            self._pass_over("more comes in than can be heard; some of it is dropped")
            return
        if message.properties is not None:
            vars(message.properties).pop("UserProperty", None)  # nobody reads them, and they may be long
        try:
            super()._on_message(client, userdata, message)
        except ValueError:
            # No UTF-8, or a wildcard in it.  It costs no connection, which whoever sent it could end then.
            self._pass_over("a message on a topic that is none was dropped")

    def _pass_over(self, what: str) -> None:
        if what not in self._passed_over:
            self._passed_over.add(what)
            log.warning(what)

    def _told(self, mid: int, answer: ReasonCode | int) -> None:
        waiting = self._acknowledgements.get(mid)
        if waiting and not waiting.done():
            waiting.set_result(answer)

    # ── paho's side ─────────────────────────────────────────────────────────────────────────────
    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done() and properties is not None:
            self._most_bytes = getattr(properties, "MaximumPacketSize", MAX_REMAINING)
            self._places = asyncio.Semaphore(
                min(getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT), MAX_IN_FLIGHT)
            )
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self._told(mid, reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)


@asynccontextmanager
async def connected(
    address: Address, identifier: str, *, will: aiomqtt.Will | None = None, timeout: float = 10.0
) -> AsyncIterator[Connection]:
    """Connect, as MQTT 5 if the broker speaks it and else as 3.1.1; every connection starts clean.

    Raises:
        MqttError: nobody there, not let in, no answer; or later, the connection broke.
    """
    client = await _entered(address, identifier, will, timeout)
    try:
        yield client
    finally:
        await client.close()


async def _entered(
    address: Address, identifier: str, will: aiomqtt.Will | None, timeout: float
) -> Connection:
    """Try MQTT 5, and go on to 3.1.1 where a broker refuses it, or (amqtt) waits for a rest that never comes."""
    for version in (ProtocolVersion.V5, ProtocolVersion.V311) if address.mqtt5 else (ProtocolVersion.V311,):
        client = _client(address, identifier, version, will, timeout)
        try:
            return await client.__aenter__()
        except asyncio.CancelledError:
            client.abandon()
            raise
        except MqttError as error:
            silent = client.is_silent or str(error) == HUNG_UP
            client.abandon()
            if version is ProtocolVersion.V311 or not (silent or _is_unsupported(error)):
                raise _told(error, address) from None
    raise AssertionError  # the last version either returned or raised


def _is_unsupported(error: MqttError) -> bool:
    return isinstance(error, MqttConnectError) and value_of(error.rc) == UNSUPPORTED_PROTOCOL


def _client(
    address: Address, identifier: str, version: ProtocolVersion, will: aiomqtt.Will | None, timeout: float
) -> Connection:
    mqtt5 = version is ProtocolVersion.V5
    return Connection(
        address.host,
        address.port,
        username=address.username or None,
        password=address.password or None,
        identifier=identifier,
        protocol=version,
        will=replace(will, properties=will_properties()) if will and mqtt5 else will,
        clean_session=None if mqtt5 else True,
        clean_start=True if mqtt5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
        properties=_properties() if mqtt5 else None,
        timeout=timeout,
        keepalive=KEEPALIVE_S,
        tls_context=_tls_context(address),
    )


def _tls_context(address: Address) -> ssl.SSLContext | None:
    """Return how to speak TLS; None: not at all.  MqttError where a file that was there at the start is gone or wrong."""
    if address.tls is None or not address.tls.enabled:
        return None
    try:
        return tls.context(address.tls)
    except ConfigurationError as error:
        raise MqttError(str(error)) from None


def _told(error: MqttError, address: Address) -> MqttError:
    """Return an error that says what to do, where TLS is the trouble or the broker lacks what we cannot do without."""
    if isinstance(error, MqttConnectError):
        lacks = LACKS.get(value_of(error.rc))
        return MqttError(f"{error}: it must allow {lacks}, which the daemon needs") if lacks else error
    return MqttError(tls.advice(str(error), spoken=address.tls is not None and address.tls.enabled))


def _properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's only untyped class
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return properties
