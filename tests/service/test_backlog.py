"""What a slow sink hears of the progress, and what it does not."""

from __future__ import annotations

from itertools import pairwise

from finetuned.service.backlog import KEPT, Backlog
from finetuned.service.events import EpochEnd, MiniBatchEnd, Progress, TrainingBegin
from progress import a_batch, a_begin, an_epoch


def all_of(backlog: Backlog) -> list[Progress]:
    """Take everything."""
    events = []
    while backlog.first is not None:
        events.append(backlog.take())
    return events


def test_events_of_all_kinds_come_in_the_order_in_which_they_were_told() -> None:
    told = [a_begin(1), a_batch(1), a_batch(2), an_epoch(2), a_begin(2), a_batch(3), an_epoch(3)]
    backlog = Backlog()
    for event in told:
        backlog.append(event)
    assert all_of(backlog) == told
    assert backlog.dropped == 0


def test_no_number_of_mini_batches_or_epochs_pushes_out_what_an_attempt_began_with() -> None:
    backlog = Backlog()
    backlog.append(a_begin(1))
    for step in range(10_000):
        backlog.append(a_batch(step))
        backlog.append(an_epoch(step))
    events = all_of(backlog)
    assert isinstance(events[0], TrainingBegin)
    assert sum(isinstance(event, MiniBatchEnd) for event in events) == KEPT[MiniBatchEnd][0]
    assert backlog.dropped == 20_001 - len(events)


def test_epochs_are_thinned_out_so_that_the_first_and_the_newest_half_stay() -> None:
    most, _ = KEPT[EpochEnd]
    backlog = Backlog()
    for step in range(10 * most):
        backlog.append(an_epoch(step))
    steps = [event.step for event in all_of(backlog)]
    assert len(steps) <= most
    assert steps[0] == 0
    assert steps[-most // 2 :] == list(range(10 * most - most // 2, 10 * most))
    gaps = [after - before for before, after in pairwise(steps)]
    assert gaps == sorted(gaps, reverse=True), "the older, the coarser"


def test_of_very_many_attempts_the_latest_are_told() -> None:
    most, _ = KEPT[TrainingBegin]
    backlog = Backlog()
    for attempt in range(1, most + 4):
        backlog.append(a_begin(attempt))
    assert [event.attempt for event in all_of(backlog)] == list(range(4, most + 4))
