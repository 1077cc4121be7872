"""What `finetuned watch` knows of a daemon: built from what is heard, one message after the other, without a broker or a clock.

Whoever may publish on the broker may publish anything: what is not of the daemon's types is passed over, and what is kept
is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from finetuned.edge.watch_events import BAD, GOOD, Line, clock, line_of
from finetuned.service.events import DaemonState, ModelState, TaskStateView

if TYPE_CHECKING:
    from collections.abc import Mapping

V = TypeVar("V")
S = TypeVar("S", ModelState, TaskStateView)

KEPT, DRAWN, EVENTS, LOSSES = 1000, 32, 256, 512
"""Tasks and models that are kept, tasks whose losses are, events, and losses of a task; the oldest goes first."""
LONGEST_TOPIC, LONGEST_NAME, REASONS = 1000, 100, 8
ONLINE = "online"


# ── news ────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """The broker is there; `node` is the daemon that is watched."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """There is no connection, and why."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message: the topic below finetuned/<node>, and the payload."""

    topic: str
    payload: Mapping[str, Any]


News = Met | Lost | Heard


# ── the scene ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The daemon as it was last heard of; times are seconds since 1970.

    `since` is when the connection was last made or lost, `trouble` why there is none; `offline_since` when the daemon was
    said to be gone.  `losses` are those that each task was seen with.
    """

    node: str = ""
    is_connected: bool = False
    since: float = 0.0
    trouble: str = ""
    offline_since: float | None = None
    state: DaemonState | None = None
    models: Mapping[str, ModelState] = field(default_factory=dict)
    tasks: Mapping[str, TaskStateView] = field(default_factory=dict)
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    events: tuple[Line, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether what is shown is how it is now."""
        return self.is_connected and self.offline_since is None


def after(scene: Scene, news: News, at: float) -> Scene:
    """Return the scene as it is after the news, which came at `at`."""
    if isinstance(news, Heard):
        return _heard(scene, news, at)
    if isinstance(news, Met):
        # What is retained comes again; what has ended meanwhile does not.
        met = Scene(node=news.node, is_connected=True, since=at, losses=scene.losses, events=scene.events)
        return _noted(met, "connected again", GOOD, at) if scene.since else met
    if not scene.is_connected:
        return replace(scene, since=scene.since or at, trouble=news.why)
    lost = replace(scene, is_connected=False, since=at, trouble=news.why)
    return _noted(lost, "the connection was lost", BAD, at)


def _noted(scene: Scene, text: str, mood: str, at: float) -> Scene:
    """Put a line of our own among the events."""
    line = Line(at=clock(at), text=text, mood=mood)
    return replace(scene, events=(*scene.events, line)[-EVENTS:])


def _heard(scene: Scene, news: Heard, at: float) -> Scene:
    match news.topic.split("/") if len(news.topic) <= LONGEST_TOPIC else []:
        case ["availability"]:
            return _available(scene, news.payload.get("availability"), at)
        case ["state"]:
            return replace(scene, state=_as(DaemonState, news.payload) or scene.state)
        case ["model", _, "state"] | ["model", _, _, "state"]:
            return replace(scene, models=_kept(scene.models, news, ModelState))
        case ["task", _, "state"]:
            return _task(scene, news)
        case ["event", _]:
            return _event(scene, news.payload, at)
    return scene


def _available(scene: Scene, availability: object, at: float) -> Scene:
    if (availability == ONLINE) is (scene.offline_since is None):
        return scene
    if availability == ONLINE:
        return _noted(replace(scene, offline_since=None), "the daemon is online again", GOOD, at)
    return _noted(replace(scene, offline_since=at), "the daemon is offline", BAD, at)


def _task(scene: Scene, news: Heard) -> Scene:
    tasks = _kept(scene.tasks, news, TaskStateView)
    task = tasks.get(news.topic)
    losses = {topic: seen for topic, seen in scene.losses.items() if topic in tasks or topic != news.topic}
    is_new = task is not None and task is not scene.tasks.get(news.topic)
    if task is not None and is_new and task.loss_value is not None:
        seen = losses.pop(news.topic, ())
        losses[news.topic] = (*seen, task.loss_value)[-LOSSES:]
    return replace(scene, tasks=tasks, losses=_newest(losses, DRAWN))


def _kept(known: Mapping[str, S], news: Heard, kind: type[S]) -> dict[str, S]:
    """Return what is known with this state in it, or without it where it was cleared."""
    found = dict(known)
    if not news.payload:
        found.pop(news.topic, None)
    elif value := _as(kind, news.payload):
        found[news.topic] = _small(value)
    return _newest(found, KEPT)


def _small(state: S) -> S:
    """Return the state without what is not shown: of a thousand strangers' states, that is all that there is."""
    short = {
        key: value[:LONGEST_NAME] for key in NAMES if isinstance(value := getattr(state, key, None), str)
    }
    reasons = tuple(each[:LONGEST_NAME] for each in state.reasons[:REASONS])
    samples = {"samples": {"": sum(state.samples.values())}} if isinstance(state, ModelState) else {}
    return msgspec.structs.replace(state, reasons=reasons, **short, **samples)


NAMES = ("task", "model", "user", "kind", "state", "task_state", "device", "pace")


def _newest(known: dict[str, V], most: int) -> dict[str, V]:
    return known if len(known) <= most else dict(list(known.items())[-most:])


def _event(scene: Scene, payload: Mapping[str, Any], at: float) -> Scene:
    """Add the event's line; one that is sent again (the ledger's row, and its time) is the same."""
    line = line_of(payload, at)
    if line is None or (line.row and any(line.row == known.row for known in scene.events)):
        return scene
    before = scene.events
    if line.replaces and before and before[-1].replaces == line.replaces:
        before = before[:-1]
    return replace(scene, events=(*before, line)[-EVENTS:])


def _as(kind: type[V], payload: Mapping[str, Any]) -> V | None:
    """Return the payload as this type; None where it is not."""
    try:
        return msgspec.convert(payload, kind)
    except (msgspec.ValidationError, RecursionError):
        return None
