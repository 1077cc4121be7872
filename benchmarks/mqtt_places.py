"""What the measurements of MQTT stand on: a mosquitto, a subscriber in a process of its own, a daemon that trains when asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemons import NAME, PATIENCE_S, daemon, drop

from finetuned.edge import client
from finetuned.edge.broker import LOOPBACK, Address
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.edge.client import Daemon

HERE = Path(__file__).parent
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
NEVER = f"[models.{NAME}.trigger]\nmin_new_samples = 1000000\nmax_wait_s = 3e7\n"
WORKER = b"finetuned.service.worker"
SUBSCRIBED = "event/#"


def need_mosquitto() -> str:
    """Return where it is; HostError where it is not."""
    if MOSQUITTO is None:
        raise HostError(
            "mosquitto is not installed (apt-get install mosquitto): nothing of this can be measured"
        )
    return MOSQUITTO


@dataclass(kw_only=True)
class Mosquitto:
    """Debian's mosquitto on loopback, for anybody; it can be ended and started again on the same port.

    `prompt`: it sends small packets at once (`set_tcp_nodelay`), which is not its default.
    """

    folder: Path
    port: int = 0
    prompt: bool = False
    _process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(host=LOOPBACK, port=self.port)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process  # noqa: S101 - it was started
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it says that it runs."""
        self.port = self.port or _free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} {LOOPBACK}",
            "allow_anonymous true",
            "persistence false",
            "log_dest stderr",
        ]
        file.write_text(
            "\n".join([*lines, "log_type information", "log_type error", *_as_root(), *self._more(), ""])
        )
        self._process = await asyncio.create_subprocess_exec(
            need_mosquitto(), "-c", str(file), stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr  # noqa: S101 - a pipe
        said = b""
        while not said.rstrip().endswith(b"running"):
            if not (said := await self._process.stderr.readline()):
                raise HostError(f"mosquitto ended at its start; its configuration is {file}")
        self._reader = asyncio.create_task(self._process.stderr.read(), name="mosquitto's log")

    def _more(self) -> list[str]:
        return ["set_tcp_nodelay true"] if self.prompt else []

    async def stop(self) -> None:
        """End it as `kill -9` does."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
            await self._reader


def _as_root() -> list[str]:
    return ["user root"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def mosquitto(folder: Path, *, prompt: bool = False) -> AsyncIterator[Mosquitto]:
    """Run one."""
    broker = Mosquitto(folder=folder, prompt=prompt)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


# ── who listens ─────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message: CLOCK_MONOTONIC in ns at which a subscriber's callback was called, the topic's last levels, the payload."""

    at_ns: int
    topic: str
    payload: dict[str, Any]


@dataclass(kw_only=True)
class Ear:
    """A subscriber's process."""

    out: Path
    process: asyncio.subprocess.Process
    heard: list[Heard] = field(default_factory=list)

    async def stop(self) -> list[Heard]:
        """End it and return what it heard."""
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
            lines = (line.split(b"\t", 2) for line in self.out.read_bytes().splitlines())
            self.heard = [
                Heard(at_ns=int(at), topic=topic.decode(), payload=json.loads(said))
                for at, topic, said in lines
            ]
        return self.heard


@asynccontextmanager
async def ear(folder: Path, address: Address, prefix: str) -> AsyncIterator[Ear]:
    """Subscribe to all events of a node, in a process of its own."""
    place = {name: getattr(address, name) for name in ("host", "port", "username", "password")}
    out = folder / "heard"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "mqtt_ear.py"), json.dumps(place), f"{prefix}/{SUBSCRIBED}", str(out)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout  # noqa: S101 - a pipe
    async with asyncio.timeout(PATIENCE_S):
        await process.stdout.readline()
    subscriber = Ear(out=out, process=process)
    try:
        yield subscriber
    finally:
        await subscriber.stop()


# ── who trains ──────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A daemon with samples, which trains when it is asked; `known` hears only of beginnings and ends."""

    pid: int
    known: Daemon
    folder: Path

    @property
    def base(self) -> str:
        """What its topics begin with."""
        return self.known.topics.base

    @property
    def worker(self) -> int:
        """The process of its worker."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return next(int(pid) for pid in children if WORKER in Path(f"/proc/{pid}/cmdline").read_bytes())

    async def train(self, **parameters: float) -> tuple[float, int]:
        """Train to the end; return the task's seconds and its mini-batches."""
        await self.known.request("train", {"model": NAME, "parameters": parameters})
        steps = 0
        async for topic, event in self.known.events():
            if topic == "event/trainingBegin":
                steps = int(event["epochs"] * event["batches"])
            if topic == "event/completed":
                return float(event["durationSeconds"]), steps
            if topic in {"event/failed", "event/cancelled"}:
                raise HostError(f"the task has ended badly: {event}")
        raise HostError("the daemon is gone")


@asynccontextmanager
async def trainer(
    folder: Path, *, mqtt: str = "", copies: int = 1, within: tuple[str, ...] = ()
) -> AsyncIterator[Trainer]:
    """Run a daemon that has 400 pictures for each copy; `mqtt` are lines of that section."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    more = f"{NEVER}[mqtt]\n{mqtt}\n"
    async with AsyncExitStack() as stack:
        process, address, _ = await stack.enter_async_context(
            daemon(
                folder, budget='mode = "always"', more=more, warm_s=600.0, worker="threads = 1", within=within
            )
        )
        known = await stack.enter_async_context(client.connected(address))
        for kind in ("trainingBegin", "completed", "failed", "cancelled"):
            await known.connection.listen(known.topics.event(kind))
        if copies:
            await asyncio.to_thread(drop, folder / "state" / "inbox" / NAME, copies=copies)
            await _has_samples(known, 400 * copies)
        yield Trainer(pid=process.pid, known=known, folder=folder)


async def _has_samples(known: Daemon, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = await known.request("status")
            if sum(sum(model["samples"].values()) for model in status["models"]) >= count:
                return
            await asyncio.sleep(0.2)


# ── processes from outside ──────────────────────────────────────────────────────────────────────
def cpu_of_threads(pid: int) -> dict[str, float]:
    """Return the seconds of CPU of each thread by its id, as the scheduler counts them."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU of all threads."""
    return sum(cpu_of_threads(pid).values())


def pin(pid: int, core: int) -> None:
    """Let all threads of a process run on this core alone."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(task.name), {core})


def noting_path() -> str:
    """Return a PYTHONPATH with which a process notes what a benchmark wants to know of it."""
    return os.pathsep.join(filter(None, (str(HERE / "noting"), os.environ.get("PYTHONPATH", ""))))
