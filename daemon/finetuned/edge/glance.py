"""The daemon at a glance: its state topic, systemd's status line and the answer to `status`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from finetuned import __version__
from finetuned.edge import wording
from finetuned.edge.payloads import StatusAnswer
from finetuned.service.events import CauseView, DaemonState, ModelState, TaskStateView

if TYPE_CHECKING:
    from finetuned.policy.budget import Cause
    from finetuned.service.desk import Desk
    from finetuned.service.governor import Governor
    from finetuned.service.ingest import Ingest
    from finetuned.service.tasks import Tasks


IDLE_S = 30.0
"""An idle daemon costs next to nothing: each message wakes the broker and whoever listens."""


def state_of(governor: Governor, tasks: Tasks, ingest: Ingest) -> DaemonState:
    """Return the daemon at a glance."""
    verdict = governor.verdict
    return DaemonState(
        version=__version__,
        mode=governor.mode,
        pace=verdict.pace,
        duty=verdict.duty,
        device=tasks.device,
        reasons=verdict.reasons,
        running=tasks.running,
        queued=tasks.queued,
        waiting_samples=ingest.waiting,
        readings=governor.readings,
        warnings=(*governor.warnings, *ingest.warnings, *tasks.warnings),
        causes=tuple(_cause(cause) for cause in verdict.causes),
        mode_left_seconds=_rounded(governor.mode_left_s),
    )


def _cause(cause: Cause) -> CauseView:
    return CauseView(reason=cause.reason, zone=cause.zone, reading=cause.reading, trip=cause.trip)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


@dataclass(slots=True)
class Glance:
    """What was shown last; while nothing runs, readings alone are news only every `IDLE_S` seconds."""

    state: DaemonState | None = None
    at: float = -math.inf

    def new_warnings(self, state: DaemonState) -> tuple[str, ...]:
        """Return those that the state shown last has not."""
        known = self.state.warnings if self.state else ()
        return tuple(warning for warning in state.warnings if warning not in known)

    def is_news(self, state: DaemonState, now: float) -> bool:
        """Say whether to show the state, and take it as shown then."""
        known = self.state
        idle = known is not None and not state.running and now - self.at < IDLE_S
        if known is not None and idle and _without_numbers(state) == _without_numbers(known):
            return False
        self.state, self.at = state, now
        return True


def _without_numbers(state: DaemonState) -> DaemonState:
    """Return the state without what changes all the time."""
    causes = tuple(replace(cause, reading=None) for cause in state.causes)
    return replace(state, readings={}, causes=causes, mode_left_seconds=None)


def status_line(state: DaemonState, alive: int) -> str:
    """Return one line for `systemctl status`, where so many tasks live: those that do not run wait or are held."""
    why = f" ({', '.join(map(wording.cause, state.causes))})" if state.causes else ""
    waiting = max(0, alive - len(state.running))
    doing = f"training {len(state.running)}, {waiting} waiting" if alive else "idle"
    return f"{doing}, pace {state.pace}{why}"


def answer_to_status(desk: Desk, state: DaemonState) -> StatusAnswer:
    """Return the daemon, its models and its tasks, as they are on their topics."""
    states = sorted(desk.outbox.states.items())
    return StatusAnswer(
        node=desk.node,
        state=state,
        models=tuple(
            msgspec.json.decode(payload, type=ModelState)
            for key, payload in states
            if key.startswith("model/")
        ),
        tasks=tuple(
            msgspec.json.decode(payload, type=TaskStateView)
            for key, payload in states
            if key.startswith("task/")
        ),
    )
