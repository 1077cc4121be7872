"""One connection to a broker: aiomqtt, with MQTT 5 first, and a publish that tells whether it was accepted."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
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
from finetuned.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from finetuned.edge.broker import Address

# A packet above this is not sent to us (MQTT 5); requests may have 64 KiB, and are answered above that.
MAX_PACKET_BYTES = 1 << 20
MAX_WAITING_MESSAGES = 1000
KEEPALIVE_S = 30
# 0x84, which paho also makes of 3.1.1's return code 1.
UNSUPPORTED_PROTOCOL = 132
SUBSCRIBE_FAILED = 128
HUNG_UP = "the broker hung up instead of answering"


class Refused(Exception):  # noqa: N818 - an answer of the broker's, not an error of the connection
    """The broker does not take this message: its access list, a quota; the message says which."""


class Connection(aiomqtt.Client):
    """An aiomqtt client that knows what became of a publish.

    aiomqtt 2.5 takes any PUBACK for a success; MQTT 5 puts a refusal into it.  And a publish with QoS 1 that
    fails while the connection is down stays in paho, which would send it later, behind our back: hence the
    look at the connection first, and a new client for every connection.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - aiomqtt's
        super().__init__(*args, **kwargs)
        self._acknowledgements: dict[int, asyncio.Future[ReasonCode]] = {}
        self._opened = False
        self._trouble = ""
        self._client.on_log = self._on_log

    @property
    def mqtt5(self) -> bool:
        """Whether MQTT 5 is spoken."""
        return int(self._client.protocol) == int(ProtocolVersion.V5)

    @property
    def is_silent(self) -> bool:
        """Whether the broker took the connection and never answered (a stopped one, or one that knows no MQTT 5)."""
        return self._opened and not self._connected.done()

    async def send(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Publish; with QoS 1 wait for the acknowledgement.

        Raises:
            MqttError: the connection is gone, or no acknowledgement came in time.
            Refused: the broker says that it does not take it.
        """
        if self._disconnected.done():
            raise MqttError("not connected")
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "could not publish")
        if qos:
            await self._acknowledged(info.mid, topic)

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
            if _value(codes[0]) >= SUBSCRIBE_FAILED:
                raise Refused(f"may not subscribe to {each}")

    async def _acknowledged(self, mid: int, topic: str) -> None:
        acknowledgement = self._loop.create_future()
        self._acknowledgements[mid] = acknowledgement
        try:
            await asyncio.wait(
                (acknowledgement, self._disconnected),
                timeout=self.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._acknowledgements.pop(mid, None)
        if not acknowledgement.done():
            raise MqttError("disconnected" if self._disconnected.done() else "no acknowledgement in time")
        if acknowledgement.result().is_failure:
            raise Refused(f"{topic}: {acknowledgement.result()}")

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        waiting = self._acknowledgements.get(mid)
        if waiting and not waiting.done():
            waiting.set_result(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_log(self, client: paho.Client, userdata: Any, level: int, said: str) -> None:  # noqa: ANN401, ARG002 - paho's
        """Remember why the socket broke, which paho tells to its log alone."""
        if level == paho.MQTT_LOG_ERR:
            self._trouble = said.partition(": ")[2]

    def _on_disconnect(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - paho's
        # Before the broker has answered aiomqtt does not listen, and would wait until its time is up.
        if not self._connected.done():
            self._connected.set_exception(MqttError(self._trouble or HUNG_UP))
        super()._on_disconnect(*args, **kwargs)

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401 - paho's
        self._opened = True
        # Else a small packet waits for the acknowledgement of the one before it, which the broker delays by 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super()._on_socket_open(client, userdata, sock)

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401, ARG002 - paho's
        # aiomqtt takes the number at once and the writer later: by then the socket may be closed, its number another's.
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:  # noqa: BLE001 - as aiomqtt's own
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        def register() -> None:
            if sock.fileno() >= 0 and client.want_write():
                self._loop.add_writer(sock, write)

        self._loop.call_soon_threadsafe(register)

    async def close(self) -> None:
        """Disconnect; whoever leaves has a reason of their own, which trouble at the door must not hide."""
        try:
            await self.__aexit__(None, None, None)
        except MqttError:
            self.abandon()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # else asyncio complains that nobody asked

    def abandon(self) -> None:
        """Close the socket where aiomqtt leaves it open: an attempt without an answer, a farewell that cannot leave."""
        self._client.disconnect()
        sock = self._client.socket()
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()
        if self._misc_task is not None:
            self._misc_task.cancel()


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
        except MqttError as error:
            silent = client.is_silent or str(error) == HUNG_UP
            client.abandon()
            if version is ProtocolVersion.V311 or not (silent or _is_unsupported(error)):
                raise _told(error, address) from None
    raise AssertionError  # the last version either returned or raised


def _is_unsupported(error: MqttError) -> bool:
    return isinstance(error, MqttConnectError) and _value(error.rc) == UNSUPPORTED_PROTOCOL


def _value(code: int | ReasonCode | None) -> int:
    return code.value if isinstance(code, ReasonCode) else code or 0


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
        will=will,
        clean_session=None if mqtt5 else True,
        clean_start=True if mqtt5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
        properties=_properties() if mqtt5 else None,
        timeout=timeout,
        keepalive=KEEPALIVE_S,
        max_queued_incoming_messages=MAX_WAITING_MESSAGES,
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
    """Return an error that says what to do, where TLS is the trouble."""
    if isinstance(error, MqttConnectError):
        return error
    said = tls.advice(str(error))
    if said == HUNG_UP and address.tls is not None and address.tls.enabled:
        said += "; does it ask for a client certificate (mqtt.tls.cert_file and key_file)?"
    return MqttError(said)


def _properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's only untyped class
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return properties
