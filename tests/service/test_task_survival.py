"""What a task survives: lost workers, releases, restarts, executors that fail; and who runs beside whom."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benches import NEVER, a_bench
from fakes import ENDINGS, GOES_ON, MODEL, STANDS, batch, begin
from finetuned.errors import HostError
from finetuned.policy.trigger import Rule
from finetuned.service import ending
from finetuned.service.messages import (
    Adjust,
    Adjusted,
    Adjustment,
    Pace,
    Pause,
    Release,
    Restored,
    Resume,
)
from finetuned.service.tasks import EXECUTOR_S
from finetuned.states import TaskState
from service.samples import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benches import Bench

FULL = Pace(duty=1.0)
TWO = replace(NEVER, places=2)


# ── places ──────────────────────────────────────────────────────────────────────────────────────
async def test_as_many_tasks_run_at_once_as_there_are_places_for(tmp_path: Path) -> None:
    async with a_bench(tmp_path, TWO, users=("", "ann", "bob")) as bench:
        tasks = {await bench.train(user) for user in ("", "ann", "bob")}
        first, second = [await bench.executor.run(number) for number in (1, 2)]
        assert bench.tasks.queued == 1
        second.complete()
        third = await bench.executor.run(3)
        assert {run.spec.task for run in (first, second, third)} == tasks
        assert set(bench.tasks.running) == {first.spec.task, third.spec.task}


async def test_an_executor_with_fewer_places_is_given_no_more(tmp_path: Path) -> None:
    async with a_bench(tmp_path, replace(NEVER, places=8), places=1) as bench:
        first, run = await bench.started()
        second = await bench.train("ann")
        await bench.ear.state(f"task/{second}", reasons=["queued"])
        assert bench.tasks.running == (first,)
        run.complete()
        assert (await bench.executor.run(2)).spec.task == second


async def test_whoever_was_served_longest_ago_is_next_also_after_a_restart(tmp_path: Path) -> None:
    async with a_bench(tmp_path, users=("", "ann")) as bench:
        for number in (1, 2):
            _, run = await bench.started()
            run.complete()
            await bench.ear.event("completed", number)
        await bench.stop()
        again, ann = await bench.train(), await bench.train("ann")
        bench.begin()
        assert (await bench.executor.run(3)).spec.task == ann, f"{again} is older, but its user was served"


# ── released ────────────────────────────────────────────────────────────────────────────────────
async def held(bench: Bench, task: str) -> None:
    """Let a person hold a task, and its worker stand."""
    run = bench.executor.runs[-1]
    await bench.tasks.pause(task)
    run.say(STANDS)
    await bench.ear.state(f"task/{task}", state="suspended", reasons=["user"])


async def test_a_task_that_is_held_for_long_lets_go_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.say(begin(), batch(4))
        await bench.ear.event("miniBatchEnd")
        await held(bench, task)
        bench.clock.now += NEVER.release_after_s - 1
        bench.tasks.wake()
        await run.told(FULL, Pause())
        bench.clock.now += 1
        bench.tasks.wake()
        await run.told(FULL, Pause(), Release())
        checkpoint = run.release(4)
        released = await bench.ear.event("paceChanged")
        assert (released["pace"], released["reasons"]) == ("released", ["user"])
        shown = await bench.ear.state(f"task/{task}", reasons=["queued", "user"])
        assert (shown["progress"], shown["pace"], bench.tasks.running) == (0.6667, "released", ())
        await bench.tasks.resume(task, {})
        run = await bench.executor.run(2)
        assert (run.attempt, run.resume_from) == (2, (checkpoint,))
        run.say(Restored(step=4))
        run.complete()
        await bench.ear.event("completed")
        kinds = [each["type"] for each in await bench.outcomes(task)]
        assert kinds == ["paused", "paceChanged", "resumed", "modelSaved", "promoted", "completed"]


async def released_by_heat(bench: Bench) -> str:
    """Start a task that it is too hot for, for so long that its worker lets go; return its id."""
    task, run = await bench.started()
    await bench.feel(90)
    await run.told(FULL, Pause())
    run.say(STANDS)
    await bench.ear.event("paused")
    bench.clock.now += NEVER.release_after_s
    bench.tasks.wake()
    await run.told(FULL, Pause(), Release())
    run.release(4)
    told = await bench.ear.event("paceChanged")
    assert (told["pace"], told["zone"], told["reading"], told["trip"]) == ("released", "thermal", 90.0, 80.0)
    return task


async def test_a_task_that_the_budget_has_released_is_told_to_go_on_when_it_does(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task = await released_by_heat(bench)
        await bench.ear.state(f"task/{task}", reasons=["queued", "thermal"])
        await bench.feel(40, looks=12)
        await bench.executor.run(2)
        await bench.ear.event("resumed")
        assert [each["type"] for each in await bench.outcomes(task)] == ["paused", "paceChanged", "resumed"]


async def test_a_task_that_a_person_holds_gives_its_place_to_one_that_waits(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await held(bench, task)
        other = await bench.train("ann")
        await run.told(FULL, Pause(), Release())
        run.release(1)
        assert (await bench.executor.run(2)).spec.task == other


async def test_a_released_task_forgets_the_checkpoints_that_could_not_be_used(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        older, newer = run.checkpoint(4), run.checkpoint(8)
        run.die()
        run = await bench.executor.run(2)
        assert run.resume_from == (newer, older)
        run.say(Restored(step=4, refused=("its SHA-256 is another",)))
        third = run.checkpoint(6)
        run.die()
        run = await bench.executor.run(3)
        assert run.resume_from == (third, older)
        folder = bench.desk.store.task(task)
        assert not (folder / newer.path).exists()


# ── lost ────────────────────────────────────────────────────────────────────────────────────────
async def test_a_lost_worker_is_replaced_after_a_while_and_that_is_said(tmp_path: Path) -> None:
    async with a_bench(tmp_path, replace(NEVER, retry_s=10.0)) as bench:
        task, run = await bench.started()
        for number, wait_s in ((2, 10.0), (3, 50.0)):
            run.die()
            await bench.ear.state(f"task/{task}", state="suspended", reasons=["queued", "retry"])
            bench.clock.now += wait_s - 1
            other = await bench.train("ann")
            await bench.tasks.cancel(other)
            bench.tasks.wake()
            assert bench.tasks.running == ()
            bench.clock.now += 1
            bench.tasks.wake()
            run = bench.executor.runs[-1]
            await until(lambda: bench.tasks.running == (task,))
            run = bench.executor.runs[-1]
            assert run.attempt == number
        run.die()
        assert "three workers were lost" in (await bench.ear.event("failed"))["error"]


async def test_what_was_lost_before_a_restart_counts_after_it(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        for number in (2, 3):
            run.die()
            run = await bench.executor.run(number)
        await bench.stop()
        await bench.tasks.recover()
        bench.begin()
        run = await bench.executor.run(4)
        run.die()
        await bench.ear.event("failed")
        assert (await bench.row(task)).losses == ending.ATTEMPTS


async def test_a_submit_that_is_refused_is_a_lost_worker(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.executor.refuses = HostError("no place on the cluster")
        await bench.train()
        assert "no place on the cluster" in (await bench.ear.event("failed"))["error"]
        assert bench.tasks.running == ()


async def test_an_executor_that_fails_has_lost_its_attempts_and_is_listened_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuned.service.tasks.EXECUTOR_S", 0.0)
    assert EXECUTOR_S > 0
    async with a_bench(tmp_path) as bench:
        _, run = await bench.started()
        bench.executor.fails.put_nowait(RuntimeError("the cluster is on fire"))
        await run.told(FULL)
        run = await bench.executor.run(2)
        run.complete()
        await bench.ear.event("completed")


async def test_what_an_older_attempt_says_or_leaves_is_not_heard(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, old = await bench.started()
        old.die()
        run = await bench.executor.run(2)
        old.complete(b"late")
        old.checkpoint(3)
        run.say(begin(), batch(1))
        await bench.ear.event("miniBatchEnd")
        run.complete(b"right")
        await bench.ear.event("completed")
        assert (bench.desk.store.current(MODEL, "") / "model.mlmodel").read_bytes() == b"right"
        assert len([each for each in await bench.outcomes(task) if each["type"] in ENDINGS]) == 1


async def test_a_model_that_this_machine_fails_again_and_again_is_named_and_left_alone(
    tmp_path: Path,
) -> None:
    """The samples are tried again after a while by themselves, three times; then only if somebody asks."""
    rule = Rule(min_new_samples=5, quiet_s=0.0, max_wait_s=100.0)
    async with a_bench(tmp_path, replace(NEVER, rule=rule, places=2), users=("",)) as bench:
        bench.executor.refuses = HostError("out of memory")
        for failure in (1, 2, 3):
            bench.tasks.wake()
            await bench.ear.event("failed", failure)
            await until(lambda: not bench.tasks.running)
            bench.clock.now += 100.0
        bench.tasks.wake()
        await until(lambda: bool(bench.tasks.warnings))
        (warning,) = bench.tasks.warnings
        assert "gestures: its last 3 tasks failed" in warning
        assert "out of memory" in warning
        bench.executor.refuses = None
        await bench.train()
        (await bench.executor.run()).complete()
        await bench.ear.event("completed")
        await until(lambda: not bench.tasks.warnings)


# ── decoding ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("why", ["a person", "the heat"])
async def test_decoding_is_broken_off_when_the_task_shall_wait(tmp_path: Path, why: str) -> None:
    async with a_bench(tmp_path) as bench:
        bench.inputs.opens.clear()
        task = await bench.train()
        await bench.inputs.asked.wait()
        if why == "a person":
            await bench.tasks.pause(task)
            await bench.ear.state(f"task/{task}", reasons=["queued", "user"])
        else:
            await bench.feel(90)
            await bench.ear.state(f"task/{task}", reasons=["queued", "thermal"])
        assert bench.tasks.running == ()
        bench.inputs.opens.set()
        await bench.feel(40, looks=12)
        await bench.tasks.resume(task, {})
        assert (await bench.executor.run()).attempt == 1


# ── learning rates ──────────────────────────────────────────────────────────────────────────────
async def test_a_learning_rate_survives_the_daemon_and_holds_from_the_same_mini_batch(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        for rate in (0.5, 0.25):
            await bench.tasks.resume(task, {"learningRate": rate})
        await run.told(FULL, *(Adjust(parameters={"learningRate": rate}) for rate in (0.5, 0.25)))
        run.say(Adjusted(learning_rate=0.5, step=7))
        run.say(begin(), batch(8))
        await bench.ear.event("miniBatchEnd")
        await bench.stop()
        await bench.tasks.recover()
        bench.begin()
        spec = (await bench.executor.run(2)).spec
        assert spec.adjustments == (Adjustment(learning_rate=0.5, step=7), Adjustment(learning_rate=0.25))


async def test_a_pause_that_is_answered_survives_the_daemon_before_the_worker_stands(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await bench.tasks.pause(task)
        await run.told(FULL, Pause())
        assert (await bench.row(task)).state is TaskState.running
        await bench.cut()
        await bench.tasks.recover()
        bench.begin()
        await bench.train("ann")
        await bench.executor.run(2)
        row = await bench.row(task)
        assert (row.state, row.reasons) == (TaskState.suspended, ("queued", "user"))


# ── leaving ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_daemon_that_leaves_lets_its_workers_go_and_starts_nobody(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        waiting = await bench.train("ann")
        run.say(begin(), batch(4))
        await bench.ear.event("miniBatchEnd")
        draining = asyncio.create_task(bench.tasks.drain())
        await bench.executor.drained.wait()
        checkpoint = run.release(4)
        await draining
        assert (await bench.row(task)).reasons == ("shutdown",)
        assert (await bench.ear.event("paused"))["reasons"] == ["shutdown"]
        assert [run.spec.task for run in bench.executor.runs] == [task]
        await bench.stop()
        bench.renew()
        await bench.tasks.recover()
        bench.begin()
        runs = {run.spec.task: run for run in [await bench.executor.run(2)]}
        assert set(runs) <= {task, waiting}
        if task in runs:
            assert runs[task].resume_from == (checkpoint,)


async def test_a_daemon_that_leaves_waits_for_nobodys_lock_for_long(tmp_path: Path) -> None:
    """Another program holds the ledger's write lock; the next start finds the task as it was."""
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        ledger = bench.desk.store.ledger
        await bench.desk.ledger.run(lambda db: db.execute("PRAGMA busy_timeout = 10"))
        with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            draining = asyncio.create_task(bench.tasks.drain())
            await bench.executor.drained.wait()
            await bench.desk.ledger.run(lambda db: db.execute("PRAGMA busy_timeout = 10"))
            run.die()
            await draining
            await bench.stop()
        assert (await bench.row(task)).state is TaskState.running
        bench.renew()
        await bench.tasks.recover()
        assert (await bench.row(task)).reasons == ("queued",)


@pytest.mark.parametrize("refused", ["transition", "record_checkpoint"])
async def test_what_the_ledger_cannot_take_for_a_while_is_no_fault_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """What must be written is written again; a checkpoint is missed by nobody."""
    monkeypatch.setattr("finetuned.service.running.DISK_S", 0.0)
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await bench.tasks.pause(task)
        await run.told(FULL, Pause())
        ledger, refusals = bench.desk.ledger.run, iter([HostError("the disk is full")])

        async def full(function: Callable[..., object], *args: object, **kwargs: object) -> object:
            if function.__name__ == refused and (refusal := next(refusals, None)):
                raise refusal
            return await ledger(function, *args, **kwargs)

        monkeypatch.setattr(bench.desk.ledger, "run", full)
        run.checkpoint(4)
        run.say(STANDS)
        await bench.ear.state(f"task/{task}", state="suspended", reasons=["user"])
        assert next(refusals, None) is None
        await bench.tasks.resume(task, {})
        run.say(GOES_ON)
        run.complete()
        await bench.ear.event("completed")
        assert (await bench.row(task)).losses == 0


@pytest.mark.parametrize("when", ["it is released", "it is released, unasked"])
async def test_a_cancel_that_meets_a_release_ends_the_task(tmp_path: Path, when: str) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        if when == "it is released":
            await held(bench, task)
            bench.clock.now += NEVER.release_after_s
            bench.tasks.wake()
            await run.told(FULL, Pause(), Release())
        await bench.tasks.cancel(task)
        assert (await bench.tasks.cancel(task)).state is TaskState.cancelling, "once more is as good"
        run.release(4)
        await bench.ear.event("cancelled")
        assert (await bench.row(task)).error == "cancelled"


async def test_a_task_that_is_let_go_though_nobody_asked_for_it_waits_a_while(tmp_path: Path) -> None:
    async with a_bench(tmp_path, replace(NEVER, retry_s=10.0)) as bench:
        task, run = await bench.started()
        run.release(4)
        await bench.ear.state(f"task/{task}", state="suspended", reasons=["queued", "retry"])
        bench.clock.now += 10.0
        bench.tasks.wake()
        assert (await bench.executor.run(2)).attempt == 2


async def test_a_worker_that_cannot_be_told_any_more_is_lost_and_its_task_goes_on(tmp_path: Path) -> None:
    """An executor is anybody's code: whatever it raises ends no daemon."""
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await run.told(FULL)
        run.unreachable = ConnectionResetError("the cluster is on fire")
        await bench.tasks.pause(task)
        await bench.ear.state(f"task/{task}", state="suspended", reasons=["queued", "user"])
        assert (await bench.row(task)).losses == 1
        bench.executor.refuses = RuntimeError("still burning")
        await bench.tasks.resume(task, {})
        assert "still burning" in (await bench.ear.event("failed"))["error"]


async def test_paused_and_resumed_take_turns_whoever_holds_a_task(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task = await released_by_heat(bench)
        await bench.ear.event("paceChanged")
        await bench.tasks.pause(task)
        await bench.tasks.resume(task, {})  # it is as hot as before: nothing goes on
        assert [each["type"] for each in await bench.outcomes(task)] == ["paused", "paceChanged"]
        await bench.feel(40, looks=12)
        await bench.executor.run(2)
        assert (await bench.ear.event("resumed"))["pace"] == "full"


async def test_a_held_task_that_goes_on_before_it_was_released_keeps_its_worker(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await held(bench, task)
        await bench.tasks.resume(task, {})
        run.say(GOES_ON)
        await bench.ear.state(f"task/{task}", state="running")
        bench.clock.now += NEVER.release_after_s
        bench.tasks.wake()
        run.complete()
        await bench.ear.event("completed")
        assert run.commands == [FULL, Pause(), FULL, Resume()]
