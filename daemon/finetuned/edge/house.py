"""The rooms of a running daemon, and how they are put together."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from finetuned.edge import broker
from finetuned.edge.disclosure import COUNTS, Disclosure, understanding
from finetuned.edge.folders import places
from finetuned.edge.glance import answer_to_status, state_of
from finetuned.edge.homeassistant.announcer import announcers
from finetuned.edge.limits import budget_of, machine_of
from finetuned.edge.logs import get_logger
from finetuned.edge.mqtt import Bridge
from finetuned.edge.requests import Memory
from finetuned.edge.rules import entries_of, growth_of, rule_of
from finetuned.edge.systemd import Notifier
from finetuned.edge.threads import threads_of
from finetuned.edge.verbs import Desk as Verbs
from finetuned.errors import ConfigurationError, HostError
from finetuned.policy.budget import Mode
from finetuned.service import batch, clock, plugins
from finetuned.service import ingest as ingestion
from finetuned.service.decoder import Decoders, Limits
from finetuned.service.desk import Desk
from finetuned.service.forgetting import Forgetting
from finetuned.service.governor import Governor
from finetuned.service.ingest import Ingest
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_pairs import list_pairs
from finetuned.service.ledger_requests import recall, remember
from finetuned.service.local import LocalExecutor
from finetuned.service.making import Settings
from finetuned.service.models import Models
from finetuned.service.modes import Modes
from finetuned.service.outbox import Outbox
from finetuned.service.selection import Selection
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store
from finetuned.service.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from finetuned.edge.broker import Address
    from finetuned.edge.config import Config
    from finetuned.edge.payloads import StatusAnswer
    from finetuned.edge.requests import Handler
    from finetuned.service.executor import Executor
    from finetuned.service.ledger_samples import SampleRow
    from finetuned.service.messages import InputSpec
    from finetuned.service.watch import Found

log = get_logger("house")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rooms of a running daemon, put together."""

    config: Config
    desk: Desk
    governor: Governor
    modes: Modes
    tasks: Tasks
    ingest: Ingest
    models: Models
    bridge: Bridge
    ears: Ears
    notifier: Notifier
    stir: asyncio.Event


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where a task's decoded samples come from."""

    store: Store
    decoders: Decoders
    models: Models

    def want(self, model: str) -> InputSpec:
        """Return what a sample of this model is decoded to."""
        return self.models.want(model)

    async def ensure(self, samples: Sequence[SampleRow], want: InputSpec) -> Mapping[str, str]:
        """Decode what is missing."""
        return await ingestion.ensure_inputs(self.store, self.decoders, samples, want)


@dataclass(slots=True, kw_only=True)
class Ears:
    """Hears of ingestion, and tells the others."""

    desk: Desk
    tasks: Tasks
    models: Models
    ingest: Ingest | None = None
    stir: asyncio.Event
    news: set[tuple[str, str]] = field(default_factory=set)

    def accepted(self, model: str, user: str) -> None:
        """There are new samples: the queue may have something to do."""
        self.news.add((model, user))
        self.tasks.wake()
        self.stir.set()

    def told(self) -> None:
        """The ledger has new outcomes."""
        self.desk.outbox.outcomes_written()
        self.stir.set()

    def warned(self, _: str) -> None:
        """Something goes wrong: it is in the daemon's state, and in the log when that is shown."""
        self.stir.set()

    async def model_dropped(self, found: Found) -> None:
        """A model lies in the inbox itself."""
        if row := await self.models.take(found):
            self.news.add((row.name, ""))
            self.stir.set()
            if self.ingest is not None:
                self.ingest.rescan()

    async def show_models(self) -> None:
        """Publish the states of the models and users that have news."""
        news, self.news = self.news, set()
        for name, user in sorted(news):
            await self.tasks.showcase.model(name, user)


async def build(stack: AsyncExitStack, config: Config) -> House:
    """Put the rooms together; what must be ended is left on the stack."""
    where = places(config)
    store = Store(where.state)
    stack.enter_context(store.lock())
    store.prepare()
    ledger = await stack.enter_async_context(Ledger.open(store.ledger))
    node = f"{socket.gethostname()}-{store.instance()}"
    address = await stack.enter_async_context(_broker(config, where.runtime, node))
    desk = Desk(
        ledger=ledger,
        store=store,
        outbox=Outbox(ledger),
        node=node,
        now=lambda: timestamp(time.time()),
        seconds=time.time,
        monotonic=time.monotonic,
        lived=clock.begun(await ledger.run(clock.load_clock)),
        clock_synchronised=clock.synchronised,
    )
    stack.push_async_callback(_save_clock, desk)
    return await _furnish(stack, config, desk, address, where.inbox)


async def _save_clock(desk: Desk) -> None:
    """Keep, at the end, how long the daemon has lived; a disk that refuses takes no more than the last minute."""
    with contextlib.suppress(HostError):
        await desk.save_clock()


async def _furnish(stack: AsyncExitStack, config: Config, desk: Desk, address: Address, inbox: Path) -> House:
    found = plugins.load()
    governor = _governor(config, found, desk)
    modes = Modes(desk=desk, governor=governor, configured=Mode(config.budget.mode))
    workers = LocalExecutor(
        nice=config.worker.nice,
        places=config.worker.max_running,
        warm_s=config.worker.warm_s,
        silence_s=config.worker.silence_s,
    )
    stack.push_async_callback(workers.close)
    executor = chosen_executor(config, found, workers)
    for error in found.errors:  # by now they have been asked for all that the daemon wants of them
        log.warning("plugin", error=str(error))
    if executor is not workers:
        stack.push_async_callback(executor.close)
    limits = Limits(file_bytes=config.ingest.max_file_mb * 2**20, timeout_s=config.ingest.decode_timeout_s)
    decoders = await stack.enter_async_context(Decoders(limits))
    models = Models(desk, workers, inbox, entries_of(config))
    tasks = Tasks(desk, executor, governor, Inputs(desk.store, decoders, models), _settings(config))
    stir = asyncio.Event()
    tasks.showcase.on_change = stir.set
    ears = Ears(desk=desk, tasks=tasks, models=models, stir=stir)
    ears.ingest = ingest = _ingest(config, desk, decoders, inbox, ears)
    ingest.closed = partial(_no_room, governor, config.budget.disk.min_free_mb)

    verbs = _verbs(desk, governor, modes, tasks, ingest, models)
    return House(
        config=config,
        desk=desk,
        governor=governor,
        modes=modes,
        tasks=tasks,
        ingest=ingest,
        models=models,
        bridge=_bridge(config, desk, address, verbs, _disclosure(config, desk, models)),
        ears=ears,
        notifier=Notifier.from_environment(),
        stir=stir,
    )


def _verbs(  # noqa: PLR0913, PLR0917 - a room for each kind of request
    desk: Desk, governor: Governor, modes: Modes, tasks: Tasks, ingest: Ingest, models: Models
) -> Verbs:
    async def glance() -> StatusAnswer:
        return answer_to_status(desk, state_of(governor, tasks, ingest))

    def rescan() -> int:
        ingest.rescan()
        return ingest.waiting

    async def relook() -> None:
        await models.refresh()
        ingest.rescan()

    forgetting = Forgetting(
        desk=desk, tasks=tasks, turn=ingest.turn, intakes=lambda: models.intakes, relook=relook
    )
    selection = Selection(desk=desk, showcase=tasks.showcase)
    return Verbs(
        tasks,
        desk.ledger,
        modes,
        glance,
        selection=selection,
        forgetting=forgetting,
        rescan=rescan,
    )


def chosen_executor(config: Config, found: plugins.Plugins, workers: LocalExecutor) -> Executor:
    """Return the executor that the configuration chooses; ConfigurationError where there is none of that name."""
    known = {executor.name: executor for executor in (workers, *found.executors())}
    if config.worker.executor not in known:
        there, wrong = ", ".join(sorted(known)), "".join(f"; {error}" for error in found.errors)
        raise ConfigurationError(
            f"worker.executor: {config.worker.executor!r} is not installed; there is {there}{wrong}"
        )
    return known[config.worker.executor]


def _no_room(governor: Governor, least_mb: int) -> str:
    """Say that the disk is too full to take anything, if it is."""
    if not governor.pauses_for("disk"):
        return ""
    return (
        f"less than {least_mb} MB are free on the disk: nothing is taken from the inbox until there is more"
    )


def _ingest(config: Config, desk: Desk, decoders: Decoders, inbox: Path, ears: Ears) -> Ingest:
    settings = ingestion.Settings(
        users=config.ingest.users,
        settle_s=config.ingest.settle_s,
        rescan_s=config.ingest.rescan_s,
        file_bytes=config.ingest.max_file_mb * 2**20,
    )
    workbench = batch.Workbench(
        inbox=inbox.resolve(),
        store=desk.store,
        ledger=desk.ledger,
        decoders=decoders,
        node=desk.node,
        clock=desk.reading,
    )
    ticks = ingestion.Clock(monotonic=desk.monotonic, utc=desk.seconds)
    return Ingest(workbench, settings, intakes=lambda: ears.models.intakes, listener=ears, clock=ticks)


def _disclosure(config: Config, desk: Desk, models: Models) -> Disclosure:
    level = config.mqtt.disclose
    key = desk.store.secret() if level == COUNTS else b""
    return Disclosure(level=level, key=key, models=lambda: models.intakes)


def _bridge(config: Config, desk: Desk, address: Address, handler: Handler, disclosure: Disclosure) -> Bridge:
    async def known(model: str) -> tuple[set[str], set[str]]:
        pairs = await desk.ledger.run(list_pairs, model)
        return {pair.user for pair in pairs} - {""}, {label for pair in pairs for label in pair.samples}

    return Bridge(
        address=address,
        mqtt=config.mqtt,
        node=desk.node,
        outbox=desk.outbox,
        handler=understanding(handler, disclosure, known),
        disclosure=disclosure,
        announcers=announcers(config, desk.node),
        memory=_memory(desk),
    )


@asynccontextmanager
async def _broker(config: Config, runtime: Path, node: str) -> AsyncIterator[Address]:
    if config.mqtt.host:
        yield broker.external(config.mqtt, node=node)
        return
    async with broker.embedded(runtime, node) as address:
        yield address


def _governor(config: Config, found: plugins.Plugins, desk: Desk) -> Governor:
    """Return the governor; by lived seconds, so that a suspended machine's mode ends when it was to end."""
    budget = config.budget
    sensors = found.sensors(machine_of(budget, desk.store.root))
    return Governor(sensors, budget_of(budget), interval_s=budget.interval_s, clock=desk.lived)


def _settings(config: Config) -> Settings:
    rate = config.mqtt.batch_events_per_second
    return Settings(
        rule=rule_of(config, ""),
        rules={name: rule_of(config, name) for name in config.models},
        held_out=config.validation.held_out,
        threads=threads_of(config.worker.threads),
        devices=tuple(config.worker.devices),
        urgent=frozenset(name for name, entry in config.models.items() if entry.priority == "urgent"),
        report_interval_s=1 / rate if rate else -1.0,
        parameters={name: entry.parameters for name, entry in config.models.items()},
        growth=growth_of(config),
        places=config.worker.max_running,
        checkpoint_s=config.worker.checkpoint_s,
        release_after_s=config.budget.release_after_s,
        retry_s=config.worker.retry_s,
        kept_versions=config.history.versions,
    )


def _memory(desk: Desk) -> Memory:
    async def remember_now(transaction: str, answer: Any) -> Any:  # noqa: ANN401 - Answer, both times
        return await desk.ledger.run(
            remember, transaction, answer, at=desk.now(), synchronised=desk.clock_synchronised()
        )

    return Memory(recall=lambda transaction: desk.ledger.run(recall, transaction), remember=remember_now)
