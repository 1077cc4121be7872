"""Is there enough to learn from?  From how many samples are new, and for how long, to a yes or a time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Enough: `min_new_samples` and then `quiet_s` without another, or the oldest waited for `max_wait_s`."""

    min_new_samples: int = 10
    quiet_s: float = 5.0
    max_wait_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """The samples of a model and user that no task has seen: how many, and seconds since the first and the last."""

    count: int
    oldest_s: float = 0.0
    newest_s: float = 0.0


def next_look(rule: Rule, new: New) -> float:
    """Return the seconds until these samples are due if no more arrive; 0: now; infinite: never (none is new)."""
    if new.count <= 0:
        return math.inf
    wait = rule.max_wait_s - new.oldest_s
    if new.count >= rule.min_new_samples:
        wait = min(wait, rule.quiet_s - new.newest_s)
    return max(wait, 0.0)


def due(rule: Rule, new: New) -> bool:
    """Say whether a task should start for these samples now."""
    return next_look(rule, new) == 0.0
