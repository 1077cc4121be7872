"""`finetuned watch`: the daemon over MQTT, for as long as somebody looks; broker and daemon may come and go.

On a terminal it is a picture that is kept true; else a line for every event, or with `--json` the event itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from finetuned.edge import client, console
from finetuned.edge import config as configuration
from finetuned.edge.signals import ENDING, leave, leave_at_signals
from finetuned.edge.watch_events import clock, line_of
from finetuned.edge.watch_scene import Heard, Lost, Met, News, Scene, after
from finetuned.edge.wording import harmless
from finetuned.errors import ConfigurationError, HostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from pathlib import Path

    from rich.console import Console, RenderableType

    from finetuned.edge.broker import Address

BREATH_S, LOOK_S = 0.1, 1.0
"""Between two pictures at least, and at most."""
SEEN = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited before the broker is looked for again: `first_s`, then twice as long each time, up to `most_s`."""

    first_s: float = 0.5
    most_s: float = 15.0


def watch(config: Path | None, node: str, *, json: bool) -> None:
    """Show what the daemon says until it is interrupted."""
    loaded = configuration.load(config)
    news = follow(lambda: client.find(loaded), loaded.mqtt.prefix, node)
    console.without_logs()
    asyncio.run(_shown(news, json=json))


async def _shown(news: AsyncIterator[News], *, json: bool) -> None:
    terminal = console.person()
    if not json and sys.stdout.isatty() and sys.stderr.isatty() and not terminal.is_dumb_terminal:
        await _live(news, terminal)
        return
    leave_at_signals()
    await (as_json if json else as_lines)(news)


# ── the source ──────────────────────────────────────────────────────────────────────────────────
async def follow(
    find: Callable[[], Address], prefix: str, chosen: str = "", patience: Patience | None = None
) -> AsyncGenerator[News, None]:
    """Yield what the daemon says, for ever; `find` is asked anew before every attempt, since an embedded broker moves."""
    patience = patience or Patience()
    node, pause_s = "", patience.first_s
    while True:
        try:
            address = find()
            address = replace(address, node=address.node or node)
            async with client.connected(address, prefix, node=chosen, events=True) as daemon:
                node, pause_s = daemon.topics.node, patience.first_s
                yield Met(node=node)
                async for topic, payload in daemon.events():
                    yield Heard(topic=topic, payload=payload)
        except ConfigurationError as error:
            if not node:  # later it may be a password's file that is being replaced
                raise
            yield Lost(why=str(error))
        except HostError as error:
            yield Lost(why=str(error))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, patience.most_s)


# ── for machines, and for files ─────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Fresh:
    """Tells what is new: an outcome that is sent again (the ledger's row, and its time) is not."""

    seen: dict[str, None] = field(default_factory=dict)

    def __call__(self, news: Heard) -> bool:
        """Say whether this is an event that was not seen yet; remember it."""
        row = news.payload.get("id")
        if not news.topic.startswith("event/") or not isinstance(news.payload.get("type"), str):
            return False
        if not isinstance(row, int):
            return True
        key = f"{row:x} {news.payload.get('ts')}"[:80]
        known = key in self.seen
        self.seen[key] = None
        if len(self.seen) > SEEN:
            del self.seen[next(iter(self.seen))]
        return not known


async def as_json(news: AsyncIterator[News]) -> None:
    """Print every event as it comes; what becomes of the connection goes to stderr."""
    is_fresh, told = Fresh(), ""
    async for each in news:
        if isinstance(each, Heard):
            if is_fresh(each):
                with suppress(RecursionError):  # a stranger's, nested deeper than can be written again
                    console.line(each.payload)
        else:
            told = _tell(each, told)


async def as_lines(news: AsyncIterator[News]) -> None:
    """Print a line for every event but mini-batches, and for the daemon's coming and going."""
    is_fresh, told, availability = Fresh(), "", ""
    async for each in news:
        if not isinstance(each, Heard):
            told = _tell(each, told)
        elif each.topic == "availability" and each.payload.get("availability") != availability:
            availability = str(each.payload.get("availability"))
            _print(clock(time.time()), f"the daemon is {harmless(availability, 20)}")
        elif is_fresh(each) and (line := line_of(each.payload, time.time())):
            _print(line.at, line.text)


def _print(at: str, text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"  # that of an old locale may have no word for it
    sys.stdout.write(f"{at} {text}\n".encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _tell(news: Met | Lost, told: str) -> str:
    """Say once on stderr that the connection is there, or why it is not; return what was said."""
    said = f"watching {harmless(news.node)}" if isinstance(news, Met) else f"not connected: {news.why}"
    if said != told:
        sys.stderr.write(f"{clock(time.time())} {harmless(said, 500)}\n")
        sys.stderr.flush()
    return said


# ── for people ──────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Stage:
    """The scene as it is now."""

    scene: Scene = field(default_factory=Scene)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


async def _live(news: AsyncIterator[News], terminal: Console) -> None:
    stage = Stage()
    _end_at_signals()
    parts = [asyncio.create_task(_follow(news, stage)), asyncio.create_task(_paint(stage, terminal))]
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    except asyncio.CancelledError as ended:
        await _ended(parts)
        leave(*ended.args)
    finally:
        await _ended(parts)


def _end_at_signals() -> None:
    """Leave the terminal as it was."""
    if task := asyncio.current_task():
        for number in ENDING:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel, number)


async def _ended(parts: Sequence[asyncio.Task[None]]) -> None:
    for each in parts:
        each.cancel()
    await asyncio.gather(*parts, return_exceptions=True)


async def _follow(news: AsyncIterator[News], stage: Stage) -> None:
    async for each in news:
        stage.scene = after(stage.scene, each, time.time())
        stage.changed.set()


async def _paint(stage: Stage, terminal: Console) -> None:
    """Keep the picture true: after every change, and each second for what only the clock changes, or the terminal's size."""
    from rich.live import Live  # noqa: PLC0415 - where there is no terminal there is no picture

    with Live(console=terminal, screen=True, auto_refresh=False) as live:
        while True:
            stage.changed.clear()
            live.update(_drawn(stage.scene, terminal), refresh=True)
            await asyncio.sleep(BREATH_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stage.changed.wait()


def _drawn(scene: Scene, terminal: Console) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - as above

    from finetuned.edge.watch_view import picture  # noqa: PLC0415 - as above

    width, height = terminal.size
    return Group(*picture(scene, time.time(), width=width, height=height))
