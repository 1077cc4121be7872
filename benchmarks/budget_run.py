"""One training under a ramp of heat, measured from outside and drawn: `python benchmarks/budget_run.py` writes docs/budget-run.svg.

A real daemon trains in a mount namespace of its own (so this needs root), where the kernel's sensors are made up; its times
are a tenth of the defaults, so that it takes a minute and not ten.  Needs finetuned[figures].
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from daemons import NAME, Laptop, daemon, drop
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finetuned.edge import client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from matplotlib.axes import Axes

OUT = Path(__file__).parents[1] / "docs" / "budget-run.svg"
WITHIN = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")
MOUNT = 'mount --bind "$0/class" /sys/class; exec "$@"'
SHORTENED = 10
BUDGET = f"""
interval_s = {4 / SHORTENED}
min_paused_s = {60 / SHORTENED}
min_running_s = {30 / SHORTENED}
"""
MORE = f"""
[models.{NAME}.parameters]
epochs = 1000
miniBatchSize = 1
[validation]
held_out = 0.0
[mqtt]
batch_events_per_second = 40.0
"""
RAMP = ((0, 50), (6, 50), (24, 90), (28, 90), (40, 55))
"""Seconds since trainingBegin, and °C; between them in a straight line."""
STEP_S = 0.1
TRIPS = {"pause": 80, "throttle": 70, "resume": 65}
PACES = ("event/paceChanged", "event/paused", "event/resumed")


# ── what is seen ────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Run:
    """What was set and heard, in seconds since trainingBegin: °C, mini-batches done, and (pace, duty, cores)."""

    began: datetime
    heat: list[tuple[float, float]] = field(default_factory=list)
    steps: list[tuple[float, int]] = field(default_factory=list)
    paces: list[tuple[float, tuple[str, float, float]]] = field(default_factory=list)
    end_s: float = 0.0

    def hear(self, topic: str, event: dict[str, Any]) -> None:
        """Take an event."""
        at = (datetime.fromisoformat(event["ts"]) - self.began).total_seconds()
        if topic == "event/miniBatchEnd":
            self.steps.append((at, event["step"]))
        elif topic in PACES:
            self.paces.append((at, (event["pace"], event["duty"], event.get("cores", 1.0))))
            print(f"{at:6.2f} s  {event['pace']:7} duty {event['duty']:<5g} {_why(event)}")
        elif topic == "event/completed":
            self.end_s = at


def _why(event: dict[str, Any]) -> str:
    if not event.get("reasons"):
        return ""
    return f"{event['zone']} {event['reading']:.1f} °C (trip {event['trip']:g} °C)"


def temperature(at: float) -> float:
    """Return the ramp's temperature at a moment."""
    for (left, low), (right, high) in pairwise(RAMP):
        if at < right:
            return low + (high - low) * max(0.0, at - left) / (right - left)
    return RAMP[-1][1]


async def observe(folder: Path) -> Run:
    """Train, heat and cool; return what was seen."""
    laptop = Laptop.made(folder / "sys")
    laptop.heat(temperature(0))
    within = (*WITHIN, MOUNT, str(laptop.root))
    async with (
        daemon(folder, budget=BUDGET, more=MORE, within=within) as (_, address, _),
        client.connected(address, events=True) as known,
    ):
        await asyncio.to_thread(drop, folder / "state" / "inbox" / NAME, copies=2)
        return await _follow(laptop, known.events())


async def _follow(laptop: Laptop, events: AsyncIterator[tuple[str, dict[str, Any]]]) -> Run:
    run, heating = None, None
    async for topic, event in events:
        if topic == "event/trainingBegin":
            run = Run(began=datetime.fromisoformat(event["ts"]))
            heating = asyncio.create_task(_heat(laptop, run))
        elif run is not None and topic.startswith("event/"):
            run.hear(topic, event)
        if run is not None and heating is not None and run.end_s:
            heating.cancel()
            return run
    raise SystemExit("the daemon has ended")


async def _heat(laptop: Laptop, run: Run) -> None:
    """Write the ramp, and what was written."""
    began = time.monotonic()
    while True:
        at = time.monotonic() - began
        laptop.heat(temperature(at))
        run.heat.append((at, temperature(at)))
        await asyncio.sleep(STEP_S)


# ── what is drawn ───────────────────────────────────────────────────────────────────────────────
FULL = ("full", 1.0, 1.0)
COLORS = {
    FULL: "#2e8b57",
    ("slow", 0.5, 1.0): "#f2c14e",
    ("slow", 0.25, 1.0): "#f08a24",
    ("slow", 0.25, 0.5): "#c8553d",
    ("paused", 0.0, 1.0): "#7a7f87",
}
WORDS = {
    FULL: "full",
    ("slow", 0.5, 1.0): "slow, duty 1/2",
    ("slow", 0.25, 1.0): "slow, duty 1/4",
    ("slow", 0.25, 0.5): "slow, duty 1/4, half of the cores",
    ("paused", 0.0, 1.0): "paused",
}
DUTIES = {1.0: "1", 0.5: "1/2", 0.25: "1/4", 0.0: "0"}
LEVELS = {pace: level for level, pace in enumerate(reversed(COLORS))}
BIN_S = 0.4
STYLE = {
    "svg.hashsalt": "finetuned",
    "svg.fonttype": "path",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def spans(run: Run) -> list[tuple[float, float, tuple[str, float, float]]]:
    """Return from when to when each pace lasted."""
    changes = [(0.0, FULL), *run.paces]
    ends = [*(at for at, _ in changes[1:]), run.end_s]
    return [(at, end, pace) for (at, pace), end in zip(changes, ends, strict=True)]


def speeds(run: Run) -> list[tuple[float, float, float, tuple[str, float, float]]]:
    """Return from when to when a task did how many samples per second at which pace, in bins of `BIN_S` at most.

    A mini-batch is one sample here; where it stood still, what was told last was all that was done.
    """
    held = [(at, end) for at, end, pace in spans(run) if pace[0] == "paused"]
    known = sorted([*run.steps, *((edge, _done(run.steps, at)) for at, end in held for edge in (at, end))])
    found = []
    for begin, end, pace in spans(run):
        bins = max(1, round((end - begin) / BIN_S))
        edges = [begin + (end - begin) * index / bins for index in range(bins + 1)]
        for left, right in pairwise(edges):
            found.append((left, right, (_done(known, right) - _done(known, left)) / (right - left), pace))
    return found


def _done(steps: Sequence[tuple[float, float]], at: float) -> float:
    """Return how many mini-batches were done at a moment; between two reports in a straight line."""
    index = bisect_right(steps, at, key=lambda step: step[0])
    if index in {0, len(steps)}:
        return steps[min(index, len(steps) - 1)][1]
    (left, low), (right, high) = steps[index - 1], steps[index]
    return low + (high - low) * (at - left) / (right - left) if right > left else high


def draw(run: Run) -> Figure:
    """Return the picture: temperature, pace and speed over the same time."""
    figure = Figure(figsize=(9.0, 6.0))
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 3))
    for paint, ax in zip((_paint_heat, _paint_pace, _paint_speed), axes, strict=True):
        paint(ax, run)
        ax.set_xlim(0, run.end_s)
        ax.yaxis.set_label_coords(-0.06, 0.5)
    axes[-1].set_xlabel("seconds since the training began")
    title = "A training under a ramp of heat: it slows down, waits, and comes back step by step"
    figure.suptitle(title, x=0.085, y=0.975, ha="left", fontsize=11.5, fontweight="bold")
    note = f"the budget's times are shortened {SHORTENED}-fold here: the sensor is read every {4 / SHORTENED:g} s, not every 4 s"
    figure.text(0.085, 0.925, note, ha="left", color="#555555")
    figure.subplots_adjust(left=0.085, right=0.9, top=0.9, bottom=0.165, hspace=0.16)
    handles = [Patch(color=color, label=WORDS[pace]) for pace, color in COLORS.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, handlelength=1.2)
    return figure


def _paint_heat(ax: Axes, run: Run) -> None:
    ax.plot(*zip(*run.heat, strict=True), color="#b3261e", linewidth=1.8)
    for trip, celsius in TRIPS.items():
        ax.axhline(celsius, color="#555555", linewidth=0.9, linestyle=(0, (5, 4)))
        ax.annotate(
            f"{trip} {celsius}",
            (1.008, celsius),
            xycoords=("axes fraction", "data"),
            va="center",
            color="#555555",
        )
    ax.set(ylabel="temperature, °C", ylim=(45, 95))


def _paint_pace(ax: Axes, run: Run) -> None:
    for left, right, pace in spans(run):
        ax.fill_between((left, right), LEVELS[pace] + 1, color=COLORS[pace], linewidth=0)
    ax.set(ylabel="pace (duty)", ylim=(0, len(LEVELS)))
    ax.set_yticks([level + 1 for level in LEVELS.values()], [DUTIES[pace[1]] for pace in LEVELS])


def _paint_speed(ax: Axes, run: Run) -> None:
    for left, right, speed, pace in speeds(run):
        ax.fill_between((left, right), speed / 1000, color=COLORS[pace], linewidth=0)
    ax.set(ylabel="thousand samples/s", ylim=(0, None))


def main() -> None:
    """Observe, say, draw."""
    with tempfile.TemporaryDirectory(prefix="finetuned-budget-") as folder:
        run = asyncio.run(observe(Path(folder)))
    if not run.paces or run.paces[-1][1] != FULL:
        sys.exit(f"the training ended before it was at full pace again, after {run.end_s:.1f} s")
    print(f"{run.end_s:6.2f} s  completed")
    with mpl.rc_context(STYLE):
        figure = draw(run)
        figure.savefig(OUT, metadata={"Date": None})
        if len(sys.argv) > 1:
            figure.savefig(sys.argv[1], dpi=110)
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
