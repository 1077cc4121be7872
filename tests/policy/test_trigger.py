"""When is there enough to learn from?"""

from __future__ import annotations

import math

import pytest

from finetuned.policy.trigger import New, Rule, due, next_look

RULE = Rule(min_new_samples=10, quiet_s=5.0, max_wait_s=3600.0)


@pytest.mark.parametrize(
    ("new", "seconds"),
    [
        (New(count=0), math.inf),
        (New(count=0, oldest_s=9999.0, newest_s=9999.0), math.inf),
        (New(count=10, oldest_s=60.0, newest_s=2.0), 3.0),  # enough, but more may be on their way
        (New(count=10, oldest_s=60.0, newest_s=5.0), 0.0),
        (
            New(count=9, oldest_s=60.0, newest_s=50.0),
            3540.0,
        ),  # too few: until the oldest has waited for too long
        (New(count=1, oldest_s=3600.0, newest_s=3600.0), 0.0),
        (New(count=99, oldest_s=3599.0, newest_s=0.0), 1.0),  # they never stop coming
        (New(count=1, oldest_s=9999.0, newest_s=9999.0), 0.0),
    ],
)
def test_samples_are_due_when_they_are_enough_and_quiet_or_have_waited_for_too_long(
    new: New, seconds: float
) -> None:
    assert next_look(RULE, new) == seconds
    assert due(RULE, new) == (seconds == 0.0)


def test_after_waiting_for_as_long_as_it_says_the_samples_are_due() -> None:
    new = New(count=12, oldest_s=30.0, newest_s=1.25)
    wait = next_look(RULE, new)
    assert due(RULE, New(count=12, oldest_s=30.0 + wait, newest_s=1.25 + wait))
