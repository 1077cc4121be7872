"""A real daemon for the acceptance tests: its process, its folders, a made-up sysfs, and an MQTT subscriber of our own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt

from brokers import MOSQUITTO, PASSWORD, USER, Mosquitto
from finetuned.edge.demo_data import DROPS, MODEL, pictures
from processes import children
from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

Event = dict[str, Any]

PATIENCE_S = 60.0
ENDINGS = ("completed", "failed", "cancelled")
LONG = {"epochs": 1000, "miniBatchSize": 2}
"""A task of some seconds."""

CONFIGURATION = """\
state = "{state}"
[ingest]
users = {users}
settle_s = 0.1
rescan_s = 5.0
[trigger]
min_new_samples = {least}
quiet_s = 0.3
max_wait_s = 3600.0
[budget]
interval_s = {interval_s}
min_paused_s = {min_paused_s}
min_running_s = {min_running_s}
release_after_s = {release_after_s}
missing = "{missing}"
sysfs = "{sysfs}"
proc = "{proc}"
[budget.disk]
min_free_mb = {min_free_mb}
[worker]
threads = 1
max_running = {max_running}
warm_s = {warm_s}
checkpoint_s = 1.0
retry_s = 0.1
[mqtt]
host = "127.0.0.1"
port = {port}
username = "{user}"
password_file = "{password}"
batch_events_per_second = 200.0
{mqtt}
[log]
level = "info"
format = "json"
{more}
"""
SETTINGS = {
    "users": "false",
    "interval_s": 0.05,
    "min_paused_s": 0.2,
    "min_running_s": 0.2,
    "release_after_s": 300.0,
    "missing": "ignore",
    "min_free_mb": 1,
    "max_running": 1,
    "warm_s": 60.0,
    "mqtt": "",
}
"""What tests change of it; `sysfs` and `proc` are made up where they aren't given, so no test hangs on this machine's state."""
NO_BUS = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}


# ── sysfs ───────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Sysfs:
    """A made-up tree: one CPU zone, and a battery where one is put."""

    root: Path

    def heat(self, celsius: float) -> None:
        """Set the CPU zone's temperature."""
        zone = self.root / "class/thermal/thermal_zone0"
        _write(zone / "type", "x86_pkg_temp")
        _write(zone / "temp", str(int(celsius * 1000)))

    def power(self, status: str, capacity: int) -> None:
        """Set the battery's state, and the mains to go with it."""
        supplies = self.root / "class/power_supply"
        for name, text in {
            "type": "Battery",
            "status": status,
            "capacity": str(capacity),
            "present": "1",
        }.items():
            _write(supplies / "BAT0" / name, text)
        _write(supplies / "AC/type", "Mains")
        _write(supplies / "AC/online", "0" if status == "Discharging" else "1")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_text(f"{text}\n")
    aside.replace(path)


# ── the subscriber ──────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Ear:
    """Everything that was heard, in order; a wait looks at it all."""

    heard: list[tuple[str, Event]] = field(default_factory=list)
    retained: dict[str, Event] = field(default_factory=dict)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, client: aiomqtt.Client) -> None:
        """Take messages for ever."""
        async for message in client.messages:
            topic = str(message.topic).split("/", 2)[2]
            payload = json.loads(message.payload) if message.payload and not topic.startswith("avail") else {}
            if topic.startswith("avail"):
                payload = {"availability": bytes(message.payload).decode()}
            assert not (topic.startswith("event/") and message.retain), "an event was retained"
            self.retained[topic] = payload
            self.heard.append((topic, payload))
            self._more.set()

    def events(self, *kinds: str) -> list[Event]:
        """Return the events of these types, in order; all without any."""
        found = [payload for topic, payload in self.heard if topic.startswith("event/")]
        return [event for event in found if not kinds or event["type"] in kinds]

    async def until(self, what: Callable[[], Any], said: str) -> Any:  # noqa: ANN401 - whatever `what` returns
        """Wait until `what()` is true, and return it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := what()):
                    self._more.clear()
                    await self._more.wait()
                return found
        except TimeoutError:
            tail = "\n".join(f"{t} {p}" for t, p in self.heard[-15:])
            raise AssertionError(f"never heard: {said}; the last that was heard:\n{tail}") from None

    async def event(self, kind: str, **fields: object) -> Event:
        """Wait for an event of this type with these fields."""

        def matching() -> Event | None:
            return next((e for e in self.events(kind) if fields.items() <= e.items()), None)

        found: Event = await self.until(matching, f"{kind} {fields}")
        return found

    async def ending(self) -> Event:
        """Wait for the first terminal event."""
        found: list[Event] = await self.until(lambda: self.events(*ENDINGS), "a terminal event")
        return found[0]


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class House:
    """Folders, broker, subscriber and process of one daemon; `within` is a program that becomes the daemon's command."""

    folder: Path
    broker: Mosquitto
    ear: Ear
    client: aiomqtt.Client
    least: int = 10
    more: str = ""
    within: tuple[str, ...] = ()
    settings: dict[str, object] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    starts: int = 0

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def inbox(self) -> Path:
        """Where samples are dropped."""
        return self.state / "inbox"

    @property
    def sysfs(self) -> Sysfs:
        """The sensors."""
        return Sysfs(self.folder / "sys")

    @property
    def resident_mb(self) -> float:
        """The daemon's resident memory."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def worker(self) -> int | None:
        """The pid of the daemon's worker, if it has one."""
        assert self.process
        return next(iter(children(self.process.pid, "service.worker")), None)

    @property
    def log(self) -> str:
        """What the daemon wrote to standard error, over all its lives."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("daemon-*.log")))

    @property
    def said(self) -> str:
        """The end of the log, without the imports."""
        return "\n".join(
            [line for line in self.log.splitlines() if not line.startswith("import time:")][-40:]
        )

    @property
    def environ(self) -> dict[str, str]:
        """A home of its own, and every import on standard error."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        runtime = {"RUNTIME_DIRECTORY": str(self.folder / "run"), "HOME": str(home)}
        runtime |= {"NOTIFY_SOCKET": str(self.folder / "notify")}
        return {
            **NO_BUS,
            **os.environ,
            **runtime,
            "XDG_CACHE_HOME": str(home / ".cache"),
            "PYTHONPROFILEIMPORTTIME": "1",
        }

    async def start(self) -> None:
        """Start the daemon and wait until it is online and has told its state."""
        config = self.folder / "finetuned.toml"
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        text = CONFIGURATION.format(
            state=self.state,
            least=self.least,
            port=self.broker.address.port,
            user=USER,
            password=password,
            more=self.more,
            **{"sysfs": self.sysfs.root, "proc": self.folder / "proc"} | SETTINGS | self.settings,
        )
        config.write_text(text)
        self.starts += 1
        seen = len(self.ear.heard)
        with (self.folder / f"daemon-{self.starts}.log").open("wb") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *(*self.within, sys.executable, "-P", "-m", "finetuned", "run", "-c", str(config)),
                env=self.environ,
                stderr=stderr,
            )

        def is_up() -> bool:
            topics = [topic for topic, payload in self.ear.heard[seen:] if payload]
            return "state" in topics and ("availability", {"availability": "online"}) in self.ear.heard[seen:]

        coming = asyncio.create_task(self.ear.until(is_up, "the daemon come up"))
        dying = asyncio.create_task(self.process.wait())
        await asyncio.wait({coming, dying}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            coming.cancel()
            raise AssertionError(f"the daemon has ended ({self.process.returncode}): {self.said}")
        dying.cancel()
        await coming

    async def kill(self) -> None:
        """Cut the power."""
        assert self.process
        self.process.kill()
        await self.process.wait()

    def freeze(self, *, frozen: bool) -> None:
        """Stop the daemon and its worker where they are, or let them go on."""
        assert self.process
        for pid in (self.process.pid, self.worker):
            if pid is not None:
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    async def stop(self) -> int:
        """Ask politely, as systemd does; return the exit status."""
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)

    async def request(self, verb: str, **body: object) -> Event:
        """Publish a request and return the whole response."""
        transaction = f"{verb}-{len(self.ear.heard)}-{os.urandom(4).hex()}"
        node = await self.node()
        await self.client.publish(
            f"finetuned/{node}/request/{verb}", json.dumps({"transaction": transaction, **body}), qos=1
        )

        def answer() -> Event | None:
            said = (payload for topic, payload in self.ear.heard if topic == f"response/{verb}")
            return next((payload for payload in said if payload.get("transaction") == transaction), None)

        found: Event = await self.ear.until(answer, f"an answer to {verb}")
        return found

    async def node(self) -> str:
        """Return the node's name, from the state folder as anybody can read it."""
        return f"{os.uname().nodename}-{(self.state / 'instance').read_text().strip()}"

    # ── dropping ────────────────────────────────────────────────────────────────────────────────
    def drop(self, place: str, data: bytes | Path) -> None:
        """Drop a file as a good producer does: written aside, renamed into place."""
        path = self.inbox / place
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")
        if isinstance(data, Path):
            shutil.copyfile(data, aside)
        else:
            aside.write_bytes(data)
        aside.rename(path)


@asynccontextmanager
async def a_house(
    folder: Path, *, least: int = 10, more: str = "", within: tuple[str, ...] = (), **settings: object
) -> AsyncIterator[House]:
    """Yield a house with a mosquitto and a subscriber; its daemon is not started yet, and killed at the end.

    `settings` are of `SETTINGS`.
    """
    broker = Mosquitto(folder=folder)
    await broker.start()
    address = broker.address
    try:
        async with aiomqtt.Client(
            address.host, address.port, username=USER, password=PASSWORD, timeout=10
        ) as client:
            await client.subscribe("finetuned/#", qos=1)
            house = House(
                folder=folder,
                broker=broker,
                ear=Ear(),
                client=client,
                least=least,
                more=more,
                within=within,
                settings=settings,
            )
            house.sysfs.heat(40)
            listening = asyncio.create_task(house.ear.listen(client))
            try:
                yield house
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
                if house.process and house.process.returncode is None:
                    await house.kill()
    finally:
        await broker.kill()


# ── a daemon that knows the demo's model ────────────────────────────────────────────────────────
@asynccontextmanager
async def digits(
    folder: Path,
    *,
    parameters: Mapping[str, int] | None = None,
    least: int = 100,
    more: str = "",
    within: tuple[str, ...] = (),
    **settings: object,
) -> AsyncIterator[House]:
    """Yield a started daemon that knows the demo's model as `digits`."""
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    given = ", ".join(f"{key} = {value}" for key, value in (parameters or {}).items())
    model = f'[models.digits]\npath = "{MODEL}"\nparameters = {{ {given} }}\n'
    async with a_house(folder, least=least, more=model + more, within=within, **settings) as house:
        await house.start()
        yield house


def drop_digits(house: House, count: int = 100, place: str = "digits") -> None:
    """Drop so many of the demo's pictures, the first ones."""
    for picture in pictures(DROPS)[:count]:
        house.drop(f"{place}/{picture.label}/{picture.path.name}", picture.path)


def version_sha(house: House, version: int = 1, place: str = "digits/_") -> str:
    """Return the SHA-256 of a saved version's model."""
    model = house.state / f"models/{place}/versions/{version}/model.mlmodel"
    return hashlib.sha256(model.read_bytes()).hexdigest()
