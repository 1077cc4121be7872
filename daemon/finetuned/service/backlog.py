"""Progress that waits for a slow sink: in order, and each kind within bounds of its own, so that mini-batches cost no epoch."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from finetuned.service.events import EpochEnd, MiniBatchEnd, TrainingBegin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.service.events import Progress

    Waiting = deque[tuple[int, Progress]]


def drop_oldest(waiting: Waiting) -> None:
    """Make room for one more."""
    waiting.popleft()


def thin_out(waiting: Waiting) -> None:
    """Drop every second of the older half: a course is still seen whole, and its newest half as it was."""
    half = len(waiting) // 2
    older = [waiting.popleft() for _ in range(half)]
    waiting.extendleft(reversed(older[::2]))


KEPT: Mapping[type[Progress], tuple[int, Callable[[Waiting], None]]] = {
    TrainingBegin: (256, drop_oldest),
    EpochEnd: (128, thin_out),
    MiniBatchEnd: (256, drop_oldest),
}
"""How many of a kind wait at most, and what makes room for the next: outcomes wait behind them, so there are not many."""


class Backlog:
    """First in, first out over all kinds; `dropped` counts what fell out."""

    def __init__(self) -> None:
        self.dropped = 0
        self._numbers = count()
        self._kinds: dict[type[Progress], Waiting] = {kind: deque() for kind in KEPT}

    def append(self, event: Progress) -> None:
        """Take an event; others of its kind may make room."""
        waiting, (most, make_room) = self._kinds[type(event)], KEPT[type(event)]
        if (before := len(waiting)) == most:
            make_room(waiting)
            self.dropped += before - len(waiting)
        waiting.append((next(self._numbers), event))

    @property
    def first(self) -> Progress | None:
        """The event that came before all others."""
        waiting = self._oldest()
        return waiting[0][1] if waiting else None

    def take(self) -> Progress:
        """Return the first event, and forget it."""
        _, event = self._oldest().popleft()
        return event

    def forget(self, about: Callable[[Progress], bool]) -> None:
        """Let go of the events that are about something that was forgotten."""
        for kind, waiting in self._kinds.items():
            self._kinds[kind] = deque(each for each in waiting if not about(each[1]))

    def _oldest(self) -> Waiting:
        """Return the kind whose turn it is, empty where nothing waits."""
        waiting = [kind for kind in self._kinds.values() if kind]
        return min(waiting, key=lambda kind: kind[0][0], default=deque())
