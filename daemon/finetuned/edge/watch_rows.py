"""The rows of `finetuned watch`: a task with its bar, its time left and its losses; a model with what is known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from finetuned.edge import wording
from finetuned.edge.watch_events import measure
from finetuned.edge.wording import count, counted, harmless, lasting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.service.events import ModelState, TaskStateView

STATES = {"running": "green", "failed": "red", "cancelling": "yellow"}
RANKS = {"running": 0, "cancelling": 1}
BLOCKS = "▁▂▃▄▅▆▇█"
DONE, AHEAD = "━", "╌"
SPARK = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How wide names and bars are; in a narrow terminal a row has a second line."""

    name: int
    bar: int
    narrow: bool = False


NARROW = 60
LAYOUTS = {NARROW: Layout(name=14, bar=6, narrow=True), 110: Layout(name=16, bar=10)}
WIDE = Layout(name=28, bar=20)


def layout_of(width: int) -> Layout:
    """Return the layout for so many cells."""
    return next((layout for below, layout in LAYOUTS.items() if width < below), WIDE)


def _name(model: str, user: str, width: int) -> Text:
    name = harmless(f"{model} {user}".strip(), 60)
    if cell_len(name) > width:
        name = set_cell_size(name, width - 1).rstrip() + wording.ELLIPSIS
    return Text(set_cell_size(name, width))


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────
def rank(task: TaskStateView) -> tuple[int, bool]:
    """Return what tasks are sorted by: first those that run, then those that have begun."""
    return RANKS.get(task.state, len(RANKS)), not task.progress


def task_rows(task: TaskStateView, losses: Sequence[float], width: int) -> list[Text]:
    """Return a task's lines."""
    layout = layout_of(width)
    line = _name(task.model, task.user, layout.name)
    if task.state == "suspended" and not task.progress:
        return [line.append_text(_standing(task, " "))]
    _bar(line, task, layout)
    epoch = f"  epoch {count(task.epoch)}/{count(task.epochs)}" if task.epochs else ""
    left = "" if task.eta_seconds is None else f"  {lasting(task.eta_seconds)}"
    standing = (
        [_standing(task, "  ")] if task.state != "running" or task.pace != "full" or task.reasons else []
    )
    if layout.narrow:
        return [line.append(left), _with_losses(Text(epoch), task, losses, width), *standing]
    return [_with_losses(line.append(epoch + left), task, losses, width), *standing]


def _bar(line: Text, task: TaskStateView, layout: Layout) -> None:
    part = min(1.0, max(0.0, task.progress))
    done = round(part * layout.bar)
    line.append(" " + DONE * done, style=STATES.get(task.state, "yellow"))
    line.append(AHEAD * (layout.bar - done), style="dim")
    line.append(f" {part:4.0%}")


def _with_losses(line: Text, task: TaskStateView, losses: Sequence[float], width: int) -> Text:
    if task.loss_value is not None:
        line.append(f"  loss {task.loss_value:.4g} ")
    return line.append(sparkline(losses, min(SPARK, max(0, width - cell_len(line.plain)))), style="cyan")


def _standing(task: TaskStateView, indent: str) -> Text:
    """Say how it stands, and why."""
    why = ", ".join(harmless(each, 30) for each in task.reasons[:8])
    # What a suspended one waits for says more than a pace, unless that is its own.
    stands = task.state == "suspended" and task.pace not in {"paused", "released"}
    pace = "" if stands else f", pace {harmless(task.pace, 20)}"
    on = f" on {harmless(task.device, 20)}" if task.device else ""
    said = f"{indent}{harmless(task.state, 20)}{pace}{on}{f': {why}' if why else ''}"
    return Text(said, style=STATES.get(task.state, "yellow"))


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


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def model_rank(model: ModelState) -> tuple[bool, str, str]:
    """Return what models are sorted by: first those of which a version was kept, then by name."""
    return not model.candidate, model.model, model.user


def model_rows(model: ModelState, width: int) -> list[Text]:
    """Return a model's lines; the second says how to use a version that was kept."""
    line = _name(model.model, model.user, layout_of(width).name)
    version = "base" if not model.current else wording.version(model.current)
    line.append(f" {version}, {counted(sum(model.samples.values()), 'sample')}")
    if model.metrics is not None:
        line.append(f", {measure(model.metrics)}")
    if not model.candidate:
        return [line]
    good = "" if model.candidate_metrics is None else f", {measure(model.candidate_metrics)}"
    kept, hint = (
        f"  {wording.version(model.candidate)} kept{good}:",
        wording.hint(model.model, model.user, model.candidate),
    )
    if width < NARROW:  # a command is copied whole
        return [line, Text(kept, style="yellow"), Text(hint, style="yellow")]
    return [line, Text(f"{kept} {hint}", style="yellow")]
