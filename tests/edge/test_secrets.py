"""Where a password must not be, looked for around a real daemon and its worker; and where the embedded broker listens."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from brokers import MOSQUITTO, PASSWORD, client
from finetuned.edge.broker import FILE, LOOPBACK, read
from finetuned.edge.client import connected
from finetuned.edge.demo_data import DROPS, MODEL, pictures
from finetuned.edge.passwords import CREDENTIAL
from secured import Authority, Guarded
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from finetuned.edge.broker import Address
    from finetuned.edge.client import Daemon as Ears

PATIENCE_S = 60


@dataclass(kw_only=True)
class Daemon:
    """A real daemon, and its log as it grows."""

    process: asyncio.subprocess.Process
    log: str = ""
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Read the log until there is no more."""
        assert self.process.stderr
        async for line in self.process.stderr:
            self.log += line.decode()
            self._grown.set()

    async def logged(self, text: str) -> None:
        """Wait until the log holds this."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.log:
                self._grown.clear()
                await self._grown.wait()


@asynccontextmanager
async def daemon(folder: Path, config: str, **environ: str) -> AsyncIterator[Daemon]:
    """Run `finetuned run` with this configuration until it is connected."""
    path = folder / "finetuned.toml"
    path.write_text(f'state = "{folder / "state"}"\n{config}')
    own = {"RUNTIME_DIRECTORY": str(folder / "run"), "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "finetuned", "run", "-c", str(path)),
        env={**os.environ, **own, **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    started = Daemon(process=process)
    reading = asyncio.create_task(started.read())
    try:
        await started.logged('"connected"')
        yield started
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.gather(process.wait(), reading)


def family(pid: int) -> Iterator[Path]:
    """Yield the /proc folders of a process and of all that it started."""
    yield Path(f"/proc/{pid}")
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(int(child))


LEARNING = f"""
[trigger]
min_new_samples = 20
quiet_s = 0.1
[budget]
missing = "ignore"
[budget.disk]
min_free_mb = 1
[log]
level = "debug"
format = "json"
[models.digits]
path = "{MODEL}"
parameters = {{ epochs = 1000, miniBatchSize = 2 }}
"""


def named(folder: Path) -> str:
    """Give the daemon of this folder a name before it starts; return it."""
    (folder / "state").mkdir()
    (folder / "state/instance").write_text("3fa2")
    return f"{os.uname().nodename}-3fa2"


async def told(daemon: Ears, topic: str) -> None:
    """Wait for something on this topic."""
    async with asyncio.timeout(PATIENCE_S):
        async for heard, _ in daemon.events():
            if heard == topic:
                return


def drop(inbox: Path) -> None:
    """Drop some of the demo's pictures."""
    for picture in pictures(DROPS)[:20]:
        path = inbox / "digits" / picture.label / picture.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.path, path.with_name(f".{path.name}"))
        path.with_name(f".{path.name}").rename(path)


async def test_the_password_is_in_no_argument_environment_or_log_of_the_daemon_or_its_children(
    tmp_path: Path,
) -> None:
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / CREDENTIAL).touch(0o400)
    (credentials / CREDENTIAL).write_text(f"{PASSWORD}\n")
    node = named(tmp_path)
    broker = Guarded(folder=tmp_path)
    await broker.start()
    config = f'mqtt = {{ host = "{LOOPBACK}", port = {broker.address.port}, username = "admin" }}\n{LEARNING}'
    try:
        async with (
            connected(replace(broker.as_("reader"), node=node), events=True) as ears,
            daemon(tmp_path, config, CREDENTIALS_DIRECTORY=str(credentials)) as started,
        ):
            drop(tmp_path / "state/inbox")
            await told(ears, "event/trainingBegin")
            shown = {
                name: b"".join((each / name).read_bytes() for each in family(started.process.pid))
                for name in ("cmdline", "environ")
            }
            await broker.kill()
            await started.logged("trouble with the broker")
    finally:
        await broker.kill()
    assert b"service.worker" in shown["cmdline"]
    assert shown["environ"].count(b"CREDENTIALS_DIRECTORY=") == 1, "the daemon alone is told where it lies"
    for where, text in {**shown, "log": started.log.encode()}.items():
        assert PASSWORD.encode() not in text, where


async def test_the_daemon_and_the_commands_come_in_with_certificates(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    authority = Authority.made(tmp_path / "ca")
    node = named(tmp_path)
    broker = Guarded(folder=tmp_path, node=node, tls=authority.listener(authority.issue("broker")))

    def config(name: str) -> str:
        tls = authority.client(name)
        files = f'ca_file = "{tls.ca_file}", cert_file = "{tls.cert_file}", key_file = "{tls.key_file}"'
        return f'mqtt = {{ host = "{LOOPBACK}", port = {broker.address.port}, tls = {{ enabled = true, {files} }} }}'

    await broker.start()
    try:
        async with daemon(tmp_path, config(node)):
            said = {role: await command(tmp_path, config(role), "status") for role in ("operator", "reader")}
    finally:
        await broker.kill()
    assert said["operator"][0] == 0
    assert node in said["operator"][1]
    assert said["reader"][0] != 0
    assert "request/status: Not authorized" in said["reader"][1]


async def command(folder: Path, config: str, *arguments: str) -> tuple[int | None, str]:
    """Run a command with a configuration; return its status and all that it says."""
    path = folder / "command.toml"
    path.write_text(config)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "finetuned", *arguments, "-c", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_the_embedded_broker_listens_on_loopback_alone_and_lets_nobody_in_without_its_password(
    tmp_path: Path,
) -> None:
    async with daemon(tmp_path, LEARNING) as first:
        address = met(tmp_path / "run")
        assert listeners(first.process.pid) == {f"0100007F:{address.port:04X}"}
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "run" / FILE).stat().st_mode) == 0o600
        for wrong in replace(address, username="", password=""), replace(address, password="wrong"):  # noqa: S106
            with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
                async with client(wrong):
                    pass
        async with connected(address) as known:
            assert (await known.request("status"))["node"] == address.node
    assert address.password not in first.log
    async with daemon(tmp_path, LEARNING):
        assert met(tmp_path / "run").password != address.password


def met(runtime: Path) -> Address:
    address = read(runtime)
    assert address is not None
    return address


def listeners(pid: int) -> set[str]:
    """Return address and port, as the kernel writes them, of every TCP socket on which a process or its children listen."""
    own = {
        str(each.readlink()).removeprefix("socket:[").removesuffix("]")
        for folder in family(pid)
        for each in (folder / "fd").iterdir()
        if each.is_symlink()
    }
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return {line[1] for line in lines if line[3] == "0A" and line[9] in own}
