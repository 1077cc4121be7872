"""A busy day, 24 hours of the daemon's clock, as fast as it goes: what grows in the daemon, in its ledger and in mosquitto.

The daemon is whole and in this process, so that its objects can be counted; only its worker is scripted, its clock is ours, and
samples come without files.  Each hour: 21 tasks of 30 epochs with 5 batch events a second, 840 samples, a state every 2 s, 84 requests
with transactions; then the broker is killed and comes back.  40 users.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec
from daemons import NAME, PATIENCE_S
from governor import Figure
from mqtt_growth import Look, broker_mb_until_gone, line, look, slopes
from mqtt_places import Mosquitto, ear, mosquitto

from finetuned.edge import client, config, house
from finetuned.edge import daemon as daemon_room
from finetuned.edge.bucket import Bucket
from finetuned.edge.demo_data import MODEL
from finetuned.errors import HostError
from finetuned.service import messages as m
from finetuned.service.events import SampleAccepted
from finetuned.service.executor import Capabilities
from finetuned.service.ledger_samples import NewSample, accept_batch
from finetuned.service.stamps import timestamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Sequence

    from finetuned.edge.client import Daemon

HOW = "The whole daemon with a scripted worker and a clock of ours, beside a real mosquitto that is killed every hour; 24 hours are lived in a few minutes."
HOURS, TASKS, EPOCHS, BATCHES, SAMPLES, USERS = 24, 21, 30, 28, 40, 40
BATCH_S, STATE_S = 0.2, 2.0
LABELS = tuple(str(number) for number in range(10))
BEGAN_S = 1_800_000_000.0
CONFIGURATION = """
state = "{state}"
[trigger]
min_new_samples = 1000000
[budget]
mode = "always"
sysfs = "/nonexistent"
disk.min_free_mb = 0
[worker]
warm_s = 0
[models.{name}]
path = "{model}"
[mqtt]
host = "{broker.address.host}"
port = {broker.port}
batch_events_per_second = 1000
[log]
level = "error"
"""
POOR, GOOD = (
    m.Metrics(samples=2, loss_value=loss, accuracy=right) for loss, right in ((1.0, 0.5), (0.1, 1.0))
)


# ── a clock and a worker ────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Clock:
    """Stands for `time` in the daemon's rooms: moved by hand."""

    now: float = BEGAN_S

    def time(self) -> float:
        """Seconds since 1970."""
        return self.now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.now - BEGAN_S


@dataclass(slots=True)
class Scripted:
    """An executor whose worker says what it is made to say."""

    name: str = "scripted"
    capabilities: Capabilities = field(default_factory=Capabilities)
    given: asyncio.Queue[tuple[m.TaskSpec, int]] = field(default_factory=asyncio.Queue)
    _said: asyncio.Queue[m.Report | None] = field(default_factory=asyncio.Queue)
    _seq: int = 0

    async def submit(
        self,
        spec: m.TaskSpec,
        attempt: int,
        resume_from: Sequence[m.CheckpointRef] = (),  # noqa: ARG002 - no checkpoint is of use here
    ) -> None:
        """Take a task."""
        self._seq = 0
        self.given.put_nowait((spec, attempt))

    def say(self, report: m.Report, spec: m.TaskSpec) -> None:
        """Say it of this task."""
        self._seq += 1
        self._said.put_nowait(msgspec.structs.replace(report, task=spec.task, attempt=1, seq=self._seq))

    async def events(self) -> AsyncIterator[m.Report]:
        """Yield what is said."""
        while (report := await self._said.get()) is not None:
            yield report

    async def control(self, *_: Any) -> None:  # noqa: ANN401 - the protocol's
        """Obey nothing."""

    async def drain(self, grace_s: float) -> None:
        """Nothing runs."""

    async def close(self) -> None:
        """End the stream."""
        self._said.put_nowait(None)


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Day:
    """A daemon in this process, its clock, its worker and its broker."""

    house: house.House
    clock: Clock
    executor: Scripted
    broker: Mosquitto
    serving: asyncio.Task[None]
    tasks: int = 0
    requests: int = 0
    batches: int = 0

    async def hour(self) -> None:
        """Let one pass, up to the broker's death and return."""
        async with client.connected(self.broker.address) as known:
            await known.connection.listen(known.topics.event("completed"))
            for _ in range(TASKS):
                await self._task(known)
        await self.broker.stop()
        self._append(4)  # what happens while it is away
        await self.broker.start()
        await self._online()

    async def _task(self, known: Daemon) -> None:
        self.tasks += 1
        user = f"user{self.tasks % USERS}"
        await self.house.desk.ledger.run(self._accept, user)
        self.house.desk.outbox.outcomes_written()
        for verb, body in (
            ("mode", {"mode": "always"}),
            ("mode", {"mode": "auto"}),
            ("pause", {"task": "all"}),
        ):
            await known.request(verb, body)
        await known.request("train", {"model": NAME, "user": user})
        self.requests += 4
        async with asyncio.timeout(PATIENCE_S):
            spec, _ = await self.executor.given.get()
        await self._train(spec)
        async with asyncio.timeout(PATIENCE_S):
            await anext(known.events())
        await self._quiet()

    async def _train(self, spec: m.TaskSpec) -> None:
        self.executor.say(
            m.TrainingBegin(
                parameters=spec.parameters,
                samples=dict.fromkeys(LABELS, 4),
                held_out=0,
                device="cpu",
                epochs=EPOCHS,
                batches=BATCHES,
            ),
            spec,
        )
        for step in range(1, EPOCHS * BATCHES + 1):
            self._batch(spec, step)
            if step % BATCHES == 0:
                self._epoch(spec, step)
                await self._quiet()
        result = m.result_path(spec, 1)
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_bytes(MODEL.read_bytes() + b"")
        digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
        self.executor.say(m.Completed(sha256=digest, before=POOR, after=GOOD, held_out=True), spec)

    def _batch(self, spec: m.TaskSpec, step: int) -> None:
        self.clock.now += BATCH_S
        self.batches += 1
        epoch, index = divmod(step - 1, BATCHES)
        self.executor.say(
            m.MiniBatchEnd(epoch_index=epoch, mini_batch_index=index, loss_value=1 / step, step=step), spec
        )
        if step % (STATE_S / BATCH_S) == 0:
            self.house.stir.set()

    def _epoch(self, spec: m.TaskSpec, step: int) -> None:
        path = Path("1") / f"checkpoint-{step}"
        whole = Path(spec.folder) / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(b"a checkpoint")
        digest = hashlib.sha256(b"a checkpoint").hexdigest()
        ref = m.CheckpointRef(path=str(path), sha256=digest, step=step)
        epoch = step // BATCHES - 1
        self.executor.say(
            m.EpochEnd(epoch_index=epoch, loss_value=1 / step, last_mini_batch_loss=0.1, step=step), spec
        )
        self.executor.say(m.Checkpointed(checkpoint=ref, step=step), spec)

    async def _quiet(self) -> None:
        """Wait until everything that was said is on the broker."""
        while self.executor._said.qsize():  # noqa: ASYNC110, SLF001 - our own
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            await self.house.desk.outbox.drained()

    async def _online(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            async with client.connected(self.broker.address) as known:
                await known.request("mode", {"mode": "auto"}, timeout=PATIENCE_S)
        self.requests += 1

    # ── samples ─────────────────────────────────────────────────────────────────────────────────
    def _accept(self, db: sqlite3.Connection, user: str) -> None:
        base = self.tasks * SAMPLES
        samples = [self._sample(base + number, user) for number in range(SAMPLES)]
        told = [
            SampleAccepted(
                ts=timestamp(self.clock.now),
                node=self.house.desk.node,
                model=NAME,
                user=user,
                label=each.label,
                name=each.name,
            )
            for each in samples
        ]
        accept_batch(db, samples, clock=self.house.desk.reading(), tell=lambda _: told)

    def _sample(self, number: int, user: str) -> NewSample:
        name = f"{number}.png"
        return NewSample(
            model=NAME,
            user=user,
            digest=f"{number:064x}",
            label=LABELS[number % len(LABELS)],
            name=name,
            path=f"models/{NAME}/{user}/samples/{name}",
            bytes=300,
            held_out=number % 5 == 0,
            source=f"{name}:{number}:0",
            accepted_at=timestamp(self.clock.now),
            accepted_s=self.clock.monotonic(),
        )

    def _append(self, count: int) -> None:
        """Let states change."""
        for number in range(count):
            self.house.desk.outbox.state("state", msgspec.json.encode({"number": number}))


async def _nothing_gone(*_: object) -> dict[str, str]:
    return {}


@asynccontextmanager
async def a_day(folder: Path, broker: Mosquitto) -> AsyncIterator[Day]:
    """Start the daemon here."""
    file = folder / "finetuned.toml"
    file.write_text(CONFIGURATION.format(state=folder / "state", name=NAME, model=MODEL, broker=broker))
    clock, executor = Clock(), Scripted()
    built: asyncio.Future[house.House] = asyncio.get_running_loop().create_future()

    async def build(*args: Any) -> house.House:  # noqa: ANN401 - as it is
        made = await house.build(*args)
        built.set_result(made)
        return made

    with (
        patch.object(house, "time", clock),
        patch.object(house, "chosen_executor", lambda *_: executor),
        patch.object(house.Inputs, "ensure", _nothing_gone),
        patch.object(daemon_room, "build", build),
    ):
        serving = asyncio.create_task(daemon_room.serve(config.load(file)), name="daemon")
        try:
            await asyncio.wait({serving, built}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                raise HostError(f"the daemon did not start: {serving.exception()}")
            # By our clock a connection lasts an hour, and 1,000 events a second are more than there are.
            bridge = built.result().bridge
            bridge.clock = clock.monotonic
            bridge._batches = Bucket(rate=1000, burst=1000, clock=clock.monotonic)  # noqa: SLF001 - no setting allows more
            day = Day(house=built.result(), clock=clock, executor=executor, broker=broker, serving=serving)
            await day._online()  # noqa: SLF001 - our own
            yield day
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


# ── the whole
async def measured(folder: Path, hours: int = HOURS) -> list[Figure]:
    """Live through it."""
    looks: list[Look] = []
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(mosquitto(folder / "broker"))
        day = await stack.enter_async_context(a_day(folder, broker))
        await stack.enter_async_context(ear(folder, broker.address, day.house.bridge.topics.base))
        for _ in range(hours):
            watching = asyncio.create_task(broker_mb_until_gone(broker))
            await day.hour()
            store = day.house.desk.store
            looks.append(await look(day.house.desk.ledger, store.ledger, await watching))
            print(line(len(looks), looks[-1]), flush=True)
    return [*slopes(looks), _happened(day, looks)]


def _happened(day: Day, looks: list[Look]) -> Figure:
    rows = ", ".join(f"{name} {count:,}" for name, count in looks[-1].rows.items())
    return Figure(
        what="what happened",
        value=f"{day.tasks:,} tasks, {day.batches:,} batch events, {day.tasks * SAMPLES:,} samples, {day.requests:,} requests",
        remark=f"{len(looks)} restarts of the broker; rows at the end: {rows}",
    )
