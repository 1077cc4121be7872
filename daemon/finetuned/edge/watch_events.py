"""An event as one line for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.wording import cause, counted, figure, harmless, listed, version
from finetuned.policy.zones import kind_of
from finetuned.service import events
from finetuned.service.events import CauseView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.service.messages import Metrics

GOOD, BAD, WARY = "good", "bad", "wary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is shown of an event: when (local time), what, and whether that is good.

    `row` tells an outcome that is sent again; a line takes the place of the one before it that has the same `replaces`.
    """

    at: str
    text: str
    mood: str = ""
    row: str = ""
    replaces: str = ""


def line_of(payload: Mapping[str, Any], at: float) -> Line | None:
    """Return the event's line; None for what is no event of ours, and for a mini-batch. `at` is when it was heard."""
    try:
        event = msgspec.convert(payload, events.AnyOutcome | events.AnyProgress)
        return _line(event, payload.get("id"), at) if type(event) in TELLING else None
    except (msgspec.ValidationError, RecursionError, OverflowError, ValueError):
        return None  # the last two: an integer of a thousand digits


def _line(event: events.Event, row: object, at: float) -> Line:
    mood, telling = TELLING[type(event)]
    return Line(
        at=local_time(event.ts, at),
        text=harmless(f"{_whose(event)}{telling(event)}", 300),
        mood=mood,
        row=f"{row} {event.ts}"[:80] if isinstance(row, int) else "",
        replaces=event.task[:80] if isinstance(event, events.EpochEnd) else "",
    )


def local_time(ts: str, at: float) -> str:
    """Return the local time of day that an event's `ts` tells, else that of `at`, when it was heard."""
    try:
        return datetime.fromisoformat(ts[:40]).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return clock(at)


def clock(at: float) -> str:
    """Return the local time of day."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


# ── what each type tells ────────────────────────────────────────────────────────────────────────
def _whose(event: events.Event) -> str:
    whose = " ".join(harmless(each, 40) for each in (event.model, event.user) if each)
    return f"{whose}: " if whose else ""


def _begun(event: events.TrainingBegin) -> str:
    count = sum(event.samples.values())
    again = f", attempt {event.attempt} from mini-batch {event.step}" if event.step else ""
    epochs = f", {event.epochs} epochs" if event.epochs else ""  # nearest neighbours have none
    return f"training begins on {harmless(event.device, 20)}, {count} samples{epochs}{again}"


def _epoch(event: events.EpochEnd) -> str:
    loss = event.metrics.get("lossValue")
    shown = "" if loss is None else f", loss {loss:.4g}"
    measured = "" if event.validation is None else f", held out: {measure(event.validation)}"
    return f"epoch {event.metrics.get('epochIndex', 0) + 1:g} done{shown}{measured}"


def measure(metrics: Metrics) -> str:
    """Say how good something is in one number: `accuracy 90 %`."""
    if metrics.accuracy is not None:
        return f"accuracy {metrics.accuracy:.1%}"
    if metrics.mean_absolute_error is not None:
        return f"mean absolute error {metrics.mean_absolute_error:.4g}"
    return f"loss {figure(metrics.loss_value, '.4g')}"


def _completed(event: events.TaskCompleted) -> str:
    better = f"{measure(event.before)} → {measure(event.after)}"
    why = f", {harmless(event.promotion_reason, 60)}" if event.promotion_reason else ""
    return f"version {event.version} is {harmless(event.promotion, 20)}: {better}{why} ({event.duration_seconds:.1f} s)"


def _pace(event: events.PaceEvent) -> str:
    """Say the pace and why."""
    found = [harmless(reason, 30) for reason in event.reasons[:5]]
    if event.reading is not None:
        kind = kind_of(event.zone)
        measured = CauseView(reason=kind, zone=event.zone, reading=event.reading, trip=event.trip)
        found = [cause(measured), *(each for each in found if each != kind)]
    return f", {listed(found)}" if found else ""


def _changed(event: events.PaceEvent) -> str:
    slower = "" if event.duty in {0.0, 1.0} else f", {event.duty:.0%} of the time"
    fewer = "" if event.cores >= 1 else f", {event.cores:.0%} of the cores"
    return f"pace {harmless(event.pace, 20)}{slower}{fewer}{_pace(event)}"


def _samples(word: str) -> Callable[[events.SampleEvent], str]:
    def tell(event: events.SampleEvent) -> str:
        times = f"{event.count} × " if event.count != 1 else ""
        why = f": {harmless(event.reason, 120)}" if event.reason else ""
        return f"{word} {times}{harmless(event.label, 40)} ({harmless(event.name, 60)}){why}"

    return tell


def _forgotten(event: events.Forgotten) -> str:
    label = f" of {harmless(event.label, 40)}" if event.label else ""
    sample = f" ({harmless(event.sample, 12)})" if event.sample else ""
    return (
        f"forgotten: {counted(event.samples, 'sample')}{label}{sample}, {counted(event.versions, 'version')}"
    )


TELLING: Mapping[type, tuple[str, Callable[[Any], str]]] = {
    events.TrainingBegin: ("", _begun),
    events.EpochEnd: ("", _epoch),
    events.TaskCompleted: (GOOD, _completed),
    events.TaskFailed: (
        BAD,
        lambda event: f"failed ({harmless(event.fault, 20)}): {harmless(event.error, 200)}",
    ),
    events.TaskCancelled: (WARY, lambda _: "cancelled"),
    events.Paused: (WARY, lambda event: f"paused{_pace(event)}"),
    events.Resumed: (GOOD, lambda event: f"goes on, {_changed(event)}"),
    events.PaceChanged: (WARY, _changed),
    events.SampleAccepted: ("", _samples("accepted")),
    events.SampleRejected: (BAD, _samples("rejected")),
    events.SampleWaiting: (WARY, _samples("waiting")),
    events.ModelSaved: ("", lambda event: f"{version(event.version)} saved"),
    events.Promoted: (GOOD, lambda event: f"{version(event.version)} is in use"),
    events.RolledBack: (
        WARY,
        lambda event: f"{version(event.version)} is in use again, {version(event.from_version)} no more",
    ),
    events.Forgotten: (WARY, _forgotten),
}
"""By type: its mood, and what it says.  Mini-batches are too many to be told."""
