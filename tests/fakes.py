"""A queue of tasks for tests: real ledger, store, outbox and governor; workers that say and do what the test says.

`a_bench` gives a `Bench`: one model, samples of two users, `tasks.run()` at work, and an ear that hears what leaves the
outbox.  Clocks stand still until they are moved.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.policy.budget import Budget, Reading
from finetuned.policy.trigger import Rule
from finetuned.service.desk import Desk
from finetuned.service.executor import LostError
from finetuned.service.governor import Governor
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_models import Baseline, register_model
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.ledger_tasks import TaskRow, get_task
from finetuned.service.making import Settings
from finetuned.service.messages import (
    Command,
    Completed,
    Held,
    InputSpec,
    Metrics,
    MiniBatchEnd,
    ModelInfo,
    ParameterInfo,
    Report,
    TaskSpec,
    TrainingBegin,
)
from finetuned.service.outbox import Outbox, OutcomeItem, ProgressItem, Subscription
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store
from finetuned.service.tasks import Tasks
from ledgers import NODE, a_sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from finetuned.service.ledger_samples import SampleRow

MODEL = "gestures"
BASE = b"a base"
WANT = InputSpec(name="x", shape=(3,))
INFO = ModelInfo(
    updatable=True,
    kind="neuralNetworkClassifier",
    specification_version=4,
    class_labels=("✊", "✋"),
    sample_inputs=(WANT,),
    target="label",
    parameters={
        "learningRate": ParameterInfo(default=0.01, range=(0.0, 1.0)),
        "epochs": ParameterInfo(default=2, range=(1, 1000)),
    },
)
NEVER = Settings(rule=Rule(min_new_samples=10**6, max_wait_s=float("inf")))
"""No task is due: the test asks for each."""
ENDINGS = {"completed", "failed", "cancelled"}
PATIENCE_S = 30.0

POOR, GOOD = (Metrics(samples=2, loss_value=loss, accuracy=right) for loss, right in ((1.0, 0.5), (0.1, 1.0)))


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@dataclass(kw_only=True)
class Thermometer:
    """A sensor that says what the test wants."""

    celsius: float = 40.0
    name: str = "cpu"
    zone: str = "thermal"

    def read(self) -> Reading:
        """Read it, in the governor's thread."""
        return Reading(zone=self.zone, name=self.name, value=self.celsius)


# ── workers ─────────────────────────────────────────────────────────────────────────────────────
class ScriptedRun:
    """A worker that stands still: the test reads its `commands` and lets it `say` things."""

    def __init__(self, spec: TaskSpec) -> None:
        """It has said nothing yet, and takes every command."""
        self.spec = spec
        self.commands: list[Command] = []
        self.takes = asyncio.Event()
        """Cleared: it is too busy to take a command."""
        self.takes.set()
        self._news = asyncio.Event()
        self._said: asyncio.Queue[Report | Exception] = asyncio.Queue()
        self._seq = 0

    async def control(self, command: Command) -> None:
        """Note the command."""
        await self.takes.wait()
        self.commands.append(command)
        self._news.set()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield what it was made to say, for as long as anybody listens."""
        while True:
            said = await self._said.get()
            if isinstance(said, Exception):
                raise said
            yield said

    async def told(self, *commands: Command) -> None:
        """Wait until these are the commands that it was given, all of them."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.commands != list(commands):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"told {self.commands}, wanted {list(commands)}") from None

    def say(self, *reports: Report) -> None:
        """Say these; where they carry no task and attempt they get this run's."""
        for report in reports:
            self._seq += 1
            mine = {"task": self.spec.task, "attempt": self.spec.attempt, "seq": self._seq}
            self._said.put_nowait(report if report.task else msgspec.structs.replace(report, **mine))

    def die(self) -> None:
        """Be gone without a last word."""
        self._said.put_nowait(LostError("the worker died (killed by signal 9)"))

    def complete(self, data: bytes = b"better", before: Metrics = POOR, after: Metrics = GOOD) -> None:
        """Leave a result and say so."""
        Path(self.spec.result_path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.say(Completed(sha256=digest, before=before, after=after, held_out=True))


class ScriptedExecutor:
    """Gives a `ScriptedRun` for every spec, and `info` (or raises it) for every model."""

    def __init__(self) -> None:
        """Workers start at once."""
        self.runs: list[ScriptedRun] = []
        self.described: list[bytes] = []
        self.info: ModelInfo | Exception = INFO
        self.starts: list[TaskSpec] = []
        self.opens = asyncio.Event()
        """Cleared: a worker that is asked for does not come up."""
        self.opens.set()
        self._news = asyncio.Event()

    @asynccontextmanager
    async def submit(self, spec: TaskSpec) -> AsyncIterator[ScriptedRun]:
        """Start a run, once `opens` is set."""
        self.starts.append(spec)
        self._news.set()
        await self.opens.wait()
        run = ScriptedRun(spec)
        self.runs.append(run)
        self._news.set()
        yield run

    async def describe(self, path: Path) -> ModelInfo:
        """Note what is described."""
        self.described.append(await asyncio.to_thread(path.read_bytes))
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    async def run(self, number: int = 1) -> ScriptedRun:
        """Wait for the run of this number, and return it."""
        await self._until(lambda: len(self.runs) >= number, f"run {number}")
        return self.runs[number - 1]

    async def asked(self, number: int = 1) -> TaskSpec:
        """Wait until a worker is asked for, the first or a later time."""
        await self._until(lambda: len(self.starts) >= number, f"start {number}")
        return self.starts[number - 1]

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not there():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"there was never a {what}") from None


class ScriptedInputs:
    """Decoded samples; `gone` are those that cannot be decoded any more, `trouble` what goes wrong."""

    def __init__(self) -> None:
        """All is decoded."""
        self.gone: Mapping[str, str] = {}
        self.trouble: Exception | None = None
        self.opens = asyncio.Event()
        self.opens.set()
        self.asked = asyncio.Event()

    def want(self, model: str) -> InputSpec:  # noqa: ARG002 - the protocol's
        """Return the one input."""
        return WANT

    async def ensure(self, samples: Sequence[SampleRow], want: InputSpec) -> Mapping[str, str]:  # noqa: ARG002
        """Wait until it may go on."""
        self.asked.set()
        await self.opens.wait()
        if self.trouble is not None:
            raise self.trouble
        return self.gone


def begin(epochs: int = 2, batches: int = 3) -> TrainingBegin:
    """Return a worker's first words."""
    return TrainingBegin(
        parameters={"epochs": epochs},
        samples={"✊": 10},
        held_out=2,
        device="cpu",
        epochs=epochs,
        batches=batches,
    )


def batch(step: int, batches: int = 3) -> MiniBatchEnd:
    """Return the report of mini-batch `step`, counted from 1 through the whole task."""
    epoch, index = divmod(step - 1, batches)
    return MiniBatchEnd(epoch_index=epoch, mini_batch_index=index, loss_value=1 / step, step=step)


STANDS, GOES_ON = Held(held=True), Held(held=False)


# ── who listens ─────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Ear:
    """A sink that takes and acknowledges everything; `said` are events in order, `states` the latest of each key."""

    said: list[dict[str, Any]] = field(default_factory=list)
    states: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, subscription: Subscription) -> None:
        """Take items for ever."""
        async for item in subscription:
            if isinstance(item, OutcomeItem):
                self.said.append(item.payload)
                await subscription.acknowledge(item.id)
            elif isinstance(item, ProgressItem):
                self.said.append(msgspec.to_builtins(item.event))
            else:
                value = None if item.payload is None else msgspec.json.decode(item.payload)
                self.states[item.key] = value
                self.shown.append({"key": item.key, "value": value})
            self._news.set()

    def events(self, *kinds: str, task: str = "") -> list[dict[str, Any]]:
        """Return the events of these types, of one task or all."""
        mine = (event for event in self.said if not task or event.get("task") == task)
        return [event for event in mine if not kinds or event["type"] in kinds]

    async def event(self, kind: str, number: int = 1, task: str = "") -> dict[str, Any]:
        """Wait for the so manieth event of this type, and return it."""
        await self.until(lambda: len(self.events(kind, task=task)) >= number, f"{kind} {number}")
        return self.events(kind, task=task)[number - 1]

    async def state(self, key: str, **wanted: object) -> dict[str, Any]:
        """Wait until the state of this key holds these, and return it."""

        def holds() -> bool:
            value = self.states.get(key)
            return value is not None and wanted.items() <= value.items()

        await self.until(holds, f"{key} {wanted}")
        return self.states[key] or {}

    async def until(self, there: Callable[[], bool], what: str) -> None:
        """Wait until something has been heard."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not there():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            heard = [event["type"] for event in self.said]
            raise AssertionError(f"never heard {what}; heard {heard}, states {self.states}") from None


# ── all of it ───────────────────────────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Bench:
    """A queue at work."""

    desk: Desk
    clock: Clock
    sensor: Thermometer
    governor: Governor
    executor: ScriptedExecutor
    inputs: ScriptedInputs
    tasks: Tasks
    ear: Ear
    working: asyncio.Task[None] | None = None

    async def train(self, user: str = "", **parameters: object) -> str:
        """Ask for a task and return its id."""
        return (await self.tasks.train(MODEL, user, parameters)).id

    async def started(self, user: str = "") -> tuple[str, ScriptedRun]:
        """Ask for a task, and wait for its worker."""
        number = len(self.executor.runs) + 1
        task = await self.train(user)
        return task, await self.executor.run(number)

    async def row(self, task: str) -> TaskRow:
        """Return the task as the ledger has it."""
        return await self.desk.ledger.run(get_task, task)

    async def outcomes(self, task: str) -> list[dict[str, Any]]:
        """Return the task's outcomes as the ledger has them."""
        rows = await self.desk.ledger.run(unsent, 0, 100_000)
        return [row.payload for row in rows if row.payload.get("task") == task]

    async def feel(self, celsius: float, looks: int = 1) -> None:
        """Let the governor see a temperature, so many times."""
        self.sensor.celsius = celsius
        for _ in range(looks):
            await self.governor.look()

    async def is_clear(self, task: str) -> None:
        """Wait until nothing of the task is retained."""
        key = f"task/{task}"
        await self.ear.until(
            lambda: key not in self.desk.outbox.states and not self.ear.states.get(key), f"{key} cleared"
        )

    def begin(self) -> None:
        """Set the queue to work."""
        self.working = asyncio.create_task(self.tasks.run())

    async def stop(self) -> None:
        """Stop the queue as the daemon does; an error of its own comes out."""
        if self.working is not None:
            working, self.working = self.working, None
            working.cancel()
            await asyncio.wait({working})
            if not working.cancelled() and (error := working.exception()):
                raise error


@asynccontextmanager
async def a_desk(folder: Path, clock: Clock | None = None) -> AsyncIterator[Desk]:
    """Yield a desk over a new state folder; nobody listens to its outbox."""
    clock = clock or Clock()
    store = Store(folder / "state")
    store.prepare()
    async with Ledger.open(store.ledger) as ledger:
        yield Desk(
            ledger=ledger,
            store=store,
            outbox=Outbox(ledger),
            node=NODE,
            now=lambda: timestamp(clock.now),
            seconds=clock,
            monotonic=clock,
        )


async def with_samples(desk: Desk, *users: str, count: int = 10) -> None:
    """Register the model, and accept so many samples of each user."""
    baseline = Baseline(name=MODEL, data=BASE, info=INFO)
    await desk.ledger.run(register_model, desk.store, baseline, at=desk.now())
    for user in users:
        await desk.ledger.run(accept_batch, [a_sample(number, user=user) for number in range(1, count + 1)])


@asynccontextmanager
async def a_bench(folder: Path, settings: Settings = NEVER) -> AsyncIterator[Bench]:
    """Yield a queue at work on a model with samples of nobody and of ann; it is stopped at the end."""
    clock, sensor, ear = Clock(), Thermometer(), Ear()
    budget = Budget(min_paused_s=0, min_running_s=0)
    async with a_desk(folder, clock) as desk, desk.outbox.subscribe("ear") as subscription:
        await with_samples(desk, "", "ann")
        governor = Governor([sensor], budget, clock=clock)
        executor, inputs = ScriptedExecutor(), ScriptedInputs()
        tasks = Tasks(desk, executor, governor, inputs, settings)
        bench = Bench(
            desk=desk,
            clock=clock,
            sensor=sensor,
            governor=governor,
            executor=executor,
            inputs=inputs,
            tasks=tasks,
            ear=ear,
        )
        listening = asyncio.create_task(ear.listen(subscription))
        bench.begin()
        try:
            yield bench
        finally:
            await bench.stop()
            listening.cancel()
            await asyncio.wait({listening})
