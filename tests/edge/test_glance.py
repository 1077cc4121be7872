"""What is shown of the daemon, and when it is news."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from finetuned.edge.glance import IDLE_S, Glance, status_line
from finetuned.service.events import CauseView, DaemonState

IDLE = DaemonState(
    version="0.1.0",
    mode="auto",
    pace="full",
    duty=1.0,
    device="cpu",
    reasons=(),
    running=(),
    queued=0,
    waiting_samples=0,
    readings={"thermal": 50.0},
    warnings=(),
)
WARMER = replace(IDLE, readings={"thermal": 51.0})
HOT = CauseView(reason="thermal", zone="thermal", reading=83.1, trip=80.0)
PAUSED = replace(WARMER, pace="paused", duty=0.0, reasons=("thermal",), causes=(HOT,))


def test_while_nothing_runs_readings_alone_are_told_now_and_then_and_all_else_at_once() -> None:
    glance = Glance()
    hotter = replace(PAUSED, causes=(replace(HOT, reading=84.0),), mode_left_seconds=9.0)
    told = [(IDLE, 0.0), (WARMER, 5.0), (PAUSED, 6.0), (hotter, 7.0), (WARMER, 8.0), (IDLE, 8.0 + IDLE_S)]
    assert [glance.is_news(state, now) for state, now in told] == [True, False, True, False, True, True]


def test_while_a_task_runs_readings_are_told_as_they_come() -> None:
    glance = Glance()
    assert glance.is_news(replace(IDLE, running=("T",)), 0.0)
    assert glance.is_news(replace(WARMER, running=("T",)), 1.0)


@pytest.mark.parametrize(
    ("state", "alive", "line"),
    [
        (IDLE, 0, "idle, pace full"),
        (replace(IDLE, running=("T",), queued=2), 3, "training 1, 2 waiting, pace full"),
        (PAUSED, 1, "training 0, 1 waiting, pace paused (thermal 83.1 °C (trip 80 °C))"),
        (replace(IDLE, pace="paused", causes=(CauseView(reason="mode"),)), 0, "idle, pace paused (mode)"),
    ],
)
def test_systemd_is_told_in_a_line(state: DaemonState, alive: int, line: str) -> None:
    assert status_line(state, alive) == line
