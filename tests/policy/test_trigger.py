"""When is there enough to learn from?"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from finetuned.policy.trigger import BREAKER, New, Rule, due, next_look

RULE = Rule(min_new_samples=10, quiet_s=5.0, max_wait_s=3600.0, min_per_label=3)
NEVER = math.inf

ROWS = [
    ("nothing is new", New(count=0), NEVER),
    ("nothing is new, and that for long", New(count=0, oldest_s=9999.0, newest_s=9999.0), NEVER),
    ("enough, but more may be on their way", New(count=10, oldest_s=60.0, newest_s=2.0), 3.0),
    ("enough and quiet", New(count=10, oldest_s=60.0, newest_s=5.0), 0.0),
    ("too few, until the oldest has waited for too long", New(count=9, oldest_s=60.0, newest_s=50.0), 3540.0),
    ("one that has waited for too long", New(count=1, oldest_s=3600.0, newest_s=3600.0), 0.0),
    ("they never stop coming", New(count=99, oldest_s=3599.0, newest_s=0.0), 1.0),
    ("a label has just enough", New(count=10, oldest_s=60.0, newest_s=5.0, least=3), 0.0),
    ("a label has too few, though all are enough and quiet", New(count=99, oldest_s=60.0, newest_s=9.0, least=2), NEVER),
    ("a label has none, however long the others have waited", New(count=9, oldest_s=9999.0, newest_s=9999.0, least=0), NEVER),
    ("the machine failed a task: it tries again", New(count=0, failures=1, failed_s=0.0), 3600.0),
    ("it failed, and the machine is not to blame", New(count=0, failures=1), NEVER),
    ("it failed, the machine is not to blame, and enough is new", New(count=10, newest_s=5.0, failures=2), 0.0),
    ("it failed twice, and has waited", New(count=0, failures=2, failed_s=3600.0), 0.0),
    ("it failed, and enough that is new does not wait", New(count=10, newest_s=5.0, failures=1, failed_s=60.0), 0.0),
    ("it failed, and the failure is older than what is new", New(count=1, oldest_s=60.0, failures=1, failed_s=600.0), 3000.0),
    ("it failed, and a label has lost samples since", New(count=0, failures=1, failed_s=9999.0, least=2), NEVER),
    ("it failed too often", New(count=0, failures=3, failed_s=9999.0), NEVER),
    ("it failed too often, whatever is new", New(count=99, oldest_s=9999.0, newest_s=9999.0, failures=3, failed_s=9999.0), NEVER),
    ("a past failure that a completed task has made good", New(count=0, failures=0, failed_s=9999.0), NEVER),
    ("what was learnt from them is lost, however few they are", New(count=1, least=0, lost=True), 0.0),
    ("it is lost, and to learn it again failed too often", New(count=1, failures=3, lost=True), NEVER),
    ("nobody knows how long they have waited", New(count=1, oldest_s=math.nan, newest_s=math.nan), 0.0),
    ("a clock was set back", New(count=1, oldest_s=-86_400.0, newest_s=-86_400.0), 3600.0),
]  # fmt: skip


@pytest.mark.parametrize(("new", "seconds"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_task_is_due_as_the_table_says(new: New, seconds: float) -> None:
    assert next_look(RULE, new) == seconds
    assert due(RULE, new) == (seconds == 0.0)


def test_without_a_least_number_per_label_a_label_may_lack_samples() -> None:
    assert due(replace(RULE, min_per_label=0), New(count=10, newest_s=5.0, least=0))


def test_a_wait_without_limit_never_ends() -> None:
    patient = replace(RULE, max_wait_s=math.inf)
    assert next_look(patient, New(count=9, oldest_s=math.inf, failures=1)) == math.inf


def test_a_machine_that_fails_every_task_is_asked_three_times_an_hour_apart() -> None:
    tried, new = [0.0], New(count=0, failures=1, failed_s=0.0)
    while math.isfinite(wait := next_look(RULE, new)):
        tried.append(tried[-1] + wait)
        new = replace(new, failures=new.failures + 1, failed_s=0.0)
    assert tried == [0.0, 3600.0, 7200.0]


# ── whatever the numbers ────────────────────────────────────────────────────────────────────────
ages = st.floats(0, 1e9)
anything = ages | st.sampled_from([math.inf, math.nan, -1.0])
limits = st.floats(0, 31_536_000.0) | st.just(math.inf)
rules = st.builds(
    Rule, min_new_samples=st.integers(0, 5), quiet_s=limits, max_wait_s=limits, min_per_label=st.integers(0, 3)
)  # fmt: skip


def news(seconds: st.SearchStrategy[float]) -> st.SearchStrategy[New]:
    return st.builds(
        New,
        count=st.integers(0, 6),
        oldest_s=seconds,
        newest_s=seconds,
        least=st.integers(0, 4) | st.just(math.inf),
        failures=st.integers(0, BREAKER + 1),
        failed_s=st.none() | seconds,
    )


def later(new: New, seconds: float) -> New:
    """The same samples and failures, after so long."""
    return replace(
        new,
        oldest_s=new.oldest_s + seconds,
        newest_s=new.newest_s + seconds,
        failed_s=None if new.failed_s is None else new.failed_s + seconds,
    )


@given(rules, news(anything))
def test_the_next_look_is_never_in_the_past_nor_unknown(rule: Rule, new: New) -> None:
    assert next_look(rule, new) >= 0.0


@given(rules, news(ages))
@example(Rule(quiet_s=0.0, max_wait_s=1.1), New(count=1, oldest_s=0.7))
def test_after_waiting_for_as_long_as_it_says_a_task_is_due(rule: Rule, new: New) -> None:
    wait = next_look(rule, new)
    assert math.isinf(wait) or due(rule, later(new, wait))


@given(rules, news(ages), st.floats(0, 0.9))
def test_before_that_it_is_not(rule: Rule, new: New, share: float) -> None:
    wait = next_look(rule, new)
    if math.isfinite(wait) and wait > 0.1:
        assert not due(rule, later(new, share * wait))


@given(rules, news(anything), ages)
def test_what_is_due_stays_due_by_waiting(rule: Rule, new: New, seconds: float) -> None:
    assert not due(rule, new) or due(rule, later(new, seconds))


@given(rules, news(ages))
def test_what_can_never_be_due_is_not_by_waiting(rule: Rule, new: New) -> None:
    if math.isinf(next_look(rule, new)):
        assert math.isinf(next_look(rule, later(new, 1e9)))


@given(rules, news(anything), st.integers(0, 9))
def test_nothing_new_and_no_failure_is_never_due(rule: Rule, new: New, failures: int) -> None:
    assert not due(rule, replace(new, count=0, failures=0))
    assert not due(rule, replace(new, failures=BREAKER + failures))
