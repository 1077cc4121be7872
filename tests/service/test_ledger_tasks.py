"""Tasks obey one table, and exactly one terminal outcome ends each of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.errors import RequestError, StateError
from finetuned.service.events import Paused, Resumed
from finetuned.service.ledger import connect, opened
from finetuned.service.ledger_checkpoints import (
    known_checkpoints,
    list_checkpoints,
    record_checkpoint,
    refuse_checkpoints,
)
from finetuned.service.ledger_outcomes import append_outcomes
from finetuned.service.ledger_queue import Trouble, troubles, turns
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.ledger_tasks import (
    StaleError,
    TaskRow,
    adjust,
    alive_tasks,
    begin_attempt,
    create_task,
    explain,
    find_task,
    get_task,
    hold,
    interrupted,
    lose,
    pin_adjustment,
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
from finetuned.service.messages import Adjustment, CheckpointRef
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
    moment,
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
    transition(db, first.id, Verb.fail, moment=moment(9), outcomes=[failed(first.id)])
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
    begin_attempt(db, task.id, moment=moment(10))
    transition(db, task.id, Verb.suspend, moment=moment(15), reasons=["thermal"])
    transition(db, task.id, Verb.resume, moment=moment(20))
    transition(db, task.id, Verb.suspend, moment=moment(25), reasons=["thermal"])
    begin_attempt(db, task.id, moment=moment(30))
    task = transition(db, task.id, Verb.suspend, moment=moment(35), reasons=["thermal"])
    assert (task.attempt, task.started_at, task.started_s) == (2, at(10), 10.0)
    assert task.reasons == ("thermal",)


def test_starts_are_numbered_over_all_tasks_so_that_who_was_served_last_is_known(
    db: sqlite3.Connection,
) -> None:
    first = with_task(db)
    with_samples(db, user="anna")
    second = create_task(db, a_task(2, user="anna"))
    for task in (first, second, first):
        begin_attempt(db, task.id, moment=moment(10))
        transition(db, task.id, Verb.suspend, moment=moment(11))
    assert turns(db) == {("gestures", ""): 3, ("gestures", "anna"): 2}


def test_that_a_task_goes_on_is_told_once_and_only_where_it_was_told_to_be_paused(
    db: sqlite3.Connection,
) -> None:
    task = with_task(db)
    begin_attempt(db, task.id, moment=moment(10), resumed=resumed(task.id))
    transition(db, task.id, Verb.suspend, moment=moment(11), outcomes=[paused(task.id)])
    begin_attempt(db, task.id, moment=moment(12), resumed=resumed(task.id))
    transition(db, task.id, Verb.suspend, moment=moment(13))  # its worker was lost
    begin_attempt(db, task.id, moment=moment(14), resumed=resumed(task.id))
    assert outcomes_of(db) == ["paused", "resumed"]


def test_a_verb_that_the_table_does_not_allow_changes_nothing(db: sqlite3.Connection) -> None:
    task = with_task(db)
    with pytest.raises(StateError, match="suspended cannot complete"):
        transition(db, task.id, Verb.complete, moment=moment(9), outcomes=[completed(task.id)])
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
        transition(db, task.id, Verb.fail, moment=moment(9), outcomes=[told[name] for name in outcomes])
    assert get_task(db, task.id) == task
    assert outcomes_of(db) == []


def test_a_terminal_outcome_needs_an_end(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    with pytest.raises(StateError):
        append_outcomes(db, [failed(task.id)])
    with pytest.raises(StateError):
        transition(db, task.id, Verb.suspend, moment=moment(9), outcomes=[failed(task.id)])
    assert outcomes_of(db) == []


def test_a_failed_and_a_cancelled_task_say_why(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    task = transition(db, task.id, Verb.fail, moment=moment(60), outcomes=[failed(task.id, "it diverged")])
    assert (task.error, task.ended_at) == ("it diverged", at(60))
    other = create_task(db, a_task(2))
    transition(db, other.id, Verb.cancel, moment=moment(61))
    other = transition(db, other.id, Verb.fail, moment=moment(62), outcomes=[cancelled(other.id)])
    assert (other.state, other.error) == (TaskState.failed, "cancelled")


def test_only_a_suspended_task_has_reasons(db: sqlite3.Connection) -> None:
    task = with_task(db)
    assert explain(db, task.id, ["queued", "battery"]).reasons == ("queued", "battery")
    transition(db, task.id, Verb.resume, moment=moment(9))
    assert explain(db, task.id, ["battery"], [paused(task.id)]).reasons == ()
    assert outcomes_of(db) == []


def test_a_persons_word_is_kept_whatever_the_state_and_told_when_it_changes_something(
    db: sqlite3.Connection,
) -> None:
    task = with_task(db, Verb.resume)
    assert hold(db, task.id, held=True).reasons == ()
    hold(db, task.id, held=True, outcome=paused(task.id))
    assert outcomes_of(db) == [], "it was held before"
    assert transition(db, task.id, Verb.suspend, moment=moment(9), reasons=["thermal"]).reasons == (
        "thermal",
        "user",
    )
    assert explain(db, task.id, ["queued"]).reasons == ("queued", "user")
    assert begin_attempt(db, task.id, moment=moment(10)) is None
    assert hold(db, task.id, held=False).reasons == ("queued",)
    for held in (True, False, True):
        hold(db, task.id, held=held, outcome=paused(task.id) if held else None)
    assert outcomes_of(db) == ["paused"], "it has not gone on in between"
    transition(db, task.id, Verb.fail, moment=moment(11), outcomes=[failed(task.id)])
    with pytest.raises(StateError, match="has ended"):
        hold(db, task.id, held=True)


# ── attempts ────────────────────────────────────────────────────────────────────────────────────
CHECKPOINT = CheckpointRef(path="1/c", sha256="c" * 64, step=10)
LATE: dict[str, Callable[[sqlite3.Connection, str], object]] = {
    "a hold": lambda db, task: transition(db, task, Verb.suspend, moment=moment(9), attempt=1),
    "a checkpoint": lambda db, task: record_checkpoint(db, task, 1, CHECKPOINT),
    "what it could not use": lambda db, task: refuse_checkpoints(db, task, 1, step=0),
    "a learning rate": lambda db, task: pin_adjustment(db, task, 1, step=5),
    "a result": lambda db, task: complete_task(
        db, a_version(a_task()), attempt=1, promoted=True, moment=moment(9), outcomes=[completed(task)]
    ),
}


@pytest.mark.parametrize("late", LATE)
def test_what_an_older_attempt_says_changes_nothing(db: sqlite3.Connection, late: str) -> None:
    task = with_task(db)
    begin_attempt(db, task.id, moment=moment(1))
    adjust(db, task.id, 0.5)
    transition(db, task.id, Verb.suspend, moment=moment(2))
    row = begin_attempt(db, task.id, moment=moment(3))
    record_checkpoint(db, task.id, 2, CHECKPOINT)
    with pytest.raises(StaleError, match=r"attempt 1 of task .* is over"):
        LATE[late](db, task.id)
    assert get_task(db, task.id) == row
    assert (list_versions(db), outcomes_of(db)) == ((), [])
    assert list_checkpoints(db, task.id) == (CHECKPOINT,)


def test_the_third_lost_worker_ends_the_task_and_each_before_puts_it_back(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    ending = failed(task.id, "the worker died")

    def lost() -> TaskRow:
        return lose(db, task.id, moment=moment(9), failed=ending, reasons=["queued", "retry"], most=3)

    assert (lost().reasons, outcomes_of(db)) == (("queued", "retry"), [])
    assert lost().losses == 2, "one that is lost while it is prepared counts as well"
    transition(db, task.id, Verb.resume, moment=moment(10))
    last = lost()
    assert (last.state, last.fault, last.error) == (TaskState.failed, "model", "the worker died")
    assert outcomes_of(db) == ["failed"]


def test_the_two_newest_checkpoints_are_kept_a_later_attempts_before_those_of_an_earlier_one(
    db: sqlite3.Connection,
) -> None:
    task = with_task(db)
    begin_attempt(db, task.id, moment=moment(1))
    made = [CheckpointRef(path=f"1/{step}", sha256="c" * 64, step=step) for step in (10, 20, 30)]
    gone = [record_checkpoint(db, task.id, 1, each) for each in made]
    assert gone == [(), (), (made[0],)]
    transition(db, task.id, Verb.suspend, moment=moment(2))
    begin_attempt(db, task.id, moment=moment(3))
    assert list_checkpoints(db, task.id) == (made[2], made[1])
    assert refuse_checkpoints(db, task.id, 2, step=20) == (made[2],), "it was broken"
    later = CheckpointRef(path="2/25", sha256="d" * 64, step=25)
    assert record_checkpoint(db, task.id, 2, later) == ()
    assert list_checkpoints(db, task.id) == (later, made[1])
    assert known_checkpoints(db) == ((task.id, "1/20"), (task.id, "2/25"))


def test_learning_rates_are_kept_with_the_mini_batch_from_which_they_hold(db: sqlite3.Connection) -> None:
    task = with_task(db)
    begin_attempt(db, task.id, moment=moment(1))
    for rate in (0.5, 0.25):
        adjust(db, task.id, rate)
    row = pin_adjustment(db, task.id, 1, step=7)
    assert row.adjustments == (
        Adjustment(learning_rate=0.5, step=7),
        Adjustment(learning_rate=0.25),
    )
    for step in (9, 11):
        row = pin_adjustment(db, task.id, 1, step=step)
    assert [each.step for each in row.adjustments] == [7, 9]


def test_failures_are_counted_since_a_task_completed_and_a_cancel_is_none(db: sqlite3.Connection) -> None:
    with_model(db)
    with_samples(db)
    for number, kind in enumerate(["failed", "completed", "failed", "cancelled", "failed"], start=1):
        task = create_task(db, a_task(number))
        if kind == "completed":
            transition(db, task.id, Verb.resume, moment=moment(number))
            complete_task(
                db, a_version(task), promoted=True, moment=moment(number), outcomes=[completed(task.id)]
            )
        else:
            told = cancelled(task.id) if kind == "cancelled" else failed(task.id, f"for the {number}. time")
            transition(db, task.id, Verb.fail, moment=moment(number), outcomes=[told])
    trouble = Trouble(failures=2, ended_s=5.0, error="for the 5. time", fault="model")
    assert troubles(db) == {("gestures", ""): trouble}


# ── a restart ───────────────────────────────────────────────────────────────────────────────────
def test_what_ran_when_the_daemon_died_is_queued_again(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    (after,) = interrupted(db, moment=moment(70), node=NODE)
    assert (after.id, after.state, after.reasons) == (task.id, TaskState.suspended, ("queued",))
    assert outcomes_of(db) == []


def test_what_was_being_cancelled_when_the_daemon_died_is_cancelled(db: sqlite3.Connection) -> None:
    with_task(db, Verb.resume, Verb.cancel)
    (after,) = interrupted(db, moment=moment(70), node=NODE)
    assert (after.state, after.error, after.ended_at) == (TaskState.failed, "cancelled", at(70))
    assert outcomes_of(db) == ["cancelled"]
    assert interrupted(db, moment=moment(80), node=NODE) == ()


def test_after_a_restart_a_person_still_holds_a_task_and_the_weather_does_not(db: sqlite3.Connection) -> None:
    task = with_task(db)
    explain(db, task.id, ["thermal"])
    hold(db, task.id, held=True)
    (after,) = interrupted(db, moment=moment(70), node=NODE)
    assert after.reasons == ("queued", "user")


# ── versions ────────────────────────────────────────────────────────────────────────────────────
def test_a_completed_task_its_version_and_what_is_current_come_together(db: sqlite3.Connection) -> None:
    task = with_task(db, Verb.resume)
    assert (next_version(db, "gestures", ""), current_version(db, "gestures", "")) == (1, None)
    version = a_version(task)
    done = complete_task(db, version, promoted=True, moment=moment(90), outcomes=[completed(task.id)])
    assert (done.state, done.version, done.ended_at, done.error) == (TaskState.completed, 1, at(90), "")
    assert (next_version(db, "gestures", ""), current_version(db, "gestures", "")) == (2, version)
    assert outcomes_of(db) == ["completed"]


def test_a_version_that_was_kept_back_leaves_what_is_current(db: sqlite3.Connection) -> None:
    first = with_task(db, Verb.resume)
    complete_task(db, a_version(first), promoted=True, moment=moment(90), outcomes=[completed(first.id)])
    second = create_task(db, a_task(2))
    transition(db, second.id, Verb.resume, moment=moment(91))
    complete_task(
        db, a_version(second, 2), promoted=False, moment=moment(92), outcomes=[completed(second.id, 2)]
    )
    assert [row.version for row in list_current(db)] == [1]
    assert [row.version for row in list_versions(db, "gestures")] == [1, 2]
    assert list_versions(db, "digits") == ()


@pytest.mark.parametrize("verbs", [(), (Verb.resume, Verb.suspend)], ids=["queued", "paused"])
def test_a_task_that_cannot_complete_saves_no_version(
    db: sqlite3.Connection, verbs: tuple[Verb, ...]
) -> None:
    task = with_task(db, *verbs)
    with pytest.raises(StateError):
        complete_task(db, a_version(task), promoted=True, moment=moment(90), outcomes=[completed(task.id)])
    assert (list_versions(db), list_current(db), get_task(db, task.id)) == ((), (), task)


def paused(task: str) -> Paused:
    return Paused(ts=at(1), node=NODE, task=task, pace="paused", duty=0.0)


def resumed(task: str) -> Resumed:
    return Resumed(ts=at(1), node=NODE, task=task, pace="full", duty=1.0)


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
        transition(db, last.id, verb, moment=moment(3), outcomes=[TOLD[name](last.id) for name in told])
    elif step == "restart":
        interrupted(db, moment=moment(1), node=NODE)
    elif step == "create":
        tasks.append(create_task(db, a_task(len(tasks) + 1)))
    else:
        complete_task(db, the_next(db, last), promoted=True, moment=moment(2), outcomes=[completed(last.id)])


def the_next(db: sqlite3.Connection, task: TaskRow) -> VersionRow:
    return a_version(task, next_version(db, "gestures", ""))


def ends_of(db: sqlite3.Connection, task: TaskRow) -> int:
    rows = db.execute("SELECT type FROM outcomes WHERE payload ->> 'task' = ?", (task.id,))
    return sum(row["type"] in ENDS for row in rows)
