"""A sample is (model, user, content): what becomes of one that comes again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import StateError
from finetuned.service.clock import Reading, load_clock
from finetuned.service.events import Outcome, SampleAccepted
from finetuned.service.ledger import opened
from finetuned.service.ledger_samples import (
    Acceptance,
    Kind,
    NewSamples,
    accept_batch,
    count_labels,
    find_sample,
    list_samples,
    new_samples,
)
from finetuned.service.ledger_tasks import create_task, task_samples
from ledgers import NODE, a_sample, a_task, at, outcomes_of, with_model, with_samples

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with opened(tmp_path / "ledger.db") as db:
        with_model(db)
        yield db


def test_a_batch_tells_of_each_sample_what_became_of_it(db: sqlite3.Connection) -> None:
    first = a_sample(1)
    copy = replace(first, name="copy.jpg", source="gestures/rock/copy.jpg:9:0")
    moved = replace(
        copy, label="✋", path="models/gestures/_/samples/✋/1.jpg", source="gestures/paper/copy.jpg:9:0"
    )
    other_user = replace(first, user="anna")
    acceptances = accept_batch(db, [first, first, copy, other_user, moved])
    assert [a.kind for a in acceptances] == [
        Kind.accepted,
        Kind.leftover,
        Kind.duplicate,
        Kind.accepted,
        Kind.relabelled,
    ]
    assert acceptances[2].row.name == "1.jpg"
    assert (acceptances[4].row.path, acceptances[4].moved_from) == (moved.path, first.path)
    assert count_labels(db, "gestures", "") == {"✋": 1}
    assert count_labels(db, "gestures", "anna") == {"✊": 1}


def test_what_is_told_of_a_batch_is_written_with_it_or_not_at_all(db: sqlite3.Connection) -> None:
    def tell(acceptances: tuple[Acceptance, ...]) -> list[Outcome]:
        count = sum(a.kind is Kind.accepted for a in acceptances)
        return [SampleAccepted(ts=at(1), node=NODE, model="gestures", label="✊", name="2.jpg", count=count)]

    def stumble(_: tuple[Acceptance, ...]) -> list[Outcome]:
        raise StateError("nobody is there to be told")

    accept_batch(db, [a_sample(1), a_sample(2)], tell)
    with pytest.raises(StateError):
        accept_batch(db, [a_sample(3)], stumble)
    assert outcomes_of(db) == ["sampleAccepted"]
    assert [sample.name for sample in list_samples(db, "gestures", "")] == ["1.jpg", "2.jpg"]


def test_what_is_new_is_counted_per_label_for_everyone_who_has_something(db: sqlite3.Connection) -> None:
    with_samples(db, 3)
    accept_batch(db, [replace(a_sample(9), label="✋"), replace(a_sample(4), user="anna")])
    assert set_of(new_samples(db)) == {
        ("", ("✊", 3), ("✋", 1), 1.0, 9.0, 4),
        ("anna", ("✊", 1), 4.0, 4.0, 1),
    }


def set_of(summaries: tuple[NewSamples, ...]) -> set[tuple[object, ...]]:
    return {(s.user, *sorted(s.labels.items()), s.oldest_s, s.newest_s, s.count) for s in summaries}


def test_a_task_takes_what_is_new_and_a_relabel_makes_it_new_for_the_next(db: sqlite3.Connection) -> None:
    with_samples(db, 2)
    task = create_task(db, a_task())
    assert new_samples(db) == ()
    accept_batch(db, [replace(a_sample(1), label="✋")])
    (summary,) = new_samples(db)
    assert summary.labels == {"✋": 1}
    assert [sample.label for sample in task_samples(db, task.id)] == ["✊", "✊"]


def test_a_relabelled_sample_is_young_again_but_a_task_has_seen_it(db: sqlite3.Connection) -> None:
    with_samples(db, 2)
    create_task(db, a_task())
    accept_batch(
        db, [replace(a_sample(1), label="✋", accepted_s=70.0), replace(a_sample(3), accepted_s=71.0)]
    )
    assert [(s.accepted_s, s.seen, s.task is None) for s in list_samples(db, "gestures", "")] == [
        (70.0, True, True),
        (2.0, True, False),
        (71.0, False, True),
    ]
    (summary,) = new_samples(db)
    assert (summary.oldest_s, summary.newest_s) == (70.0, 71.0)


def test_the_clock_is_kept_with_the_samples_or_neither_is(db: sqlite3.Connection) -> None:
    def stumble(_: tuple[Acceptance, ...]) -> list[Outcome]:
        raise StateError("nobody is there to be told")

    reading = Reading(lived_s=7.0, wall_s=1_800_000_000.0, synchronised=True)
    with pytest.raises(StateError):
        accept_batch(db, [a_sample(1)], stumble, clock=reading)
    assert load_clock(db) is None
    accept_batch(db, [a_sample(1)], clock=reading)
    assert load_clock(db) == reading


def test_a_sample_that_was_held_out_stays_so_under_another_label(db: sqlite3.Connection) -> None:
    held_out = replace(a_sample(1), held_out=True)
    accept_batch(db, [held_out])
    accept_batch(db, [replace(held_out, label="✋", held_out=False)])
    sample = find_sample(db, "gestures", "", held_out.digest)
    assert sample is not None
    assert (sample.label, sample.held_out) == ("✋", True)
