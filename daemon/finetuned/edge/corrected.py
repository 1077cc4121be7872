"""aiomqtt 2.5 with its habits corrected: how it waits, what it forgets of a connection that broke, what it leaves open."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiomqtt
from aiomqtt import MqttError
from paho.mqtt.reasoncodes import ReasonCode

from finetuned.edge.wire import Ear

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from paho.mqtt import client as paho
    from paho.mqtt.properties import Properties

T = TypeVar("T")
UNSPECIFIED = 0x80
"""What paho makes of a connection that ends without a word."""
BROKE = "the connection broke"
HUNG_UP = "it hung up instead of answering"


def value_of(code: int | ReasonCode | None) -> int:
    """Return the number of a reason."""
    return code.value if isinstance(code, ReasonCode) else code or 0


class Client(aiomqtt.Client):
    """An aiomqtt client that notices at once that a connection is over, says why, and leaves nothing behind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - aiomqtt's
        self._ear = Ear()
        super().__init__(*args, logger=self._ear.logger(), **kwargs)
        self._opened = self._answered = self._left = False

    @property
    def is_silent(self) -> bool:
        """Whether the broker took the connection and never answered (a stopped one, or one that knows no MQTT 5)."""
        return self._opened and not self._answered

    @property
    def end(self) -> str:
        """Why the connection is over, in the broker's words where it has any."""
        over = self._disconnected
        error = over.exception() if over.done() and not over.cancelled() else None
        return self._ear.said or str(error or "") or "disconnected"

    async def __aenter__(self) -> Self:
        """Connect.  aiomqtt forgets a connection that breaks with what comes right behind the broker's answer."""
        over = self._disconnected
        self._connected.add_done_callback(_asked)
        over.add_done_callback(_asked)
        await super().__aenter__()
        if over.done():
            self._disconnected = over
            raise MqttError(self.end)
        return self

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:
        """Wait for an answer, but no longer than there is a connection.

        aiomqtt's own takes `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that comes with the answer.
        """
        waiting: asyncio.Future[Any] = asyncio.ensure_future(fut)
        both: tuple[asyncio.Future[Any], ...] = (waiting, self._disconnected)
        try:
            await asyncio.wait(
                both,
                timeout=self.timeout if timeout is None else timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waiting.done():
                answer: T = waiting.result()
                return answer
        finally:
            waiting.cancel()
        raise MqttError(self.end if self._disconnected.done() else "no answer in time")

    # ── paho's side ─────────────────────────────────────────────────────────────────────────────
    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._answered = True
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self._connected.cancelled():
            return  # whoever connected has gone, and aiomqtt would stumble over it
        # Before the broker has answered aiomqtt does not listen, and would wait until its time is up.
        if not self._connected.done():
            self._connected.set_exception(MqttError(self._ear.said or HUNG_UP))
        elif value_of(reason_code) == UNSPECIFIED and not self._disconnected.done():
            self._disconnected.set_exception(MqttError(self._ear.said or BROKE))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _client_connect(self) -> None:
        """Connect, in a thread of aiomqtt's: who waited for it may be gone by the time that it is done."""
        super()._client_connect()
        if self._left:
            self._loop.call_soon_threadsafe(self.abandon)

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

    def _on_socket_unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401 - paho's
        if sock.fileno() >= 0:  # paho asks for it once more when it is collected
            super()._on_socket_unregister_write(client, userdata, sock)

    async def close(self) -> None:
        """Disconnect; whoever leaves has a reason of their own, which trouble at the door must not hide."""
        try:
            await self.__aexit__(None, None, None)
        except MqttError:
            pass
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the socket where aiomqtt leaves it open: trouble in a callback, no answer, a farewell that cannot leave."""
        self._left = True
        self._client.disconnect()
        sock = self._client.socket()
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()
        if self._misc_task is not None:
            self._misc_task.cancel()
        for future in self._connected, self._disconnected:
            future.add_done_callback(_asked)


def _asked(future: asyncio.Future[Any]) -> None:
    """Take the exception: asyncio complains of one that nobody asked for."""
    if not future.cancelled():
        future.exception()
