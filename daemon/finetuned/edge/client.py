"""How a command talks to the daemon: over MQTT, as everybody does."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import socket
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from aiomqtt import MqttCodeError, MqttError

from finetuned.edge import broker
from finetuned.edge.connection import Connection, Refused
from finetuned.edge.connection import connected as _connection
from finetuned.edge.discovery import discovered
from finetuned.edge.folders import places
from finetuned.edge.topics import Topics
from finetuned.edge.wording import harmless
from finetuned.errors import HostError, RequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from finetuned.edge.broker import Address
    from finetuned.edge.config import Config

SYSTEM_RUNTIME = Path("/run/finetuned")
CONNECT_S = 5.0
"""The wait for a broker's answer, once for MQTT 5 and once for 3.1.1; a command waits twice as long for the daemon's."""
MAX_TOLD_BYTES = 256 * 1024
MAX_REASON = 2000
"""Characters of a refusal that are shown: anybody who may publish on the broker may be its author."""
UNHEARD = 4096
"""Messages that wait for whoever iterates over them; more are a flood, and are dropped."""


def find(config: Config, environ: Mapping[str, str] = os.environ) -> Address:
    """Return where the daemon of this configuration is to be met.

    Raises:
        HostError: no external broker is configured, and no embedded one can be seen.
        ConfigurationError: the password for the external one cannot be had.
    """
    if config.mqtt.host:
        return broker.external(config.mqtt, environ)
    runtimes = list(dict.fromkeys(_runtimes(config, environ)))
    for runtime in runtimes:
        if address := broker.read(runtime):
            return address
    looked = ", ".join(str(runtime / broker.FILE) for runtime in runtimes)
    raise HostError(
        f"no daemon can be seen: no readable {looked}; is one running (`finetuned run`), and as this user?"
    )


def _runtimes(config: Config, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where a daemon may have left `broker.json`: one of this login, of this state folder, of the system."""
    known = places(config, environ)
    yield from (known.runtime, known.state / "run", SYSTEM_RUNTIME)


@asynccontextmanager
async def connected(
    address: Address,
    prefix: str = "finetuned",
    *,
    node: str = "",
    events: bool = False,
    timeout: float = CONNECT_S,
) -> AsyncIterator[Daemon]:
    """Meet the daemon; with `events`, everything that it says from now on is there to iterate over.

    `node` chooses one of several; with `events` it may be offline, too.

    Raises:
        HostError: the broker is not there, lets nobody in, or no daemon can be made out.
    """
    if address.node and node not in {"", address.node}:
        raise HostError(f"the daemon here is {address.node}; there is no {harmless(node)} on its broker")
    with _host_errors(address):
        async with _connection(address, f"finetuned-{secrets.token_hex(8)}", timeout=timeout) as connection:
            node = address.node or await discovered(connection, prefix, node, may_be_offline=events)
            daemon = Daemon(
                connection=connection, topics=Topics(prefix, node), address=replace(address, node=node)
            )
            if events:
                await connection.listen(*daemon.topics.told)
            reader = asyncio.create_task(daemon.read(), name="client read")
            try:
                yield daemon
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A daemon that is spoken to; made by `connected`."""

    connection: Connection
    topics: Topics
    address: Address
    _answers: dict[str, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _heard: asyncio.Queue[tuple[str, dict[str, Any]] | None] = field(default_factory=asyncio.Queue)
    _verbs: set[str] = field(default_factory=set)

    async def request(self, verb: str, body: Mapping[str, Any] | None = None, timeout: float = 10.0) -> Any:  # noqa: ANN401 - JSON
        """Ask for something; return the answer's data.

        Raises:
            RequestError: the daemon refuses, in its own words, on one line and without controls.
            HostError: no answer within `timeout` seconds or one without data, or the connection broke.
        """
        with _host_errors(self.address):
            if verb not in self._verbs:
                await self.connection.listen(self.topics.response(verb))
                self._verbs.add(verb)
            transaction = secrets.token_hex(16)
            payload = msgspec.json.encode({**(body or {}), "transaction": transaction})
            answer = self._answers[transaction] = asyncio.get_running_loop().create_future()
            try:
                await self.connection.send(self.topics.request(verb), payload, qos=1, retain=False)
                async with asyncio.timeout(timeout):
                    response = await answer
            except TimeoutError:
                raise HostError(self._unanswered(verb, timeout)) from None
            finally:
                del self._answers[transaction]
        if response.get("status") != "ok":
            raise RequestError(harmless(response.get("error", "the daemon gives no reason"), MAX_REASON))
        if (data := response.get("data")) is None:
            raise HostError(
                f"the answer to `{verb}` holds no data: is it the daemon that speaks as {self.topics.node}?"
            )
        return data

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield (topic below finetuned/<node>, payload): events and states, the retained states first.

        A cleared state's payload is {}; the availability's {"availability": "online"}.  What no daemon of ours sends is
        passed over: a retained event, what is no JSON object, what is larger than `MAX_TOLD_BYTES`.  Raises HostError
        when the connection breaks.
        """
        while (heard := await self._heard.get()) is not None:
            yield heard
        raise HostError(f"the connection to the broker {_where(self.address)} broke")

    async def read(self) -> None:
        """Sort what comes in until the connection breaks; `connected` runs this."""
        try:
            async for message in self.connection.messages:
                topic = self.topics.below(str(message.topic))
                if not (message.retain and topic.startswith("event/")):
                    self._sort(topic, _payload(topic, message.payload))
        except MqttError as error:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(MqttError(str(error)))
        finally:
            self._heard.put_nowait(None)

    def _sort(self, topic: str, payload: dict[str, Any] | None) -> None:
        if not topic or payload is None:
            return
        if not topic.startswith("response/"):
            if self._heard.qsize() < UNHEARD:
                self._heard.put_nowait((topic, payload))
            return
        answer = self._answers.get(str(payload.get("transaction", "")))
        if answer and not answer.done():
            answer.set_result(payload)

    def _unanswered(self, verb: str, timeout: float) -> str:
        return (
            f"no answer to `{verb}` within {timeout:g} s from {self.topics.node} at {_where(self.address)}: "
            "is the daemon running, does its log say that it is connected to this broker, "
            "and does the broker's access list allow request/# and response/#?"
        )


def _payload(topic: str, payload: bytes) -> dict[str, Any] | None:
    """Return the payload as an object; None for what no daemon of ours sends."""
    if len(payload) > MAX_TOLD_BYTES and not topic.startswith("response/"):
        return None
    if topic == "availability":
        return {"availability": payload.decode(errors="replace")}
    if not payload:
        return {}
    try:
        found: dict[str, Any] = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


# ── what is wrong with a broker ─────────────────────────────────────────────────────────────────
ADVICE = MappingProxyType(
    {
        socket.EAI_NONAME: "nobody knows this name: is mqtt.host spelt right?",
        socket.EAI_AGAIN: "nobody could be asked for this name: is the network up, is mqtt.host spelt right?",
        errno.ECONNREFUSED: "nobody listens there: is it (or the daemon that runs it) running, is mqtt.port right?",
        errno.EHOSTUNREACH: "no machine answers at this address: is it up, is mqtt.host right?",
        errno.ENETUNREACH: "no way leads to this address: is the network up?",
    }
)
"""What numbers of the system mean, and what to do."""
UNWANTED = {4, 5, 134, 135}
"""CONNACK's codes for a user or a password that the broker does not take: of MQTT 3.1.1, and of 5."""


@contextmanager
def _host_errors(address: Address) -> Iterator[None]:
    try:
        yield
    except MqttError as error:
        raise HostError(f"the broker {_where(address)} cannot be used: {_said(error, address)}") from error
    except Refused as refused:
        raise HostError(f"the broker {_where(address)} refuses {refused}; check its access list") from refused


def _said(error: MqttError, address: Address) -> str:
    """Say what is wrong, and what to do where that is known."""
    if isinstance(error, MqttCodeError) and getattr(error.rc, "value", error.rc) in UNWANTED:
        user = f"user {harmless(address.username)!r}" if address.username else "anybody without a user"
        return f"it does not let {user} in: check mqtt.username and mqtt.password_file ({error})"
    number = ERRNO.match(str(error))
    if number and (advice := ADVICE.get(int(number[1]))):
        return f"{advice} ({error})"
    if str(error).endswith(LATE):
        return (
            f"{error}: is it stopped or overloaded, is mqtt.port right, does a firewall swallow what is sent?"
        )
    return str(error)


LATE = ("timed out", "no answer in time")
ERRNO = re.compile(r"\[Errno (-?\d{1,5})\]")


def _where(address: Address) -> str:
    return f"{address.host}:{address.port}"
