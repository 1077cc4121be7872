"""Real brokers for the tests: mosquitto on a free loopback port, and the embedded one; both can be killed and come back."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import socket
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import aiomqtt

from finetuned.edge.broker import LOOPBACK, Address
from finetuned.edge.embedded import serve
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

USER, PASSWORD = "finetuned", "a password of the tests"
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class BrokerProcess(Protocol):
    """A broker that a test holds in its hands."""

    address: Address

    async def start(self) -> None:
        """Start, or start again on the same port."""

    async def kill(self) -> None:
        """End without a farewell to anybody."""

    def reload(self) -> None:
        """Read the access list again."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(kw_only=True)
class Mosquitto:
    """Debian's mosquitto, for one user with a password; `acl` are the lines of its access list.

    `certificate` is a file with a certificate and its key: then it speaks TLS.  `settings` are further lines of its configuration.
    """

    folder: Path
    acl: tuple[str, ...] = ()
    certificate: Path | None = None
    settings: tuple[str, ...] = ()
    address: Address = field(init=False)
    _process: asyncio.subprocess.Process | None = None

    def __post_init__(self) -> None:
        """Write its files; it runs as root where the tests do, so that it can read them."""
        self.address = Address(host=LOOPBACK, port=free_port(), username=USER, password=PASSWORD, node="n")
        passwords, acl = self.folder / "passwords", self.folder / "acl"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, PASSWORD], check=True)
        acl.write_text("\n".join([f"user {USER}", *self.acl, ""]))
        lines = [
            "user root",
            f"listener {self.address.port} {LOOPBACK}",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"persistence_location {self.folder}/",
            *([f"acl_file {acl}"] if self.acl else []),
            *([f"certfile {self.certificate}", f"keyfile {self.certificate}"] if self.certificate else []),
            *self.settings,
            "log_dest stderr",
            "",
        ]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines))

    async def start(self) -> None:
        """Start it and wait until it says that it runs."""
        self._process = await asyncio.create_subprocess_exec(
            str(MOSQUITTO),
            "-c",
            str(self.folder / "mosquitto.conf"),
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr
        said = b""
        while not said.rstrip().endswith(b"running"):
            said = await self._process.stderr.readline()
            assert said, "mosquitto ended; its configuration is wrong"

    def reload(self) -> None:
        """Let it read its access list again."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Let it stand still."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    async def leave(self) -> None:
        """End it properly, so that it writes down what it keeps."""
        assert self._process
        self._process.terminate()
        await self._process.communicate()

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@dataclass(kw_only=True)
class Embedded:
    """The embedded broker in the test's own loop."""

    address: Address = field(init=False)
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        """Choose a port that stays the same."""
        self.address = Address(
            host=LOOPBACK, port=free_port(), username=USER, password=PASSWORD, node="n", mqtt5=False
        )

    async def start(self) -> None:
        """Listen."""
        await self._running.enter_async_context(serve(LOOPBACK, self.address.port, USER, PASSWORD))

    def reload(self) -> None:
        """Do nothing: it has no access list."""

    async def kill(self) -> None:
        """Close every connection; what was retained is gone."""
        await self._running.aclose()


@asynccontextmanager
async def running(
    kind: str,
    folder: Path,
    acl: tuple[str, ...] = (),
    certificate: Path | None = None,
    *,
    settings: tuple[str, ...] = (),
) -> AsyncIterator[BrokerProcess]:
    """Run a broker: `mosquitto` or `embedded`."""
    if kind == "mosquitto" and MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    broker: BrokerProcess = (
        Mosquitto(folder=folder, acl=acl, certificate=certificate, settings=settings)
        if kind == "mosquitto"
        else Embedded()
    )
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


def client(
    address: Address,
    *,
    identifier: str | None = None,
    protocol: aiomqtt.ProtocolVersion = aiomqtt.ProtocolVersion.V311,
) -> aiomqtt.Client:
    """Return somebody else on the broker: aiomqtt as it is."""
    return aiomqtt.Client(
        address.host,
        address.port,
        username=address.username or None,
        password=address.password or None,
        identifier=identifier,
        protocol=protocol,
        timeout=10,
    )


def certificate(folder: Path) -> Path:
    """Make a certificate of its own authority for loopback; the file holds the key as well."""
    if shutil.which("openssl") is None:
        missing("left out: openssl is not installed (apt-get install openssl)")
    made = folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=broker"
    command += f" -addext subjectAltName=IP:{LOOPBACK} -keyout {folder / 'key.pem'} -out {made}"
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + (folder / "key.pem").read_bytes())
    return made
