from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.errors import (
    ParameterError,
    StateError,
)
from finetuned.states import TERMINAL, TRANSITIONS, TaskState, Verb
from finetuned.update.events import ProgressEvent, ProgressHandlers, UpdateContext
from finetuned.update.task import CancelledError, UpdateTask
from tasks import ALL, BATCH, BEGIN, EPOCH, TOLD, VERBS, Listener, attempt, made, undisturbed


# ── verbs ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("at", [BEGIN, BATCH, EPOCH])
def test_a_handler_that_suspends_holds_the_task_until_it_is_resumed(at: ProgressEvent) -> None:
    def react(context: UpdateContext) -> None:
        if context.event is at:
            context.task.suspend()

    listener = Listener(react)
    task = made(listener)
    runs = 0
    while task.state is TaskState.suspended:
        task.resume()
        runs += 1
    assert runs == {BEGIN: 2, BATCH: 7, EPOCH: 3}[at]
    assert listener.events == TOLD
    assert len(listener.ended) == 1
    assert task.model.encode() == undisturbed()


def test_a_handler_that_suspends_and_resumes_goes_straight_on() -> None:
    def react(context: UpdateContext) -> None:
        context.task.suspend()
        context.task.resume()

    listener = Listener(react)
    task = made(listener)
    task.resume()
    assert task.state is TaskState.completed
    assert len(listener.ended) == 1


@pytest.mark.parametrize("at", [BEGIN, BATCH, EPOCH])
def test_a_handler_that_cancels_ends_the_task_as_cancelled(at: ProgressEvent) -> None:
    def react(context: UpdateContext) -> None:
        if context.event is at:
            context.task.cancel()

    listener = Listener(react)
    task = made(listener)
    task.resume()
    assert listener.events[-1] is at
    assert task.state is TaskState.failed
    assert isinstance(task.error, CancelledError)
    assert len(listener.ended) == 1


def test_a_suspended_task_can_be_cancelled_from_outside() -> None:
    listener = Listener(lambda context: context.task.suspend())
    task = made(listener)
    task.resume()
    task.cancel()
    assert task.state is TaskState.failed
    assert isinstance(task.error, CancelledError)
    assert listener.events == [BEGIN]
    assert len(listener.ended) == 1


def test_who_cancels_is_not_told_so_by_an_exception_but_who_runs_is() -> None:
    outside = made()
    outside.cancel()
    assert isinstance(outside.error, CancelledError)
    inside = made(handlers=ProgressHandlers(for_events=ALL, progress=lambda context: context.task.cancel()))
    with pytest.raises(CancelledError):
        inside.resume()


def test_a_new_learning_rate_given_in_a_handler_holds_from_the_next_mini_batch() -> None:
    def react(context: UpdateContext) -> None:
        if context.event is BATCH:
            context.task.resume_with_parameters({"learningRate": 0.0})

    listener = Listener(react)
    task = made(listener)
    task.resume()
    assert listener.heard[1].parameters["learningRate"] == 0.01
    assert {c.parameters["learningRate"] for c in listener.heard[2:]} == {0.0}
    once = made(parameters={"epochs": 1, "miniBatchSize": 4}, handlers=None)
    stopped = Listener(lambda c: c.task.suspend() if c.event is BATCH else None)
    once = made(stopped)
    once.resume()
    assert task.model.encode() == once.model.encode(), "only the first mini-batch moved anything"


@pytest.mark.parametrize(
    ("asked", "words"), [({"momentum": 0.5}, "cannot change"), ({"learningRate": 7}, "allowed")]
)
def test_a_wrong_parameter_at_resume_is_refused_and_nothing_has_changed(
    asked: dict[str, object], words: str
) -> None:
    task = made()
    before = task.parameters
    with pytest.raises(ParameterError, match=words):
        task.resume_with_parameters(asked)
    assert task.state is TaskState.suspended
    assert task.parameters == before


# ── states ──────────────────────────────────────────────────────────────────────────────────────
def in_state(state: TaskState) -> UpdateTask:
    """Return a task that stands in this state, its run not begun or over."""
    task = made(Listener())
    if state is TaskState.completed:
        task.resume()
    elif state is TaskState.failed:
        task.cancel()
    return task


STANDING = [TaskState.suspended, TaskState.completed, TaskState.failed]
PASSING = [TaskState.running, TaskState.cancelling]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", STANDING)
def test_a_verb_that_the_state_does_not_allow_raises_and_leaves_the_state(
    state: TaskState, verb: Verb
) -> None:
    task = in_state(state)
    if (state, verb) in TRANSITIONS:
        VERBS[verb](task)
        return
    with pytest.raises(StateError, match=f"{state} cannot {verb}"):
        VERBS[verb](task)
    assert task.state is state


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", PASSING)
def test_the_same_holds_in_a_handler_while_the_task_runs(state: TaskState, verb: Verb) -> None:
    outcomes: list[bool] = []

    def react(context: UpdateContext) -> None:
        task = context.task
        if state is TaskState.cancelling:
            task.cancel()
        allowed = (state, verb) in TRANSITIONS or (state, verb) == (TaskState.running, Verb.resume)
        try:
            VERBS[verb](task)
        except StateError:
            outcomes.append(not allowed and task.state is state)
        else:
            outcomes.append(allowed)
        if task.state is TaskState.suspended:
            task.resume()

    task = made(Listener(react, events=BEGIN))
    task.resume()
    assert outcomes == [True]
    assert task.state in TERMINAL


# ── every history ───────────────────────────────────────────────────────────────────────────────
ACTS = st.sampled_from([*VERBS, None])


@settings(max_examples=60, deadline=None)
@given(inside=st.lists(ACTS, max_size=12), outside=st.lists(ACTS, max_size=6))
def test_any_sequence_of_verbs_ends_in_exactly_one_completion(
    inside: list[Verb | None], outside: list[Verb | None]
) -> None:
    waiting = list(inside)

    def react(context: UpdateContext) -> None:
        for verb in (waiting.pop(), waiting.pop()) if len(waiting) > 1 else ():
            attempt(context.task, verb)

    listener = Listener(react)
    task = made(listener, parameters={"epochs": 1, "miniBatchSize": 8})
    for verb in outside:
        attempt(task, verb)
    while task.state not in TERMINAL:
        assert task.state is TaskState.suspended, "nothing else is left standing"
        assert not listener.ended
        task.resume()
    assert len(listener.ended) == 1
    assert (task.error is None) == (task.state is TaskState.completed)
    told = [BEGIN, BATCH, BATCH, EPOCH]
    assert listener.events == told[: len(listener.events)]
    assert task.error is not None or listener.events == told
