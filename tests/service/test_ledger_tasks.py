"""Tasks obey one table, and exactly one terminal outcome ends each of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.errors import RequestError, StateError
from finetuned.service.ledger import connect, opened
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.ledger_tasks import (
    TaskRow,
    alive_tasks,
    create_task,
    find_task,
    get_task,
    interrupted,
    set_reasons,
    task_samples,
    transition,
)
from finetuned.service.ledger_versions import (
    VersionRow,
    complete_task,
    current_version,
    list_current,
    list_versions,
    next_version,
)
from finetuned.states import TERMINAL, TaskState, Verb
from ledgers import (
    NODE,
    a_sample,
    a_task,
    a_version,
    at,
    cancelled,
    completed,
    failed,
    outcomes_of,
    with_model,
    with_samples,
    with_task,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from finetuned.service.events import Outcome

ENDS = {"completed", "failed", "cancelled"}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with opened(tmp_path / "ledger.db") as db:
        yield db


# ── creation ────────────────────────────────────────────────────────────────────────────────────
def test_a_task_is_queued_for_exactly_the_samples_that_are_there(db: sqlite3.Connection) -> None:
    task = with_task(db)
    accept_batch(db, [a_sample(4), a_sample(5, user="anna")])
    assert (task.state, task.reasons, task.attempt, task.started_at) == (
        TaskState.suspended,
        ("queued",),
        0,
        None,
    )
    assert [sample.name for sample in task_samples(db, task.id)] == ["1.jpg", "2.jpg", "3.jpg"]
    assert alive_tasks(db) == (task,)


def test_a_second_task_waits_for_the_end_of_the_first_but_not_for_another_users(
    db: sqlite3.Connection,
) -> None:
    first = with_task(db)
    with_samples(db, user="anna")
    with pytest.raises(RequestError, match=f"task {first.id} of model gestures is suspended"):
        create_task(db, a_task(2))
    create_task(db, a_task(3, user="anna"))
    transition(db, first.id, Verb.fail, at=at(9), outcomes=[failed(first.id)])
    assert create_task(db, a_task(4)).alive


def test_without_samples_to_train_on_there_is_no_task(db: sqlite3.Connection) -> None:
    with_model(db)
    with pytest.raises(RequestError, match="no samples to train on; drop some"):
        create_task(db, a_task())
    assert find_task(db, a_task().id) is None


def test_an_unknown_task_is_answered_with_those_that_are_alive(db: sqlite3.Connection) -> None:
    task = with_task(db)
    with pytest.raises(RequestError, match=f"no task 42; alive are: {task.id}"):
        get_task(db, "42")


# ── transitions ─────────────────────────────────────────────────────────────────────────────────
def test_attempts_are_counted_from_the_first_start_and_a_pause_is_none(db: sqlite3.Connection) -> None:
    task = with_task(db)
    for second, new_attempt in ((10, True), (20, False), (30, True)):
        transition(db, task.id, Verb.resume, at=at(second), new_attempt=new_attempt)
        task = transition(db, task.id, Verb.suspend, at=at(second + 5), reasons=["thermal"])
    assert (task.attempt, task.started_at, task.reasons) == (2, at(10), ("thermal",))


def test_a_verb_that_the_table_does_not_allow_changes_nothing(db: sqlite3.Connection) -> None:
    task = with_task(db)
    with pytest.raises(StateError, match="suspended cannot complete"):
        transition(db, task.id, Verb.complete, at=at(9), outcomes=[completed(task.id)])
    assert get_task(db, task.id) == task
    assert outcomes_of(db) == []


@pytest.mark.parametrize(
    "outcomes",
    [[], ["other"], ["failed", "cancelled"], ["completed"]],
    ids=["none", "another's", "two", "wrong"],
)
def test_an_end_without_its_own_one_terminal_outcome_is_no_end(
    db: sqlite3.Connection, outcomes: list[str]
) -> None:
    task = with_task(db, Verb.resume)
    told = {
        "other": failed("other"),
        "failed": failed(task.id),
        "cancelled": cancelled(task.id),
        "completed": completed(task.id),
    }
    with pytest.raises(StateError):
        transition(db, task.id, Verb.fail, at=at(9), outcomes=[told[name] for name in outcomes])
    assert get_task(db, task.id) == task
    assert outcomes_of(db) == []


def test_a_terminal_outcome_needs_an_end(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    with pytest.raises(StateError):
        append_outcomes(db, [failed(task.id)])
    with pytest.raises(StateError):
        transition(db, task.id, Verb.suspend, at=at(9), outcomes=[failed(task.id)])
    assert outcomes_of(db) == []


def test_a_failed_and_a_cancelled_task_say_why(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    task = transition(db, task.id, Verb.fail, at=at(60), outcomes=[failed(task.id, "it diverged")])
    assert (task.error, task.ended_at) == ("it diverged", at(60))
    other = create_task(db, a_task(2))
    transition(db, other.id, Verb.cancel, at=at(61))
    other = transition(db, other.id, Verb.fail, at=at(62), outcomes=[cancelled(other.id)])
    assert (other.state, other.error) == (TaskState.failed, "cancelled")


def test_only_a_suspended_task_has_other_reasons(db: sqlite3.Connection) -> None:
    task = with_task(db)
    assert set_reasons(db, task.id, ["queued", "battery"]).reasons == ("queued", "battery")
    transition(db, task.id, Verb.resume, at=at(9))
    with pytest.raises(StateError, match="only a suspended one"):
        set_reasons(db, task.id, ["battery"])


# ── a restart ───────────────────────────────────────────────────────────────────────────────────
def test_what_ran_when_the_daemon_died_is_queued_again(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    (after,) = interrupted(db, at=at(70), node=NODE)
    assert (after.id, after.state, after.reasons) == (task.id, TaskState.suspended, ("queued",))
    assert outcomes_of(db) == []


def test_what_was_being_cancelled_when_the_daemon_died_is_cancelled(db: sqlite3.Connection) -> None:
    with_task(db, Verb.resume, Verb.cancel)
    (after,) = interrupted(db, at=at(70), node=NODE)
    assert (after.state, after.error, after.ended_at) == (TaskState.failed, "cancelled", at(70))
    assert outcomes_of(db) == ["cancelled"]
    assert interrupted(db, at=at(80), node=NODE) == ()


def test_after_a_restart_a_person_still_holds_a_task_and_the_weather_does_not(db: sqlite3.Connection) -> None:
    task = with_task(db)
    set_reasons(db, task.id, ["thermal", "user"])
    (after,) = interrupted(db, at=at(70), node=NODE)
    assert after.reasons == ("queued", "user")


# ── versions ────────────────────────────────────────────────────────────────────────────────────
def test_a_completed_task_its_version_and_what_is_current_come_together(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    assert (next_version(db, "gestures", ""), current_version(db, "gestures", "")) == (1, None)
    version = a_version(task)
    done = complete_task(db, version, promoted=True, at=at(90), outcomes=[completed(task.id)])
    assert (done.state, done.version, done.ended_at, done.error) == (TaskState.completed, 1, at(90), "")
    assert (next_version(db, "gestures", ""), current_version(db, "gestures", "")) == (2, version)
    assert outcomes_of(db) == ["completed"]


def test_a_version_that_was_kept_back_leaves_what_is_current(db: sqlite3.Connection) -> None:
    first = with_task(db, Verb.resume)
    complete_task(db, a_version(first), promoted=True, at=at(90), outcomes=[completed(first.id)])
    second = create_task(db, a_task(2))
    transition(db, second.id, Verb.resume, at=at(91))
    complete_task(db, a_version(second, 2), promoted=False, at=at(92), outcomes=[completed(second.id, 2)])
    assert [row.version for row in list_current(db)] == [1]
    assert [row.version for row in list_versions(db, "gestures")] == [1, 2]
    assert list_versions(db, "digits") == ()


@pytest.mark.parametrize("verbs", [(), (Verb.resume, Verb.suspend)], ids=["queued", "paused"])
def test_a_task_that_cannot_complete_saves_no_version(
    db: sqlite3.Connection, verbs: tuple[Verb, ...]
) -> None:
    task = with_task(db, *verbs)
    with pytest.raises(StateError):
        complete_task(db, a_version(task), promoted=True, at=at(90), outcomes=[completed(task.id)])
    assert (list_versions(db), list_current(db), get_task(db, task.id)) == ((), (), task)


# ── any sequence of verbs ───────────────────────────────────────────────────────────────────────
TOLD: dict[str, Callable[[str], Outcome]] = {"completed": completed, "failed": failed, "cancelled": cancelled}
STEPS = st.one_of(
    st.tuples(st.sampled_from(Verb), st.lists(st.sampled_from(sorted(ENDS)), max_size=2)),
    st.sampled_from(["restart", "create", "version"]),
)


@given(st.lists(STEPS, max_size=25))
def test_whatever_is_tried_each_ended_task_has_one_terminal_outcome_and_each_other_none(
    steps: list[tuple[Verb, list[str]] | str],
) -> None:
    with contextlib.closing(connect(Path(":memory:"))) as db:
        tasks = [with_task(db)]
        for step in steps:
            with contextlib.suppress(StateError, RequestError):
                attempt(db, tasks, step)
        for task in tasks:
            assert ends_of(db, task) == (1 if get_task(db, task.id).state in TERMINAL else 0)


def attempt(db: sqlite3.Connection, tasks: list[TaskRow], step: tuple[Verb, list[str]] | str) -> None:
    last = tasks[-1]
    if not isinstance(step, str):
        verb, told = step
        transition(db, last.id, verb, at=at(3), outcomes=[TOLD[name](last.id) for name in told])
    elif step == "restart":
        interrupted(db, at=at(1), node=NODE)
    elif step == "create":
        tasks.append(create_task(db, a_task(len(tasks) + 1)))
    else:
        complete_task(db, the_next(db, last), promoted=True, at=at(2), outcomes=[completed(last.id)])


def the_next(db: sqlite3.Connection, task: TaskRow) -> VersionRow:
    return a_version(task, next_version(db, "gestures", ""))


def ends_of(db: sqlite3.Connection, task: TaskRow) -> int:
    rows = db.execute("SELECT type FROM outcomes WHERE payload ->> 'task' = ?", (task.id,))
    return sum(row["type"] in ENDS for row in rows)
