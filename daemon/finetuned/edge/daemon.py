"""`serve(config)`: everything that lives as long as the daemon, in one named task group.

The order of the start is the order of what must be true first: the state folder is ours, the ledger is open, folders agree
with it, interrupted tasks are back in the queue; only then anybody is listened to.  SIGTERM and SIGINT end it in the other
order, and what was said last still goes out.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finetuned import __version__
from finetuned.edge import logs
from finetuned.edge.exits import DONE, exit_code
from finetuned.edge.glance import Glance, state_of, status_line
from finetuned.edge.handover import received
from finetuned.edge.house import House, build
from finetuned.edge.logs import get_logger
from finetuned.edge.mqtt import SINK
from finetuned.edge.signals import heeding
from finetuned.errors import ConfigurationError, FinetunedError, HostError, ModelError, RequestError
from finetuned.service.forgetting import finish_forgetting
from finetuned.service.ledger import data_version
from finetuned.service.ledger_checkpoints import known_checkpoints
from finetuned.service.ledger_outcomes import keep_sinks
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.ledger_versions import list_current, list_dropped, list_versions
from finetuned.service.retention import trim

if TYPE_CHECKING:
    from finetuned.edge.config import Config

GLANCE_S = 5.0  # between looks at what changes without a word: readings, other processes' writes
BREATH_S = 0.2  # between two states at least
FAREWELL_S = 2.0
log = get_logger("daemon")


async def serve(config: Config) -> None:
    """Be the daemon until SIGTERM, SIGINT or SIGHUP.

    Raises:
        HostError: the state folder is in use, broken or taken away, or the embedded broker cannot be had.
        ConfigurationError: a model of the configuration cannot be registered.
    """
    stop = asyncio.Event()
    with heeding(stop.set):
        async with AsyncExitStack() as stack:
            house = await build(stack, config)
            await _prepare(house)
            await _live(house, stop)


# ── living ──────────────────────────────────────────────────────────────────────────────────────
async def _prepare(house: House) -> None:
    """Make true what must be true before anybody is listened to."""
    desk = house.desk
    await house.tasks.recover()
    await desk.ledger.run(keep_sinks, {SINK})
    await finish_forgetting(desk)
    alive = {row.id for row in await desk.ledger.run(alive_tasks)}
    repaired = await asyncio.to_thread(
        desk.store.repair,
        versions=await desk.ledger.run(list_versions),
        current=await desk.ledger.run(list_current),
        dropped=await desk.ledger.run(list_dropped),
        alive=alive,
        checkpoints={desk.store.task(task) / path for task, path in await desk.ledger.run(known_checkpoints)},
    )
    for sentence in repaired:
        log.info("repaired", what=sentence)
    await trim(desk, house.config.history.versions)
    for name, entry in house.config.models.items():
        await _register(house, name, Path(entry.path))
    await house.models.refresh()
    await house.modes.restore()
    await house.governor.look()
    await house.tasks.showcase.everything()


async def _register(house: House, name: str, path: Path) -> None:
    """Register a model of the configuration; ConfigurationError for what no new start mends."""
    try:
        await house.models.register(name, path)
    except (ModelError, RequestError) as error:
        raise ConfigurationError(f"models.{name}: {error}") from error


async def _live(house: House, stop: asyncio.Event) -> None:
    """Run everything until `stop`; the bridge stays a little longer, so that the last words go out."""
    async with asyncio.TaskGroup() as outer:
        bridge = outer.create_task(house.bridge.run(), name="mqtt")
        await _work(house, stop)
        await _last_words(house)
        bridge.cancel()


async def _work(house: House, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        working = [
            group.create_task(house.governor.run(), name="governor"),
            group.create_task(house.ingest.run(), name="ingest"),
            group.create_task(house.tasks.run(), name="tasks"),
            group.create_task(_show(house), name="state"),
            group.create_task(_hear_governor(house), name="budget"),
            group.create_task(house.notifier.watchdog(), name="watchdog"),
        ]
        house.notifier.ready("ready")
        log.info("ready", node=house.desk.node, version=__version__, state=str(house.desk.store.root))
        await stop.wait()
        house.notifier.stopping("stopping")
        log.info("stopping")
        await house.tasks.drain()
        for task in working:
            task.cancel()


async def _show(house: House) -> None:
    """Keep the daemon's state topic, the models' states and systemd's status line true.

    HostError where the ledger's file is gone: there is nothing left to be true.
    """
    seen, shown = await house.desk.ledger.run(data_version), Glance()
    while True:
        now = await house.desk.ledger.run(data_version)
        if now != seen and await house.models.refresh():
            house.ingest.rescan()
            await house.tasks.showcase.everything()
        seen = now
        await house.ears.show_models()
        state = state_of(house.governor, house.tasks, house.ingest)
        for warning in shown.new_warnings(state):
            log.warning("warning", warning=warning)
        if shown.is_news(state, house.desk.monotonic()):
            house.desk.outbox.state("state", msgspec.json.encode(state))
            alive = sum(key.startswith("task/") for key in house.desk.outbox.states)
            house.notifier.status(status_line(state, alive))
        await asyncio.sleep(BREATH_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(GLANCE_S):
                await house.stir.wait()
        house.stir.clear()


async def _hear_governor(house: House) -> None:
    """Show every change; when the disk has room again, look at what has waited in the inbox."""
    full = False
    async for _ in house.governor.changes():
        was, full = full, house.governor.pauses_for("disk")
        if was and not full:
            house.ingest.rescan()
        house.stir.set()


async def _last_words(house: House) -> None:
    """Give the bridge a moment to send what is written, if anybody listens."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await house.desk.outbox.drained()
    except TimeoutError:
        log.info("left before everything was sent; it is sent after the next start")


def main() -> int:
    """Be the daemon with the configuration that `finetuned run` hands over; returns the exit status."""
    config = received(int(sys.argv[1]))
    try:
        logs.setup(config.log)
        asyncio.run(serve(config))
    except FinetunedError as error:
        return _leave(error)
    except BaseExceptionGroup as errors:
        ours, others = errors.split(FinetunedError)
        if ours is None or others is not None:
            raise
        return _leave(_first(ours))
    except OSError as error:  # a disk that cannot be read while everything is put together
        return _leave(HostError(str(error)))
    return DONE


def _leave(error: FinetunedError) -> int:
    """Say what ended the daemon, as the error that it is."""
    sys.stderr.write(f"{error.fault}: {error}\n")
    return exit_code(error)


def _first(errors: BaseExceptionGroup[FinetunedError]) -> FinetunedError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


if __name__ == "__main__":
    sys.exit(main())
