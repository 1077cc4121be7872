"""Is there enough to learn from?  From how many samples are new, and for how long, to a yes or a time.

This decides about tasks that nobody asked for; a person's `train` is not asked here.

    samples   x xx   xxxx x|<- quiet_s ->| due: they are enough, and no more are on their way
    samples   x       x|                       too few …
              |<------- max_wait_s ------>| due: … but the oldest has waited for long enough
    failed    ×|<------ max_wait_s ------>| due: the machine failed a task; it tries again by itself
    failed    ×     ×     ×|                   never: the circuit breaker is open, a person must look
    lost      |                                at once: what was learnt from them was forgotten with others

Less than `min_per_label` samples of any label hold all of them back: to train on what lacks a class does harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BREAKER = 3
"""So many failed tasks in a row, and none starts by itself any more."""
MOMENT_S = 0.001
"""What is due within a moment is due: the sum of an age and a wait may miss its limit by a rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Enough: `min_new_samples` and then `quiet_s` without another, or the oldest waited for `max_wait_s`.

    Neither counts while a label has fewer than `min_per_label` samples.
    """

    min_new_samples: int = 10
    quiet_s: float = 5.0
    max_wait_s: float = 3600.0
    min_per_label: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """The samples of a model and user that no task has seen: how many, and seconds since the first and the last.

    `least` is how many samples there are, new or not, of the label that has the fewest, over all labels of the
    model (infinite: it has none).  `failures` is how many tasks have failed since one completed; the last of them ended
    `failed_s` seconds ago where the machine is to blame (None: it is not, and to try again would be in vain).  An age
    that nobody knows (NaN) counts as a long one.  `lost`: versions that held these samples, and others that are forgotten,
    are gone; it learns what is left again, however little that is.
    """

    count: int
    oldest_s: float = 0.0
    newest_s: float = 0.0
    least: float = math.inf
    failures: int = 0
    failed_s: float | None = None
    lost: bool = False


def next_look(rule: Rule, new: New) -> float:
    """Return the seconds until a task is due if nothing else happens; 0: now; infinite: never.  Never NaN."""
    if new.failures >= BREAKER:
        return math.inf
    if new.lost:
        return 0.0
    if new.least < rule.min_per_label:
        return math.inf
    waits = [math.inf]
    if new.count > 0:
        waits.append(_left(rule.max_wait_s, new.oldest_s))
    if new.count >= max(rule.min_new_samples, 1):
        waits.append(_left(rule.quiet_s, new.newest_s))
    if new.failures > 0 and new.failed_s is not None:
        waits.append(_left(rule.max_wait_s, new.failed_s))
    return min(waits)


def due(rule: Rule, new: New) -> bool:
    """Say whether a task should start for these samples now."""
    return next_look(rule, new) == 0.0


def _left(limit: float, age: float) -> float:
    """Return the seconds until `age` reaches `limit`; an infinite limit is never reached."""
    if math.isinf(limit):
        return math.inf
    if math.isnan(age) or limit - age < MOMENT_S:
        return 0.0
    return limit - max(age, 0.0)  # below zero a clock was set back: no wait is longer than its limit
