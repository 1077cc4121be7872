"""The queue: one end for each task whatever happens, and requests that are never lost."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace as replace_struct

from benches import NEVER, Bench, a_bench
from fakes import ENDINGS, GOES_ON, MODEL, STANDS, batch, begin
from finetuned import files
from finetuned.errors import HostError
from finetuned.policy.budget import Mode
from finetuned.service.ending import ATTEMPTS
from finetuned.service.messages import Cancel, Cancelled, Failed, Moved, Pace, Pause, Resume, result_path
from finetuned.states import TaskState
from service.samples import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

FULL, HALF = Pace(duty=1.0), Pace(duty=0.5, accelerated=False)
SIX_HOURS_S = 6 * 3600.0


# ── one end ─────────────────────────────────────────────────────────────────────────────────────
async def completes(bench: Bench) -> str:
    task, run = await bench.started()
    run.say(begin(), batch(1))
    run.complete()
    return task


async def fails(bench: Bench) -> str:
    task, run = await bench.started()
    run.say(begin(), Failed(fault="sample", error="there is no sample to train on"))
    return task


async def is_cancelled(bench: Bench) -> str:
    task, run = await bench.started()
    await bench.tasks.cancel(task)
    await run.told(FULL, Cancel())
    run.say(Cancelled())
    return task


async def is_cancelled_while_held(bench: Bench) -> str:
    task, run = await bench.started()
    await bench.tasks.pause(task)
    run.say(STANDS)
    await bench.ear.event("paused")
    await bench.tasks.cancel(task)
    await run.told(FULL, Pause(), Cancel())
    run.say(Cancelled())
    return task


async def is_cancelled_in_the_queue(bench: Bench) -> str:
    await bench.feel(90)
    task = await bench.train()
    await bench.ear.state(f"task/{task}", reasons=["queued", "thermal"])
    await bench.tasks.cancel(task)
    await bench.feel(40, looks=12)
    return task


async def is_cancelled_while_its_samples_are_decoded(bench: Bench) -> str:
    bench.inputs.opens.clear()
    task = await bench.train()
    await bench.inputs.asked.wait()
    await bench.tasks.cancel(task)
    bench.inputs.opens.set()
    return task


async def is_cancelled_while_its_worker_comes_up(bench: Bench) -> str:
    bench.executor.opens.clear()
    task = await bench.train()
    await bench.executor.asked()
    cancelling = asyncio.create_task(bench.tasks.cancel(task))
    bench.executor.opens.set()
    run = await bench.executor.run()
    assert (await cancelling).state is TaskState.cancelling
    await run.told(FULL, Cancel())
    run.say(Cancelled())
    return task


async def completes_though_it_is_cancelled(bench: Bench) -> str:
    task, run = await bench.started()
    await bench.tasks.cancel(task)
    run.complete()
    return task


async def is_lost_while_it_is_cancelled(bench: Bench) -> str:
    task, run = await bench.started()
    await bench.tasks.cancel(task)
    run.die()
    return task


async def loses_its_worker_twice(bench: Bench) -> str:
    task, run = await bench.started()
    run.die()
    (await bench.executor.run(2)).die()
    run = await bench.executor.run(3)
    assert run.attempt == 3
    run.complete()
    return task


async def loses_every_worker(bench: Bench) -> str:
    task = await bench.train()
    for attempt in range(1, ATTEMPTS + 1):
        (await bench.executor.run(attempt)).die()
    return task


async def cannot_be_saved(bench: Bench) -> str:
    versions = bench.desk.store.versions(MODEL, "")
    versions.parent.mkdir(parents=True)
    versions.write_text("no folder")
    task = await bench.train()
    for attempt in range(1, ATTEMPTS + 1):
        (await bench.executor.run(attempt)).complete()
    return task


async def leaves_another_result(bench: Bench) -> str:
    task = await bench.train()
    for attempt in range(1, ATTEMPTS + 1):
        run = await bench.executor.run(attempt)
        run.complete()
        result_path(run.spec, attempt).write_bytes(b"something else")
    return task


async def has_samples_that_nobody_can_decode(bench: Bench) -> str:
    bench.inputs.trouble = HostError("the disk is full")
    task = await bench.train()
    await bench.ear.event("failed")
    bench.inputs.trouble = None
    return task


async def finds_no_place_for_its_folder(bench: Bench) -> str:
    bench.inputs.opens.clear()
    task = await bench.train()
    bench.desk.store.task(task).write_text("no folder")
    bench.inputs.opens.set()
    return task


async def is_refused_by_the_machine_once(bench: Bench) -> str:
    task, run = await bench.started()
    run.say(begin(), Failed(fault="host", error="the disk is full"))
    (await bench.executor.run(2)).complete()
    return task


@pytest.mark.parametrize(
    ("story", "end", "said"),
    [
        (completes, "completed", ""),
        (fails, "failed", "no sample to train on"),
        (is_cancelled, "cancelled", "cancelled"),
        (is_cancelled_while_held, "cancelled", "cancelled"),
        (is_cancelled_in_the_queue, "cancelled", "cancelled"),
        (is_cancelled_while_its_samples_are_decoded, "cancelled", "cancelled"),
        (is_cancelled_while_its_worker_comes_up, "cancelled", "cancelled"),
        (completes_though_it_is_cancelled, "completed", ""),
        (is_lost_while_it_is_cancelled, "cancelled", "cancelled"),
        (loses_its_worker_twice, "completed", ""),
        (loses_every_worker, "failed", "signal 9"),
        (cannot_be_saved, "failed", "Not a directory"),
        (leaves_another_result, "failed", "not what its worker wrote"),
        (has_samples_that_nobody_can_decode, "failed", "the disk is full"),
        (finds_no_place_for_its_folder, "failed", "making the folder"),
        (is_refused_by_the_machine_once, "completed", ""),
    ],
    ids=lambda value: getattr(value, "__name__", "so"),
)
async def test_a_task_has_one_end_and_leaves_nothing_behind_when_it(
    tmp_path: Path, story: Callable[[Bench], Awaitable[str]], end: str, said: str
) -> None:
    async with a_bench(tmp_path) as bench:
        task = await story(bench)
        await bench.ear.event(end)
        await bench.is_clear(task)
        following, run = await bench.started("ann")
        run.say(begin())
        await bench.ear.event("trainingBegin", task=following)
        assert bench.tasks.running == (following,)
        assert [each.name for each in bench.desk.store.tasks.iterdir()] == [following]
        ends = [outcome for outcome in await bench.outcomes(task) if outcome["type"] in ENDINGS]
        assert [outcome["type"] for outcome in ends] == [end]
        row = await bench.row(task)
        assert row.state is (TaskState.completed if end == "completed" else TaskState.failed)
        assert said in row.error
        assert f"task/{task}" not in bench.desk.outbox.states


# ── the budget ──────────────────────────────────────────────────────────────────────────────────
async def test_a_task_that_the_budget_held_back_for_long_enough_starts_at_half_duty(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.feel(72)  # at the throttle trip: nothing starts, nothing that runs is slowed
        task = await bench.train()
        await bench.ear.state(f"task/{task}", reasons=["queued", "thermal"])
        assert bench.tasks.queued == 1
        bench.clock.now += SIX_HOURS_S
        bench.tasks.wake()
        run = await bench.executor.run()
        await run.told(HALF)
        await bench.ear.state(f"task/{task}", state="running", pace="slow")
        await bench.feel(40)
        await run.told(HALF, FULL)
        slow, full = [await bench.ear.event("paceChanged", number) for number in (1, 2)]
        assert (slow["pace"], slow["duty"], slow["reasons"], slow["reading"]) == (
            "slow",
            0.5,
            ["thermal"],
            72.0,
        )
        assert (full["pace"], full["duty"], full.get("reasons")) == ("full", 1.0, None)


async def test_only_the_time_that_the_budget_held_a_task_back_counts_as_held(tmp_path: Path) -> None:
    """It has waited for a place for six hours when it becomes warm: that is no reason to start in spite of it."""
    async with a_bench(tmp_path) as bench:
        _, run = await bench.started()
        waiting = await bench.train("ann")
        await until(lambda: bench.tasks.queued == 1)  # it has been looked at
        bench.clock.now += SIX_HOURS_S
        await bench.feel(72)
        run.complete()
        await bench.ear.state(f"task/{waiting}", reasons=["queued", "thermal"])
        assert len(bench.executor.runs) == 1


async def test_a_verdict_that_comes_while_a_worker_comes_up_is_told_to_it(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.executor.opens.clear()
        task = await bench.train()
        await bench.executor.asked()
        await bench.feel(90)
        await bench.ear.state("task/" + task)  # by now the governor's word has gone round
        for _ in range(20):
            await asyncio.sleep(0)
        bench.executor.opens.set()
        run = await bench.executor.run()
        await run.told(Pause())


async def test_the_governor_holds_and_slows_a_running_task(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await bench.feel(90)
        await run.told(FULL, Pause())
        run.say(STANDS)
        paused = await bench.ear.event("paused")
        assert (paused["reasons"], paused["reading"], paused["trip"]) == (["thermal"], 90.0, 80.0)
        await bench.feel(40, looks=3)
        quarter = Pace(duty=0.25, cores=0.5, accelerated=False)
        await run.told(FULL, Pause(), quarter, Resume())
        run.say(GOES_ON)
        await bench.ear.event("resumed")
        await bench.feel(40, looks=6)
        wide = Pace(duty=0.25, accelerated=False)
        await run.told(FULL, Pause(), quarter, Resume(), wide, HALF)
        changed = [await bench.ear.event("paceChanged", number) for number in (1, 2)]
        assert [(each["duty"], each["zone"]) for each in changed] == [(0.25, "thermal"), (0.5, "thermal")]
        await bench.ear.state(f"task/{task}", state="running", pace="slow")


async def test_an_urgent_task_heeds_only_what_would_harm_the_machine(tmp_path: Path) -> None:
    async with a_bench(tmp_path, replace(NEVER, urgent=frozenset({MODEL}))) as bench:
        await bench.feel(72, looks=12)
        _, run = await bench.started()
        await run.told(FULL)
        await bench.feel(90)
        await run.told(FULL, Pause())
        await bench.feel(72, looks=12)
        await run.told(FULL, Pause())  # between the trips a pause lasts
        await bench.feel(40, looks=3)
        await run.told(FULL, Pause(), FULL, Resume())


async def test_what_is_prepared_for_an_urgent_task_goes_on_while_the_budget_holds_the_others(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path, replace(NEVER, urgent=frozenset({MODEL}))) as bench:
        bench.inputs.opens.clear()
        await bench.train()
        await bench.inputs.asked.wait()
        assert bench.tasks.queued == 1
        bench.sensor.zone = "battery"
        await bench.feel(20)
        assert bench.governor.verdict.pace == "paused"
        for _ in range(20):  # the governor's word goes round
            await asyncio.sleep(0)
        bench.inputs.asked.clear()
        bench.inputs.opens.set()
        await (await bench.executor.run()).told(FULL)
        assert not bench.inputs.asked.is_set(), "its samples were asked for once"


async def test_a_task_that_leaves_its_accelerator_for_the_budget_comes_back_to_it(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.say(replace_struct(begin(), device="cuda"))
        await bench.ear.state(f"task/{task}", device="cuda")
        await bench.feel(72, looks=3)
        cpu = Pace(accelerated=False)
        await run.told(FULL, cpu)
        assert (await bench.ear.event("paceChanged"))["pace"] == "cpu"
        run.say(Moved(device="cpu"))
        await bench.ear.state(f"task/{task}", device="cpu", pace="cpu")
        await bench.feel(40, looks=3)
        await run.told(FULL, cpu, FULL)


async def test_a_device_that_cannot_be_had_is_a_warning_and_no_pace_of_its_own(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        lacking, failed = "rocm: this onnxruntime has cuda, cpu", "cuda: out of memory"
        run.say(Moved(device="cuda", why=lacking), replace_struct(begin(), device="cuda"))
        await bench.ear.state(f"task/{task}", device="cuda")
        run.say(Moved(device="cpu", why=failed))
        await bench.ear.state(f"task/{task}", device="cpu")
        assert bench.tasks.warnings == (f"{lacking}; {failed}",)
        await bench.feel(72, looks=3)
        await run.told(FULL, HALF)
        run.die()
        await bench.feel(40, looks=12)
        second = await bench.executor.run(2)
        await second.told(FULL)
        assert not bench.tasks.warnings, "it may be there again"


async def test_a_daemon_that_is_never_to_work_holds_its_tasks_until_it_may_again(tmp_path: Path) -> None:
    """What its mode says is no person's word about a task."""
    async with a_bench(tmp_path) as bench:
        bench.governor.set_mode(Mode.never)
        task = await bench.train()
        await bench.ear.state(f"task/{task}", reasons=["queued", "mode"])
        bench.governor.set_mode(Mode.auto)
        run = await bench.executor.run()
        bench.governor.set_mode(Mode.never)
        await run.told(FULL, Pause())
        run.say(STANDS)
        await bench.ear.state(f"task/{task}", reasons=["mode"])
        await bench.stop()
        await bench.tasks.recover()
        bench.governor.set_mode(Mode.auto)
        bench.begin()
        assert (await bench.executor.run(2)).attempt == 2


async def test_nothing_is_told_of_a_task_after_its_end(tmp_path: Path) -> None:
    """A command that its worker was too busy to take is on its way while the end is written."""
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await run.told(FULL)
        run.takes.clear()
        await bench.feel(72, looks=3)
        run.complete()
        await bench.is_clear(task)
        run.takes.set()
        await bench.feel(40, looks=12)
        _, following = await bench.started("ann")
        await following.told(FULL)
        assert (await bench.outcomes(task))[-1]["type"] == "completed"
        assert f"task/{task}" not in bench.desk.outbox.states


# ── stopping and starting again ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("by_user", [False, True], ids=["", "and held"])
async def test_a_stop_during_training_suspends_the_task_until_the_next_start(
    tmp_path: Path, *, by_user: bool
) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.say(begin(), batch(1))
        await bench.ear.event("miniBatchEnd")
        if by_user:
            await bench.tasks.pause(task)
        await bench.stop()
        row = await bench.row(task)
        assert (row.state, set(row.reasons)) == (
            TaskState.suspended,
            {"shutdown", "user"} if by_user else {"shutdown"},
        )
        assert [each["type"] for each in await bench.outcomes(task)] == ["paused"]

        await bench.tasks.recover()
        bench.begin()
        if by_user:
            await bench.tasks.resume(task, {})
        run = await bench.executor.run(2)
        assert (run.spec.task, run.attempt) == (task, 2)
        run.complete()
        await bench.ear.event("completed")


async def test_a_stop_while_a_worker_comes_up_or_stands_suspends_the_task(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        bench.executor.opens.clear()
        task = await bench.train()
        await bench.executor.asked()
        await bench.stop()
        assert (await bench.row(task)).reasons == ("shutdown",)
        bench.executor.opens.set()
        bench.begin()
        run = await bench.executor.run()
        await bench.feel(90)
        await run.told(FULL, Pause())
        run.say(STANDS)
        await bench.ear.state(f"task/{task}", reasons=["thermal"])
        await bench.tasks.pause(task)
        await bench.stop()
        assert (await bench.row(task)).reasons == ("shutdown", "user")


async def test_a_stop_during_a_save_leaves_a_completed_task_and_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving, gate = threading.Event(), threading.Event()
    hash_of = files.sha256_of

    def slowly(path: Path) -> str:
        if path.name == "result.mlmodel":
            saving.set()
            gate.wait()
        return hash_of(path)

    monkeypatch.setattr(files, "sha256_of", slowly)
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.complete(b"better")
        await asyncio.to_thread(saving.wait)
        stopping = asyncio.create_task(bench.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert (await bench.row(task)).state is TaskState.completed
        current = bench.desk.store.current("gestures", "")
        assert (current / "model.mlmodel").read_bytes() == b"better"
        assert [each["type"] for each in await bench.outcomes(task)] == [
            "modelSaved",
            "promoted",
            "completed",
        ]
