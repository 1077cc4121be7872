"""Where the broker is: somebody else's, or the embedded one, whose address lies in `broker.json` while it runs."""

from __future__ import annotations

import os
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.edge import tls
from finetuned.edge.passwords import password
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from finetuned.edge.config import Mqtt, Tls

FILE = "broker.json"
LOOPBACK = "127.0.0.1"
USER = "finetuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A broker, and how to be let in; `node` is the daemon's name there, "" where it has yet to be found out.

    `mqtt5` is False where the broker is known to speak MQTT 3.1.1 only, which saves asking it.
    """

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    node: str = ""
    mqtt5: bool = True


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What `broker.json` holds."""

    host: str
    port: int
    user: str
    password: str
    node: str


def external(mqtt: Mqtt, environ: Mapping[str, str] = os.environ, node: str = "") -> Address:
    """Return the address of the broker that the configuration names.

    Raises:
        ConfigurationError: the password, or a file for TLS, cannot be had.
    """
    if mqtt.tls.enabled:
        tls.context(mqtt.tls)
    secret = password(mqtt, environ)
    return Address(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username,
        password=secret or "",
        tls=mqtt.tls,
        node=node,
    )


@asynccontextmanager
async def embedded(runtime: Path, node: str, port: int = 0) -> AsyncIterator[Address]:
    """Run a broker in this process, on loopback only, and tell where it is in `broker.json` (0600).

    User and password live in memory and in that file, and change with every start.

    Raises:
        HostError: the port is taken, or the file cannot be written.
    """
    # Only here: a daemon that uses an external broker shall not carry amqtt (5 MB, 0.2 s).
    from finetuned.edge.embedded import serve  # noqa: PLC0415

    user, secret = f"{USER}-{secrets.token_urlsafe(8)}", secrets.token_urlsafe(32)
    async with serve(LOOPBACK, port, user, secret) as bound:
        address = Address(host=LOOPBACK, port=bound, username=user, password=secret, node=node, mqtt5=False)
        text = write(runtime, address)
        try:
            yield address
        finally:
            _remove(runtime / FILE, text)


def read(runtime: Path) -> Address | None:
    """Return the address of the embedded broker whose runtime folder this is; None: there is none to be seen."""
    try:
        known = msgspec.json.decode((runtime / FILE).read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError):
        return None
    return Address(
        host=known.host,
        port=known.port,
        username=known.user,
        password=known.password,
        node=known.node,
        mqtt5=False,
    )


def write(runtime: Path, address: Address) -> bytes:
    """Write `broker.json` for nobody else to read, whole or not at all; return its text."""
    text = msgspec.json.encode(
        _File(
            host=address.host,
            port=address.port,
            user=address.username,
            password=address.password,
            node=address.node,
        )
    )
    aside = runtime / f".{FILE}.{secrets.token_hex(4)}"
    try:
        runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        aside.replace(runtime / FILE)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise HostError(f"{runtime / FILE}: cannot be written: {error.strerror}") from error
    return text


def _remove(path: Path, text: bytes) -> None:
    """Remove the file if it is still ours: another daemon of the same person may have put its own there."""
    with suppress(FileNotFoundError):
        if path.read_bytes() == text:
            path.unlink()
