from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks as n
from finetuned.errors import DivergenceError, StateError
from finetuned.states import TERMINAL, TRANSITIONS, TaskState, Verb
from finetuned.update.task import CancelledError, UpdateTask
from tasks import BATCH, BEGIN, EPOCH, TOLD, VERBS, Listener, attempt, made, undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.update.events import ProgressEvent, UpdateContext


class Turnstile(ThreadPoolExecutor):
    """Where the loop's threads come from: whatever is to run in one waits there until it is let through."""

    def __init__(self) -> None:
        super().__init__(max_workers=4)
        self.waiting = asyncio.Semaphore(0)
        self._loop = asyncio.get_running_loop()
        self._let = threading.Semaphore(0)
        self.inside = 0
        self._loop.set_default_executor(self)

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:  # noqa: ANN401 - an executor's own
        """Run `work` once it is let through."""

        def turned() -> Any:  # noqa: ANN401 - an executor's own
            self.inside += 1
            self._loop.call_soon_threadsafe(self.waiting.release)
            assert self._let.acquire(timeout=60)
            try:
                return work(*args, **named)
            finally:
                self.inside -= 1

        return super().submit(turned)

    def let(self, number: int = 1) -> None:
        """Let so many through."""
        self._let.release(number)


def diverging(listener: Listener) -> UpdateTask:
    message = n.trainable([n.dense(1, 2, updatable=True)], (2,), learningRate=1e30)
    data = {n.INPUT: n.numbers(8, 2), n.TARGET: n.numbers(8, 1, seed=1)}
    return UpdateTask(n.decoded(message), data, parameters={"epochs": 20}, handlers=listener.handlers)


async def told(task: UpdateTask) -> list[ProgressEvent | None]:
    return [context.event async for context in task]


# ── the contexts ────────────────────────────────────────────────────────────────────────────────
async def test_a_task_is_run_by_iterating_over_it() -> None:
    task = made()
    assert await told(task) == TOLD
    assert task.state is TaskState.completed
    assert task.model.encode() == undisturbed()


async def test_contexts_are_those_that_handlers_get_and_of_the_events_asked_for() -> None:
    listener, plain = Listener(events=BEGIN | EPOCH), Listener(events=BEGIN | EPOCH)
    contexts = [context async for context in made(listener)]
    made(plain).resume()
    assert contexts == listener.heard
    assert [(c.event, c.metrics, c.parameters) for c in contexts] == [
        (c.event, c.metrics, c.parameters) for c in plain.heard
    ]
    assert [c.metrics for c in listener.ended] == [c.metrics for c in plain.ended]


async def test_nothing_runs_while_somebody_holds_a_context() -> None:
    turnstile = Turnstile()
    turnstile.let(100)
    async for context in made():
        before = context.model.encode()
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(10)))
        assert turnstile.inside == 0
        assert context.model.encode() == before


async def test_the_loop_is_free_while_a_mini_batch_is_in_flight() -> None:
    turnstile = Turnstile()
    running = asyncio.create_task(told(made()))
    await turnstile.waiting.acquire()
    assert turnstile.inside == 1
    turnstile.let(100)
    assert await running == TOLD


# ── leaving, holding, ending ────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("leave", ["break", "raise"])
@pytest.mark.parametrize("event", range(len(TOLD)))
async def test_leaving_the_loop_suspends_and_another_goes_on_with_the_next_event(
    event: int, leave: str
) -> None:
    task = made()
    heard: list[ProgressEvent | None] = []
    with suppress(ZeroDivisionError):
        async for context in task:
            heard.append(context.event)
            if len(heard) <= event:
                continue
            if leave == "break":
                break
            raise ZeroDivisionError
    assert task.state is TaskState.suspended
    assert heard + await told(task) == TOLD
    assert task.model.encode() == undisturbed()


async def test_an_iterator_that_is_closed_suspends_though_somebody_keeps_it() -> None:
    task = made()
    async with aclosing(aiter(task)) as steps:
        await anext(steps)
    assert task.state is TaskState.suspended
    assert await told(task) == TOLD[1:]
    with pytest.raises(StopAsyncIteration):
        await anext(steps)


async def test_what_an_iteration_began_resume_may_end() -> None:
    task = made()
    async for _ in task:
        break
    task.resume()
    assert task.state is TaskState.completed
    assert task.model.encode() == undisturbed()


async def test_a_consumer_that_suspends_ends_the_iteration_and_one_that_resumes_at_once_does_not() -> None:
    task = made()
    heard = []
    async for context in task:
        heard.append(context.event)
        context.task.suspend()
        if len(heard) < 3:
            context.task.resume()
    assert heard == TOLD[:3]
    assert task.state is TaskState.suspended


async def test_a_consumer_that_cancels_ends_the_task_at_once() -> None:
    listener = Listener()
    steps = aiter(task := made(listener))
    await anext(steps)
    task.cancel()
    assert len(listener.ended) == 1
    with pytest.raises(CancelledError):
        await anext(steps)
    assert task.state is TaskState.failed
    assert listener.events == [BEGIN]
    assert len(listener.ended) == 1


async def test_a_consumer_changes_the_learning_rate_from_the_next_mini_batch_on() -> None:
    seen = []
    task = made()
    async for context in task:
        if context.event is BATCH:
            seen.append(context.parameters["learningRate"])
            task.resume_with_parameters({"learningRate": 0.5})
            assert task.parameters["learningRate"] == 0.5
    assert seen == [0.01, *[0.5] * 5]


async def test_a_task_that_fails_raises_its_error_though_a_completion_handler_was_told() -> None:
    listener = Listener()
    task = diverging(listener)
    with pytest.raises(DivergenceError) as raised:
        await told(task)
    assert raised.value is task.error
    assert len(listener.ended) == 1


async def test_a_handler_that_raises_fails_the_task() -> None:
    def react(_: UpdateContext) -> None:
        raise ZeroDivisionError

    task = made(Listener(react))
    with pytest.raises(ZeroDivisionError):
        await told(task)
    assert task.state is TaskState.failed


@pytest.mark.parametrize("ended", [UpdateTask.resume, UpdateTask.cancel])
async def test_a_task_that_has_ended_is_not_iterated_over(ended: Callable[[UpdateTask], None]) -> None:
    task = made()
    ended(task)
    with pytest.raises(StateError, match="has ended"):
        await told(task)


async def test_only_one_iterates_over_a_task_even_where_it_was_suspended_meanwhile() -> None:
    task = made()
    async for _ in task:
        task.suspend()
        with pytest.raises(StateError, match="already"):
            await told(task)
        break
    assert await told(task) == TOLD[1:]


# ── while a mini-batch is in flight ─────────────────────────────────────────────────────────────
async def in_flight(task: UpdateTask, turnstile: Turnstile, event: int) -> asyncio.Task[Any]:
    """Return who iterates over the task, as the step to this event (counted from 0) is in flight."""
    running = asyncio.create_task(told(task))
    turnstile.let(event)
    for _ in range(event + 1):
        await turnstile.waiting.acquire()
    return running


async def test_a_task_suspended_in_flight_tells_the_event_and_stands() -> None:
    turnstile, task = Turnstile(), made()
    running = await in_flight(task, turnstile, 2)
    task.suspend()
    turnstile.let(100)
    assert await running == TOLD[:3]
    assert task.state is TaskState.suspended
    assert await told(task) == TOLD[3:]


async def test_a_task_suspended_when_all_was_told_ends_once_it_goes_on() -> None:
    turnstile, task = Turnstile(), made()
    running = await in_flight(task, turnstile, len(TOLD))
    task.suspend()
    turnstile.let(100)
    assert await running == TOLD
    stood = task.state
    task.resume()
    assert (stood, task.state) == (TaskState.suspended, TaskState.completed)


async def test_a_task_cancelled_in_flight_ends_after_it() -> None:
    turnstile, listener = Turnstile(), Listener()
    task = made(listener)
    running = await in_flight(task, turnstile, 2)
    task.cancel()
    assert task.state is TaskState.cancelling
    turnstile.let(100)
    with pytest.raises(CancelledError):
        await running
    assert listener.events == TOLD[:2]
    assert len(listener.ended) == 1


async def test_a_learning_rate_asked_for_in_flight_holds_from_the_next_mini_batch() -> None:
    turnstile, listener = Turnstile(), Listener(events=BATCH)
    running = await in_flight(task := made(listener), turnstile, 2)
    task.resume_with_parameters({"learningRate": 0.5})
    turnstile.let(100)
    await running
    assert [c.parameters["learningRate"] for c in listener.heard] == [0.01, 0.01, *[0.5] * 4]


@pytest.mark.parametrize("cancels", [1, 3])
async def test_who_iterates_may_be_cancelled_and_the_task_stands_with_no_thread_at_work(cancels: int) -> None:
    turnstile, task = Turnstile(), made()
    running = await in_flight(task, turnstile, 2)
    for _ in range(cancels):
        running.cancel()
        await asyncio.sleep(0)
    assert (running.done(), turnstile.inside) == (False, 1), "it waits for its mini-batch"
    turnstile.let(100)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert turnstile.inside == 0
    assert task.state is TaskState.suspended
    resumed = made(resume_from=task.checkpoint())
    assert await told(task) == TOLD[2:], "the event that came meanwhile is not lost"
    assert task.model.encode() == undisturbed()
    assert await told(resumed) == [BEGIN, *TOLD[3:]], (
        "from the checkpoint it is not heard, but nothing is done twice"
    )
    assert resumed.model.encode() == undisturbed()


async def test_a_failure_that_nobody_waited_for_is_told_to_who_goes_on() -> None:
    heard = Listener()
    diverging(heard).resume()
    turnstile, listener = Turnstile(), Listener()
    task = diverging(listener)
    running = await in_flight(task, turnstile, len(heard.events))
    running.cancel()
    turnstile.let(100)
    with pytest.raises(asyncio.CancelledError):
        await running
    stood = task.state
    with pytest.raises(StateError, match=r"no checkpoint after a failure: .*learningRate"):
        task.checkpoint()
    with pytest.raises(DivergenceError):
        await told(task)
    assert (stood, task.state) == (TaskState.suspended, TaskState.failed)
    assert len(listener.ended) == 1


async def test_a_cancelled_task_whose_iteration_is_cancelled_too_ends() -> None:
    turnstile, listener = Turnstile(), Listener()
    running = await in_flight(task := made(listener), turnstile, 1)
    task.cancel()
    running.cancel()
    turnstile.let(100)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert task.state is TaskState.failed
    assert len(listener.ended) == 1


async def test_there_is_no_checkpoint_in_flight_and_one_with_a_context_in_hand() -> None:
    turnstile, task = Turnstile(), made()
    steps = aiter(task)
    turnstile.let(2)
    await anext(steps)
    await anext(steps)
    kept = task.checkpoint()
    busy = asyncio.ensure_future(anext(steps))
    for _ in range(3):
        await turnstile.waiting.acquire()
    with pytest.raises(StateError, match="in flight"):
        task.checkpoint()
    with pytest.raises(StateError, match="in flight"):
        await anext(steps)
    turnstile.let()
    await busy
    resumed = made(resume_from=kept)
    resumed.resume()
    assert resumed.model.encode() == undisturbed()


# ── every history ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", [TaskState.running, TaskState.suspended, TaskState.failed])
async def test_a_verb_with_a_context_in_hand_obeys_the_table(state: TaskState, verb: Verb) -> None:
    reach = {
        TaskState.running: UpdateTask.resume,
        TaskState.suspended: UpdateTask.suspend,
        TaskState.failed: UpdateTask.cancel,
    }
    task = made()
    steps = aiter(task)
    await anext(steps)
    reach[state](task)
    assert task.state is state
    if (state, verb) in TRANSITIONS or (state, verb) == (TaskState.running, Verb.resume):
        VERBS[verb](task)
    else:
        with pytest.raises(StateError, match=f"{state} cannot {verb}"):
            VERBS[verb](task)
        assert task.state is state


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from([*VERBS, None]), max_size=3), max_size=12), st.booleans())
def test_any_sequence_of_verbs_in_any_iterations_ends_in_exactly_one_completion(
    acts: list[list[Verb | None]],
    leaves: bool,  # noqa: FBT001 - drawn
) -> None:
    listener = Listener()
    task = made(listener)
    waiting = list(acts)

    async def iterate() -> None:
        async for _ in task:
            for verb in waiting.pop() if waiting else ():
                attempt(task, verb)
            if leaves and waiting:
                break

    for _ in range(len(acts) + 1):
        if task.state not in TERMINAL:
            with suppress(CancelledError):
                asyncio.run(iterate())
            assert task.state in {TaskState.suspended, *TERMINAL}, "nothing else is left standing"
    if task.state not in TERMINAL:
        task.resume()
    assert len(listener.ended) == 1
    assert (task.error is None) == (task.state is TaskState.completed)
    assert listener.events == TOLD[: len(listener.events)]
    assert task.error is not None or listener.events == TOLD
