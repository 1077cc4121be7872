"""A queue of tasks for tests: real ledger, store, outbox and governor; the workers are the test's.

`a_bench` gives a `Bench`: one model, samples of two users, `tasks.run()` at work, and an ear that hears what leaves the
outbox.  Clocks stand still until they are moved.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from fakes import BASE, INFO, MODEL, PATIENCE_S, ScriptedExecutor, ScriptedInputs, ScriptedRun
from finetuned.errors import HostError
from finetuned.policy.budget import Budget, Reading
from finetuned.policy.trigger import Rule
from finetuned.service.desk import Desk
from finetuned.service.governor import Governor
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_models import Baseline, register_model
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.ledger_tasks import TaskRow, get_task
from finetuned.service.making import Settings
from finetuned.service.outbox import Outbox, OutcomeItem, ProgressItem, Subscription
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store
from finetuned.service.tasks import Tasks
from ledgers import NODE, a_sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

EPOCH_S = 1_800_000_000.0
"""When finetuned begins to live."""
NEVER = Settings(rule=Rule(min_new_samples=10**6, max_wait_s=float("inf")), retry_s=0)
"""No task is due: the test asks for each.  A lost worker is replaced at once."""


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = EPOCH_S

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


async def _nothing_more(*_: object, **__: object) -> None:
    raise HostError("the power is cut")


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
    settings: Settings
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

    async def cut(self) -> None:
        """Let the queue be gone, without a chance to write anything more."""
        run, self.desk.ledger.run = self.desk.ledger.run, _nothing_more  # type: ignore[method-assign, assignment]
        try:
            if self.working is not None:
                self.working.cancel()
                await asyncio.wait({self.working})
        finally:
            self.desk.ledger.run = run  # type: ignore[method-assign]
        self.renew()

    def renew(self) -> None:
        """Make another queue, as the next daemon does."""
        self.tasks = Tasks(self.desk, self.executor, self.governor, self.inputs, self.settings)

    async def stop(self) -> None:
        """Stop the queue as a cut does; an error of its own comes out."""
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
            lived=lambda: clock.now - EPOCH_S,
            clock_synchronised=lambda: True,
        )


async def with_samples(desk: Desk, *users: str, count: int = 10) -> None:
    """Register the model, and accept so many samples of each user."""
    baseline = Baseline(name=MODEL, data=BASE, info=INFO)
    await desk.ledger.run(register_model, desk.store, baseline, at=desk.now())
    for user in users:
        samples = [a_sample(number, user=user) for number in range(1, count + 1)]
        await desk.ledger.run(accept_batch, samples, clock=desk.reading())


@asynccontextmanager
async def a_bench(
    folder: Path, settings: Settings = NEVER, *, users: Sequence[str] = ("", "ann"), places: int = 8
) -> AsyncIterator[Bench]:
    """Yield a queue at work on a model with samples of these users; it is stopped at the end."""
    clock, sensor, ear = Clock(), Thermometer(), Ear()
    budget = Budget(min_paused_s=0, min_running_s=0)
    async with a_desk(folder, clock) as desk, desk.outbox.subscribe("ear") as subscription:
        await with_samples(desk, *users)
        governor = Governor([sensor], budget, clock=clock)
        executor, inputs = ScriptedExecutor(places), ScriptedInputs()
        tasks = Tasks(desk, executor, governor, inputs, settings)
        bench = Bench(
            desk=desk,
            clock=clock,
            sensor=sensor,
            governor=governor,
            executor=executor,
            inputs=inputs,
            tasks=tasks,
            settings=settings,
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
