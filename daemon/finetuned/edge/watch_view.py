"""What `finetuned watch` shows: a scene as lines that fit the terminal.

A pure function from the scene, the time and the size to lines, each cut to the width.  What strangers said is text, never
markup, and without controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from finetuned.edge.watch_events import BAD, GOOD, WARY, clock
from finetuned.edge.watch_rows import NARROW, model_rank, model_rows, rank, task_rows
from finetuned.edge.watch_scene import KEPT
from finetuned.edge.wording import ELLIPSIS, amount, cause, counted, harmless, lasting, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from finetuned.edge.watch_scene import Scene
    from finetuned.service.events import DaemonState

COLOURS = {GOOD: "green", BAD: "red", WARY: "yellow", "": ""}
PACES = {"full": "green", "cpu": "yellow", "slow": "yellow"}
WARNINGS, READINGS, EVENTS_LEAST, FLOWED = 2, 12, 6, 3


def picture(scene: Scene, now: float, *, width: int, height: int) -> list[Text]:
    """Return at most `height` lines of at most `width` cells; the events take the room that is left, the latest last."""
    stale = "" if scene.is_fresh else "dim"
    top = [*_connection(scene, now, width), *(_styled(line, stale) for line in _daemon(scene, width))]
    room = height - len(top)
    for_models = min(1 + 2 * len(scene.models), max(3, height // 5))
    tasks = _tasks(scene, width, room - EVENTS_LEAST - for_models)
    models = _models(scene, width, min(room - len(tasks) - EVENTS_LEAST, height // 3))
    below = [_styled(line, stale) for line in (*tasks, *models)]
    events = _events(scene, width, room - len(below))
    return [_cut(line, width) for line in (*top, *below, *events)][: max(1, height)]


# ── lines ───────────────────────────────────────────────────────────────────────────────────────
def _styled(line: Text, style: str) -> Text:
    if style:
        line.stylize(style)
    return line


def _cut(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(max(1, width), overflow="ellipsis")
    return line


def _flowed(
    parts: Iterable[Text], width: int, *, between: str = "  ", indent: str = "  ", most: int = FLOWED
) -> list[Text]:
    """Return the parts one after the other, on a new line where one does not fit; of too many lines the first ones."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(between) + part.cell_len <= width:
            lines[-1].append(between).append_text(part)
        elif len(lines) < most:
            lines.append(Text(indent if lines else "").append_text(part))  # a part's style is its own
        else:
            lines[-1].append(f" {ELLIPSIS}")
            break
    return lines


def _words(text: str, style: str) -> list[Text]:
    return [Text(word, style=style) for word in text.split(" ")]


def _fitting(title: str, entries: Sequence[list[Text]], most: int) -> list[Text]:
    """Return the entries below their title; of too many the first ones, and how many there are more."""
    if not entries or most <= 1:
        return []
    lines = [Text(title, style="bold")]
    for index, entry in enumerate(entries):
        is_last = index == len(entries) - 1
        if len(lines) + len(entry) + (not is_last) > most:
            more = f"{len(entries) - index} more{' at least' if len(entries) >= KEPT else ''}"
            return [*lines, Text(f"  {ELLIPSIS} {more}", style="dim")]
        lines += entry
    return lines


# ── the connection and the daemon ───────────────────────────────────────────────────────────────
def _connection(scene: Scene, now: float, width: int) -> list[Text]:
    """Return what is wrong with it, if anything."""
    if not scene.is_connected:
        since = f" since {clock(scene.since)} ({lasting(now - scene.since)})" if scene.since else ""
        last = "; below is how it was" if scene.state else ""
        why = harmless(scene.trouble, 400) or "looking for the daemon"
        return [
            *_flowed(_words(f"not connected{since}{last}", "bold red"), width, between=" "),
            *_flowed(_words(f"  {why}", "red"), width, between=" ", most=5),
        ]
    if scene.offline_since is not None:
        gone = f"{clock(scene.offline_since)} ({lasting(now - scene.offline_since)})"
        return _flowed(
            _words(f"the daemon is offline since {gone}; below is how it was", "bold red"), width, between=" "
        )
    return []


def _daemon(scene: Scene, width: int) -> list[Text]:
    state = scene.state
    head = Text(harmless(scene.node, 40), style="bold")
    if state is None:
        said = "has not said how it is yet" if scene.is_connected else ""
        return [Text.assemble(head, f"  {said}")] if said else []
    parts = [
        head,
        Text(f"pace {pace_of(state)}", style=PACES.get(state.pace, "red")),
        Text(f"mode {mode_of(state)}"),
        Text(harmless(state.device, 20)),
        Text(f"finetuned {harmless(state.version, 20)}", style="dim"),
    ]
    return [
        *_flowed(parts, width),
        *_why(state, width),
        *_zones(state, width),
        *_waiting(state),
        *_warnings(state),
    ]


def _waiting(state: DaemonState) -> list[Text]:
    if not (state.waiting_samples or state.queued):
        return []
    return [Text(f"waiting: {counted(state.waiting_samples, 'sample')}, {counted(state.queued, 'task')}")]


def _why(state: DaemonState, width: int) -> list[Text]:
    why = causes_of(state)
    words = _words(f"  because of {why}", PACES.get(state.pace, "red"))
    return _flowed(words, width, between=" ") if why else []


def _zones(state: DaemonState, width: int) -> list[Text]:
    """Return the readings; those that are behind the pace in its colour."""
    behind = {each.zone for each in state.causes[:8]}
    style = PACES.get(state.pace, "red")
    readings = list(state.readings.items())
    parts = [
        Text(_reading(zone, value), style=style if zone in behind else "")
        for zone, value in readings[:READINGS]
    ]
    if len(readings) > READINGS:
        parts.append(Text(f"{ELLIPSIS} {len(readings) - READINGS} more", style="dim"))
    return _flowed(parts or [Text("no sensors", style="dim")], width)


def _warnings(state: DaemonState) -> list[Text]:
    shown = [Text(f"warning: {harmless(each, 300)}", style="yellow") for each in state.warnings[:WARNINGS]]
    more = len(state.warnings) - WARNINGS
    return [*shown, Text(f"  {ELLIPSIS} {more} more warnings", style="yellow")] if more > 0 else shown


def mode_of(state: DaemonState) -> str:
    """Say the mode, and until when."""
    return f"{harmless(state.mode, 20)}{until(state.mode_left_seconds)}"


def pace_of(state: DaemonState) -> str:
    """Say the pace, with its duty where that says more."""
    return harmless(state.pace, 20) + ("" if state.duty in {0.0, 1.0} else f" ({state.duty:.0%} of the time)")


def causes_of(state: DaemonState) -> str:
    """Say what is behind the pace: zones with reading and trip, else the bare reasons; nothing at full speed."""
    told = [cause(each) for each in state.causes[:8]] or [harmless(each, 30) for each in state.reasons[:8]]
    return ", ".join(told)


def zones_of(state: DaemonState) -> str:
    """Say the readings."""
    said = [_reading(zone, value) for zone, value in list(state.readings.items())[:READINGS]]
    return "  ".join(said) or "no sensors"


def _reading(zone: str, value: float) -> str:
    return f"{harmless(zone, 30)} {amount(zone, value)}"


# ── tasks, models and events ────────────────────────────────────────────────────────────────────
def _tasks(scene: Scene, width: int, room: int) -> list[Text]:
    known = sorted(scene.tasks.items(), key=lambda each: rank(each[1]))
    shown = [task_rows(task, scene.losses.get(topic, ()), width) for topic, task in known[: max(0, room)]]
    return _fitting("tasks", [*shown, *[[]] * (len(known) - len(shown))], room)


def _models(scene: Scene, width: int, room: int) -> list[Text]:
    known = sorted(scene.models.values(), key=model_rank)
    shown = [model_rows(model, width) for model in known[: max(0, room)]]
    return _fitting("models", [*shown, *[[]] * (len(known) - len(shown))], room)


def _events(scene: Scene, width: int, room: int) -> list[Text]:
    """Return the latest events that fit, each in as many lines as it takes."""
    if room <= 1 or not scene.events:
        return []
    lines: list[Text] = []
    for each in reversed(scene.events):
        entry = event_lines(each.at, each.text, each.mood, width)
        if lines and len(lines) + len(entry) >= room:
            break
        lines[:0] = entry[: room - 1]
    return [Text("events", style="bold"), *lines]


def event_lines(at: str, text: str, mood: str, width: int) -> list[Text]:
    """Return an event's lines."""
    words = [Text(at, style="dim"), *_words(text, COLOURS[mood])]
    return _flowed(words, width, between=" ", indent=" " * (2 if width < NARROW else len(at) + 1))
