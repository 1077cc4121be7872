"""`serve(config)`: everything that lives as long as the daemon, in one named task group.

The order of the start is the order of what must be true first: the state folder is ours, the ledger is open, folders agree
with it, interrupted tasks are back in the queue; only then anybody is listened to.  SIGTERM and SIGINT end it in the other
order, and what was said last still goes out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned import __version__
from finetuned.edge import broker
from finetuned.edge.config import places
from finetuned.edge.logs import get_logger
from finetuned.edge.mqtt import SINK, Bridge
from finetuned.edge.requests import Memory
from finetuned.edge.systemd import Notifier
from finetuned.edge.verbs import Desk as Verbs
from finetuned.errors import FinetunedError
from finetuned.policy.budget import Budget, Missing, battery_zone, thermal_zone
from finetuned.policy.trigger import Rule
from finetuned.service import plugins
from finetuned.service.decoder import Decoders
from finetuned.service.desk import Desk
from finetuned.service.events import DaemonState
from finetuned.service.executor import LocalExecutor
from finetuned.service.governor import Governor
from finetuned.service.ingest import Ingest
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_outcomes import keep_sinks
from finetuned.service.ledger_requests import recall, remember
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.ledger_versions import list_current, list_versions
from finetuned.service.making import Settings
from finetuned.service.models import Models
from finetuned.service.outbox import Outbox
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store
from finetuned.service.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from finetuned.edge.broker import Address
    from finetuned.edge.config import Config

MOST_THREADS = 4
GLANCE_S = 1.0
FAREWELL_S = 2.0
log = get_logger("daemon")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rooms of a running daemon, put together."""

    config: Config
    desk: Desk
    governor: Governor
    tasks: Tasks
    ingest: Ingest
    models: Models
    bridge: Bridge
    notifier: Notifier


async def serve(
    config: Config, *, ready: Callable[[Address], None] = lambda _: None, stop: asyncio.Event | None = None
) -> None:
    """Be the daemon until SIGTERM, SIGINT or `stop`.

    Raises:
        HostError: the state folder is in use or broken, or the embedded broker cannot be had.
        ConfigurationError: a model of the configuration cannot be registered.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with AsyncExitStack() as stack:
            house = await _build(stack, config)
            await _prepare(house)
            await _live(house, stop, ready)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


# ── building ────────────────────────────────────────────────────────────────────────────────────
async def _build(stack: AsyncExitStack, config: Config) -> House:
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
    )
    return await _furnish(stack, config, desk, address, where.inbox)


async def _furnish(stack: AsyncExitStack, config: Config, desk: Desk, address: Address, inbox: Path) -> House:
    found = plugins.load()
    governor = _governor(config, found)
    executor = LocalExecutor(nice=config.worker.nice)
    decoders = await stack.enter_async_context(Decoders())
    models = Models(
        desk=desk,
        executor=executor,
        inbox=inbox,
        labels={name: entry.labels for name, entry in config.models.items()},
    )
    ingest = Ingest(desk=desk, decoders=decoders, models=models, inbox=inbox, config=config)
    tasks = Tasks(desk, executor, governor, ingest.ensure_inputs, _settings(config))
    ingest.on_accepted = tasks.wake
    bridge = Bridge(
        address=address,
        mqtt=config.mqtt,
        node=desk.node,
        outbox=desk.outbox,
        handler=Verbs(tasks, lambda: _glance(house)),
        memory=_memory(desk),
    )
    for error in found.errors:
        log.warning("plugin", error=str(error))
    house = House(
        config=config,
        desk=desk,
        governor=governor,
        tasks=tasks,
        ingest=ingest,
        models=models,
        bridge=bridge,
        notifier=Notifier.from_environment(),
    )
    return house


@asynccontextmanager
async def _broker(config: Config, runtime: Path, node: str) -> AsyncIterator[Address]:
    if config.mqtt.host:
        yield broker.external(config.mqtt, node=node)
        return
    async with broker.embedded(runtime, node) as address:
        yield address


def _governor(config: Config, found: plugins.Plugins) -> Governor:
    limits = config.budget
    thermal, battery = limits.thermal, limits.battery
    budget = Budget(
        zones=(
            thermal_zone(throttle=thermal.throttle, pause=thermal.pause, resume=thermal.resume),
            battery_zone(
                throttle_on_battery=battery.throttle_on_battery, pause=battery.pause, resume=battery.resume
            ),
        ),
        min_paused_s=limits.min_paused_s,
        min_running_s=limits.min_running_s,
        missing=Missing(limits.missing),
    )
    return Governor(found.sensors(Path(limits.sysfs)), budget, interval_s=limits.interval_s)


def _settings(config: Config) -> Settings:
    trigger, rate = config.trigger, config.mqtt.batch_events_per_second
    return Settings(
        rule=Rule(
            min_new_samples=trigger.min_new_samples, quiet_s=trigger.quiet_s, max_wait_s=trigger.max_wait_s
        ),
        held_out=config.validation.held_out,
        threads=config.worker.threads or min(os.cpu_count() or 1, MOST_THREADS),
        report_interval_s=1 / rate if rate else -1.0,
        parameters={name: entry.parameters for name, entry in config.models.items()},
    )


def _memory(desk: Desk) -> Memory:
    async def remember_now(transaction: str, answer: Any) -> Any:  # noqa: ANN401 - Answer, both times
        return await desk.ledger.run(remember, transaction, answer, at=desk.now())

    return Memory(recall=lambda transaction: desk.ledger.run(recall, transaction), remember=remember_now)


# ── living ──────────────────────────────────────────────────────────────────────────────────────
async def _prepare(house: House) -> None:
    """Make true what must be true before anybody is listened to."""
    desk = house.desk
    await house.tasks.recover()
    alive = {row.id for row in await desk.ledger.run(alive_tasks)}
    repaired = await asyncio.to_thread(
        desk.store.repair,
        versions=await desk.ledger.run(list_versions),
        current=await desk.ledger.run(list_current),
        alive=alive,
    )
    for sentence in repaired:
        log.info("repaired", what=sentence)
    await desk.ledger.run(keep_sinks, {SINK})
    for name, entry in house.config.models.items():
        await house.models.register(name, Path(entry.path))
    await house.models.make_inboxes()
    await house.governor.look()
    await house.tasks.show_all()


async def _live(house: House, stop: asyncio.Event, ready: Callable[[Address], None]) -> None:
    """Run everything until `stop`; the bridge stays a little longer, so that the last words go out."""
    bridge = asyncio.create_task(house.bridge.run(), name="mqtt")
    try:
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(house.governor.run(), name="governor"),
                group.create_task(house.ingest.run(), name="ingest"),
                group.create_task(house.tasks.run(), name="tasks"),
                group.create_task(_show(house), name="state"),
                group.create_task(house.notifier.watchdog(), name="watchdog"),
            ]
            ready(house.bridge.address)
            house.notifier.ready("ready")
            log.info("ready", node=house.desk.node, version=__version__, state=str(house.desk.store.root))
            await stop.wait()
            house.notifier.stopping("stopping")
            log.info("stopping")
            for task in working:
                task.cancel()
        await _last_words(house)
    finally:
        bridge.cancel()
        await asyncio.wait({bridge})


async def _show(house: House) -> None:
    """Keep the daemon's state topic and systemd's status line true."""
    while True:
        state = state_of(house)
        house.desk.outbox.state("state", msgspec.json.encode(state))
        house.notifier.status(_status_line(state))
        await asyncio.sleep(GLANCE_S)


def state_of(house: House) -> DaemonState:
    """Return the daemon at a glance."""
    verdict = house.governor.verdict
    return DaemonState(
        version=__version__,
        mode=house.governor.mode,
        pace=verdict.pace,
        duty=verdict.duty,
        device=house.tasks.device,
        reasons=verdict.reasons,
        running=house.tasks.running,
        queued=house.tasks.queued,
        waiting_samples=house.ingest.waiting,
        readings=house.governor.readings,
        warnings=house.governor.warnings,
    )


def _status_line(state: DaemonState) -> str:
    why = f" ({', '.join(state.reasons)})" if state.reasons else ""
    doing = f"training {len(state.running)}, {state.queued} queued" if state.running else "idle"
    return f"{doing}, pace {state.pace}{why}"


async def _glance(house: House) -> dict[str, Any]:
    """Return the answer to `status`: the daemon, its models and its tasks, as they are on their topics."""
    states = {key: msgspec.json.decode(payload) for key, payload in house.desk.outbox.states.items()}
    return {
        "node": house.desk.node,
        "state": msgspec.to_builtins(state_of(house)),
        "models": [state for key, state in sorted(states.items()) if key.startswith("model/")],
        "tasks": [state for key, state in sorted(states.items()) if key.startswith("task/")],
    }


async def _last_words(house: House) -> None:
    """Give the bridge a moment to send what is written, if anybody listens."""
    try:
        await asyncio.wait_for(house.desk.outbox.drained(), FAREWELL_S)
    except TimeoutError:
        log.info("left before everything was sent; it is sent after the next start")


def run(config: Config) -> None:
    """Serve in a loop of its own; what ends the daemon is told as the error that it is."""
    try:
        asyncio.run(serve(config))
    except* FinetunedError as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[FinetunedError]) -> FinetunedError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
