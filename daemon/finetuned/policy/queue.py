"""Who starts next: the urgent; then fair between models, then between the users of a model, then the oldest.

A person has said which models are urgent: they take every place that they can use, and all that follows holds among
themselves, and among the others for the places that they leave.  A free place goes to the model with the fewest running tasks; of equals to the one that was served longest ago; within
it to the user who was served longest ago; then to the oldest task.  Served means started, and *when* is counted in
starts (turns), not in seconds, so no clock can make it unfair.

Why nobody waits for ever.  To be started makes a model, and a user, the last of their kind.  With M models that have
something to do, a model that waits without a running task is overtaken by each other model once at most: it is among
the next M that start.  With U users in it, a user is among the next U of that model.  So of one place, where whoever
waits has nothing running, a task gets it within M · U starts.  With more places a model may wait for its own running
task: it has its share, and others may use theirs several times meanwhile.  Where none of them runs for longer than D
starts of others (a task that is held for long is released, one that is silent is lost), it is (M + D) · U.  A
thousand users of one model thus delay the only user of another by one task.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A task that could start, `ready_in_s` from now (a back-off after a lost worker); `created_s` by any one clock."""

    task: str
    model: str
    user: str = ""
    created_s: float = 0.0
    urgent: bool = False
    ready_in_s: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether its back-off is over."""
        return not self.ready_in_s > 0  # NaN: nobody knows of one

    @property
    def pair(self) -> tuple[str, str]:
        """Whose task it is."""
        return (self.model, self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """When a task of this user of the model was last started, counted in starts from 1; 0, or no such row: never."""

    model: str
    user: str = ""
    turn: int


def choose(
    waiting: Iterable[Waiting], running: Sequence[tuple[str, str]], served: Iterable[Served], places: int
) -> tuple[str, ...]:
    """Return the tasks to start now, in order: as many as the `places` allow, one of each (model, user).

    `running` are the (model, user) that have a task at work.
    """
    free, busy = places - len(running), set(running)
    runs = Counter(model for model, _ in running)
    models, pairs = _latest(served)
    left = [each for each in waiting if each.ready]
    chosen: list[str] = []

    def rank(each: Waiting) -> tuple[bool, int, int, int, float, str]:
        return (
            not each.urgent,
            runs[each.model],
            models[each.model],
            pairs[each.pair],
            each.created_s,
            each.task,
        )

    while len(chosen) < free and (left := [each for each in left if each.pair not in busy]):
        first = min(left, key=rank)
        chosen.append(first.task)
        busy.add(first.pair)
        runs[first.model] += 1
        models[first.model] = max(models.values(), default=0) + 1
    return tuple(chosen)


def _latest(served: Iterable[Served]) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return the last turn of each model and of each user of it; 0 for those who never had one."""
    models: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for each in served:
        models[each.model] = max(models[each.model], each.turn)
        pairs[each.model, each.user] = max(pairs[each.model, each.user], each.turn)
    return models, pairs


def next_ready(waiting: Iterable[Waiting]) -> float:
    """Return the seconds until the next back-off is over; infinite: nobody backs off."""
    return min((each.ready_in_s for each in waiting if not each.ready), default=math.inf)
