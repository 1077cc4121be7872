"""What the ledger holds of each model and user, and that many users cost nothing where one is asked for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from finetuned.service.ledger import opened
from finetuned.service.ledger_pairs import Pair, get_pair, list_pairs
from finetuned.service.ledger_tasks import begin_attempt, create_task
from finetuned.service.ledger_versions import complete_task
from ledgers import a_task, a_version, completed, moment, with_model, with_samples

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path


def with_users(db: sqlite3.Connection, users: int) -> None:
    """Give each user two samples, a version that is current, one that is not, and a task that lives."""
    with_model(db)
    numbers = itertools.count(1)
    for user in (f"user {number}" for number in range(users)):
        with_samples(db, 2, user)
        for version, promoted in [(1, True), (2, False)]:
            task = create_task(db, a_task(next(numbers), user))
            begin_attempt(db, task.id, moment=moment(1))
            row, told = a_version(task, version), [completed(task.id, version)]
            complete_task(db, row, promoted=promoted, moment=moment(2), outcomes=told)
        create_task(db, a_task(next(numbers), user))


def steps(db: sqlite3.Connection, what: Callable[[sqlite3.Connection], object]) -> int:
    """Return how many steps SQLite's machine takes for it."""
    count = itertools.count()
    db.set_progress_handler(lambda: next(count) < 0, 1)
    what(db)
    db.set_progress_handler(None, 0)
    return next(count)


def statements(db: sqlite3.Connection, what: Callable[[sqlite3.Connection], object]) -> int:
    """Return how many statements SQLite runs for it."""
    ran: list[str] = []
    db.set_trace_callback(ran.append)
    what(db)
    db.set_trace_callback(None)
    return len(ran)


def test_a_pair_is_what_the_ledger_holds_of_it_alone_and_among_all(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as db:
        with_users(db, 2)
        (task,) = db.execute("SELECT id FROM tasks WHERE user = 'user 1' AND state = 'suspended'").fetchone()
        (card,) = db.execute("SELECT card FROM versions WHERE user = 'user 1' AND version = 1").fetchone()
        (newest,) = db.execute("SELECT card FROM versions WHERE user = 'user 1' AND version = 2").fetchone()
        expected = Pair(
            user="user 1", samples={"✊": 2}, newest=2, newest_card=newest, current=1, card=card, task=task
        )
        assert get_pair(db, "gestures", "user 1") == expected
        assert get_pair(db, "gestures", "nobody we know") == Pair(user="nobody we know")
        everybody = list_pairs(db, "gestures")
        assert [pair.user for pair in everybody] == ["", "user 0", "user 1"]
        assert (everybody[0], everybody[2]) == (Pair(user=""), expected)
        assert list_pairs(db, "another model") == [Pair(user="")]


def test_a_user_whose_only_trace_is_a_task_is_among_all(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as db:
        with_model(db)
        with_samples(db, 1, "ann")
        task = create_task(db, replace(a_task(), user="ann"))
        with db:
            db.execute("DELETE FROM task_samples")
            db.execute("DELETE FROM samples")
        assert [(pair.user, pair.task) for pair in list_pairs(db, "gestures")] == [
            ("", None),
            ("ann", task.id),
        ]


def test_one_pair_costs_the_same_however_many_users_there_are(tmp_path: Path) -> None:
    costs = []
    for users in (3, 60):
        with opened(tmp_path / f"{users}.db") as db:
            with_users(db, users)
            costs.append(steps(db, lambda led: get_pair(led, "gestures", "user 1")))
    assert costs[0] == pytest.approx(costs[1], abs=2)


def test_all_pairs_cost_as_many_statements_as_one_and_steps_as_there_are_users(tmp_path: Path) -> None:
    per_user = []
    for users in (3, 60):
        with opened(tmp_path / f"{users}.db") as db:
            with_users(db, users)
            one = statements(db, lambda led: get_pair(led, "gestures", "user 1"))
            assert statements(db, lambda led: list_pairs(led, "gestures")) == one
            per_user.append(steps(db, lambda led: list_pairs(led, "gestures")) / users)
    assert per_user[1] <= per_user[0]
