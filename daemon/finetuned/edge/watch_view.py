"""What `finetuned watch` shows: a scene as lines that fit the terminal.

A pure function from the scene, the time and the size to lines, each cut to the width.  What strangers said is text, never
markup, and without controls.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from finetuned.edge.watch_events import BAD, GOOD, WARY, clock, measure
from finetuned.edge.wording import amount, cause, harmless, lasting, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.edge.watch_scene import Scene
    from finetuned.service.events import DaemonState, ModelState, TaskStateView

COLOURS = {GOOD: "green", BAD: "red", WARY: "yellow", "": ""}
PACES = {"full": "green", "cpu": "yellow", "slow": "yellow"}
STATES = {"running": "green", "failed": "red", "cancelling": "yellow"}
BLOCKS = "▁▂▃▄▅▆▇█"
DONE, AHEAD = "━", "╌"
WARNINGS, EVENTS_LEAST = 2, 6
NAME, BAR, SPARK = 16, 10, 40
MANY = 10**9


def picture(scene: Scene, now: float, *, width: int, height: int) -> list[Text]:
    """Return at most `height` lines of at most `width` cells; the events take the room that is left, the latest last."""
    stale = "" if scene.is_fresh else "dim"
    top = [*_connection(scene, now), *(_styled(line, stale) for line in _daemon(scene))]
    room = height - len(top)
    tasks = _fitting(_tasks(scene, width), room - EVENTS_LEAST)
    models = _fitting(_models(scene), min(room - len(tasks) - EVENTS_LEAST, height // 3))
    below = [_styled(line, stale) for line in (*tasks, *models)]
    events = _events(scene, room - len(below))
    return [_cut(line, width) for line in (*top, *below, *events)][: max(1, height)]


def _styled(line: Text, style: str) -> Text:
    if style:
        line.stylize(style)
    return line


def _cut(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(max(1, width), overflow="ellipsis")
    return line


def _fitting(lines: Sequence[Text], most: int) -> list[Text]:
    """Return the lines, title first; of too many the first ones and how many there are more."""
    if len(lines) <= 1 or most <= 1:
        return []
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], Text(f"  … {len(lines) - most + 1} more lines", style="dim")]


# ── the connection and the daemon ───────────────────────────────────────────────────────────────
def _connection(scene: Scene, now: float) -> list[Text]:
    """Return what is wrong with it, if anything."""
    if not scene.is_connected:
        since = f" since {clock(scene.since)} ({lasting(now - scene.since)})" if scene.since else ""
        last = "; below is how it was" if scene.state else ""
        return [
            Text(f"not connected{since}{last}", style="bold red"),
            Text(f"  {harmless(scene.trouble, 400) or 'looking for the daemon'}", style="red"),
        ]
    if scene.offline_since is not None:
        gone = f"{clock(scene.offline_since)} ({lasting(now - scene.offline_since)})"
        return [Text(f"the daemon is offline since {gone}; below is how it was", style="bold red")]
    return []


def _daemon(scene: Scene) -> list[Text]:
    state = scene.state
    head = Text(harmless(scene.node, 40), style="bold")
    if state is None:
        return [
            head.append("  has not said how it is yet" if scene.is_connected else "", style="not bold dim")
        ]
    head.append(f"  pace {pace_of(state)}", style=f"not bold {PACES.get(state.pace, 'red')}")
    head.append(f"  mode {mode_of(state)}  {harmless(state.device, 20)}", style="not bold")
    head.append(f"  finetuned {harmless(state.version, 20)}", style="not bold dim")
    return [head, *_why(state), Text(zones_of(state)), *_waiting(state), *_warnings(state)]


def _waiting(state: DaemonState) -> list[Text]:
    samples, tasks = _count(state.waiting_samples), _count(state.queued)
    return [Text(f"waiting: {samples} samples, {tasks} tasks")] if samples or tasks else []


def _why(state: DaemonState) -> list[Text]:
    why = causes_of(state)
    return [Text(f"  because of {why}", style=PACES.get(state.pace, "red"))] if why else []


def _warnings(state: DaemonState) -> list[Text]:
    shown = [Text(f"warning: {harmless(each, 300)}", style="yellow") for each in state.warnings[:WARNINGS]]
    more = len(state.warnings) - WARNINGS
    return [*shown, Text(f"  … {more} more warnings", style="yellow")] if more > 0 else shown


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
    readings = list(state.readings.items())[:12]
    return (
        "  ".join(f"{harmless(zone, 30)} {amount(zone, value)}" for zone, value in readings) or "no sensors"
    )


def _count(number: int) -> int:
    """Return a number that can be printed, whatever was sent."""
    return max(-1, min(number, MANY))


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────
def _tasks(scene: Scene, width: int) -> list[Text]:
    lines = [Text("tasks", style="bold")]
    for topic, task in scene.tasks.items():
        lines.append(_task(task, scene.losses.get(topic, ()), width))
        lines += _standing(task)
    return lines


def _task(task: TaskStateView, losses: Sequence[float], width: int) -> Text:
    line = Text(set_cell_size(harmless(f"{task.model} {task.user}".strip(), 60), NAME))
    part = min(1.0, max(0.0, task.progress))
    done = round(part * BAR)
    line.append(" " + DONE * done, style=STATES.get(task.state, "yellow"))
    line.append(AHEAD * (BAR - done), style="dim")
    line.append(f" {part:4.0%}  epoch {_count(task.epoch)}/{_count(task.epochs)}")
    if task.eta_seconds is not None:
        line.append(f"  {lasting(task.eta_seconds)}")
    if task.loss_value is not None:
        line.append(f"  loss {task.loss_value:.4g} ")
    line.append(sparkline(losses, min(SPARK, max(0, width - cell_len(line.plain)))), style="cyan")
    return line


def _standing(task: TaskStateView) -> list[Text]:
    """Return a second line where there is more to say than that it runs at full speed."""
    why = ", ".join(harmless(each, 30) for each in task.reasons[:8])
    if task.state == "running" and task.pace == "full" and not why:
        return []
    stands = task.state == "suspended" and task.pace not in {
        "paused",
        "released",
    }  # what it waits for says more
    pace = "" if stands else f", pace {harmless(task.pace, 20)}"
    on = f" on {harmless(task.device, 20)}" if task.device else ""
    said = f"  {harmless(task.state, 20)}{pace}{on}{f': {why}' if why else ''}"
    return [Text(said, style=STATES.get(task.state, "yellow"))]


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the values as one line of blocks, from the least to the most; of too many, the mean of each run.

    Where all are above 0 by their logarithms: a loss falls by powers of ten.
    """
    if not values or width <= 0:
        return ""
    runs = min(width, len(values))
    edges = [len(values) * index // runs for index in range(runs + 1)]
    means = [sum(value / (to - begin) for value in values[begin:to]) for begin, to in pairwise(edges)]
    if min(means) > 0:
        means = [math.log(mean) for mean in means]
    least, most = min(means), max(means)
    spread = most / 2 - least / 2  # halves: the difference of two floats may be infinite
    return "".join(BLOCKS[_step(mean, least, spread)] for mean in means)


def _step(value: float, least: float, half_spread: float) -> int:
    if half_spread <= 0:
        return 0
    return min(len(BLOCKS) - 1, int((value / 2 - least / 2) / half_spread * len(BLOCKS)))


# ── models and events ───────────────────────────────────────────────────────────────────────────
def _models(scene: Scene) -> list[Text]:
    return [Text("models", style="bold"), *(_model(model) for model in scene.models.values())]


def _model(model: ModelState) -> Text:
    line = Text(set_cell_size(harmless(f"{model.model} {model.user}".strip(), 60), NAME))
    version = "base" if not model.current else f"version {_count(model.current)}"
    line.append(f" {version}, {_count(sum(model.samples.values()))} samples")
    if model.metrics is not None:
        line.append(f", {measure(model.metrics)}")
    if model.candidate:
        line.append(f", version {_count(model.candidate)} kept", style="yellow")
    return line


def _events(scene: Scene, room: int) -> list[Text]:
    if room <= 1 or not scene.events:
        return []
    shown = scene.events[-(room - 1) :]
    return [Text("events", style="bold"), *(event_line(each.at, each.text, each.mood) for each in shown)]


def event_line(at: str, text: str, mood: str) -> Text:
    """Return an event's line."""
    return Text(f"{at} ", style="dim").append(text, style=f"not dim {COLOURS[mood]}".strip())
