"""The bundled executor's own: processes, how they are lost, kept warm and never left behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builders import dense_classifier
from ears import Ear, listening
from finetuned.edge.demo_data import DROPS, MODEL, pictures
from finetuned.errors import HostError, ModelError
from finetuned.service import messages as m
from finetuned.service import workers as worker_processes
from finetuned.service.describe import sample_inputs
from finetuned.service.local import LocalExecutor
from finetuned.spec import codec
from finetuned_plugins.pictures import Pictures
from processes import children
from recollection import Recollection
from service.samples import until
from shared import missing
from specs import Material, loss, vectors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SHORT = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}
ENDLESS = SHORT | {"epochs": 1000}


def small(folder: Path, *, count: int = 20) -> Material:
    return vectors(folder, dense_classifier(train_hidden=False), count=count)


def overflowing(folder: Path) -> Material:
    """Return a task with a held-out sample for which the loss is not finite."""
    data = small(folder)
    return replace(data, arrays=np.concatenate([data.arrays[:-1], np.full((1, 4), 3e38, "<f4")]))


def wide(folder: Path) -> Material:
    """Return a task whose steps are large enough for onnxruntime to share one out among threads."""
    return vectors(folder, dense_classifier(inputs=64, hidden=512), count=64, held_out=0, size=64)


def threads_of(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


def workers() -> list[int]:
    """Return the pids of this process's workers."""
    return children(os.getpid(), "service.worker")


async def run(executor: LocalExecutor, ear: Ear, spec: m.TaskSpec, attempt: int = 1) -> m.Report:
    """Run an attempt to its last word."""
    await executor.submit(spec, attempt)
    return await ear.last(spec.task, attempt)


async def begin_endless(executor: LocalExecutor, data: Material) -> None:
    """Start a task that will not end by itself in the time of a test: it rests after each mini-batch."""
    await executor.submit(data.spec(ENDLESS), 1)
    await executor.control("T", 1, m.Pace(duty=0.05))


def digits(folder: Path) -> Material:
    """Return some of the demo's pictures, decoded, for the demo's model."""
    (want,) = sample_inputs(codec.decode(MODEL.read_bytes()))
    chosen = pictures(DROPS)[::2]
    chosen = chosen[::2] + chosen[1::2]
    raw = [Pictures().decode(each.path.read_bytes(), want) for each in chosen]
    return Material(
        folder=folder,
        model=MODEL.read_bytes(),
        want=want,
        arrays=np.stack([np.frombuffer(each, np.uint8).reshape(want.shape) for each in raw]),
        labels=[each.label for each in chosen],
        held_out=10,
    )


# ── killed ──────────────────────────────────────────────────────────────────────────────────────
async def test_a_task_whose_workers_are_killed_at_random_steps_ends_in_the_bytes_of_one_that_never_was(
    tmp_path: Path,
) -> None:
    data, chance = digits(tmp_path), np.random.default_rng(4)
    memory = Recollection(first=data.spec({}, checkpoint_s=0.0))
    executor = LocalExecutor()
    async with listening(executor) as ear:
        whole = await run(executor, ear, data.spec({}, task="whole"))
        assert isinstance(whole, m.Completed)
        assert loss(whole.after) < loss(whole.before)
        ear.on_report = lambda report: memory.take(report) if report.task == "T" else None
        for kill_after in chance.integers(1, 60, size=5):
            await executor.submit(memory.spec, memory.attempt, memory.checkpoints)
            await ear.heard(m.MiniBatchEnd, "T", memory.attempt, matches=lambda each: each.seq > kill_after)  # noqa: B023 - waited for within the turn
            (pid,) = workers()
            os.kill(pid, signal.SIGKILL)
            lost = await ear.last("T", memory.attempt)
            assert isinstance(lost, m.Lost)
            assert "signal 9 (SIGKILL); the kernel may have taken it for its memory" in lost.error
            memory.again()
        await executor.submit(memory.spec, memory.attempt, memory.checkpoints)
        assert (await ear.completed("T", memory.attempt)).sha256 == whole.sha256
        restored = await ear.heard(m.Restored, "T", memory.attempt)
    assert restored.step > 0
    assert restored.refused == ()
    assert workers() == []


# ── lost ────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start `worker_child.py` in place of workers."""
    monkeypatch.setattr(worker_processes, "MODULE", "worker_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.mark.usefixtures("misbehaving")
@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("dies", "exit status 3: ValueError: there is no such thing"),
        ("is-taken", "the kernel may have taken it for its memory"),
        ("crashes", "the worker died: signal 11 (SIGSEGV)"),
        ("babbles", "cannot be understood"),
        ("counts-wrong", "what does not belong here: Heartbeat 3"),
        ("is-another", "what does not belong here: Cancelled 2"),
    ],
)
async def test_a_worker_that_goes_astray_is_ended_and_its_attempt_is_lost_with_the_reason(
    tmp_path: Path, task: str, said: str
) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        lost = await run(executor, ear, small(tmp_path).spec(SHORT, task=task))
        assert isinstance(lost, m.Lost)
        assert said in lost.error
        assert (lost.seq, lost.step) == (2, 5)
        await until(lambda: children(os.getpid(), "worker_child") == [])
    assert len(ear.reports) == 2


async def test_a_worker_is_not_blamed_when_it_was_the_daemon_that_stood_still(tmp_path: Path) -> None:
    """Its words lie in the channel when the daemon goes on, and so does the end of their time."""
    executor = LocalExecutor(silence_s=1.0)
    async with listening(executor) as ear:
        await executor.submit(small(tmp_path).spec(ENDLESS), 1)
        await ear.heard(m.MiniBatchEnd)
        for _ in range(3):
            time.sleep(1.1)  # noqa: ASYNC251 - the loop shall stand still
            await asyncio.sleep(0)
        assert isinstance(await ear.last(), m.Completed)


@pytest.mark.usefixtures("misbehaving")
async def test_a_worker_that_says_nothing_for_too_long_hangs(tmp_path: Path) -> None:
    executor = LocalExecutor(silence_s=0.01)
    async with listening(executor) as ear:
        lost = await run(executor, ear, small(tmp_path).spec(SHORT, task="stops"))
    assert isinstance(lost, m.Lost)
    assert "it hangs: it has said nothing for 0.01 s" in lost.error


@pytest.mark.parametrize("command", [m.Cancel(), m.Release()], ids=["cancel", "release"])
async def test_a_stopped_worker_that_is_told_to_end_is_lost_soon(tmp_path: Path, command: m.Control) -> None:
    executor = LocalExecutor(cancel_s=0.01)
    async with listening(executor) as ear:
        await begin_endless(executor, small(tmp_path))
        await executor.control("T", 1, m.Pause())
        await ear.heard(m.Held)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        await executor.control("T", 1, command)
        lost = await ear.last()
        assert isinstance(lost, m.Lost)
        assert "it was told to end" in lost.error
        assert workers() == []


async def test_a_drain_kills_what_does_not_let_go(tmp_path: Path) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        await begin_endless(executor, small(tmp_path))
        await ear.heard(m.MiniBatchEnd)
        os.kill(workers()[0], signal.SIGSTOP)
        await executor.drain(0.01)
        assert workers() == []
        lost = await ear.last()
    assert isinstance(lost, m.Lost)
    assert "it had not let go after 0.01 s" in lost.error


# ── what is not finite ──────────────────────────────────────────────────────────────────────────
async def test_a_held_out_loss_that_is_not_finite_is_told_as_none_by_a_worker_that_is_well(
    tmp_path: Path,
) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        end = await run(executor, ear, overflowing(tmp_path).spec(SHORT))
        assert isinstance(end, m.Completed)
        assert (end.before.loss_value, end.after.loss_value) == (None, None)
        assert end.after.accuracy is not None
        validation = (await ear.heard(m.EpochEnd)).validation
        assert validation is not None
        assert (validation.samples, validation.loss_value) == (5, None)


# ── paced ───────────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_confines_all_its_threads_to_fewer_cores_and_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    data, all_cores = wide(tmp_path), os.sched_getaffinity(0)
    if len(all_cores) == 1:
        missing("left out: this machine lets us have one core")
    executor = LocalExecutor(warm_s=0)
    async with listening(executor) as ear:
        parameters = SHORT | {"epochs": 20}
        whole = await run(executor, ear, data.spec(parameters, task="whole", threads=2))
        assert isinstance(whole, m.Completed)
        await executor.submit(data.spec(parameters, threads=2), 1)
        await executor.control("T", 1, m.Pace(duty=0.05, cores=0.01, accelerated=False))
        await ear.heard(m.MiniBatchEnd)
        await executor.control("T", 1, m.Pause())
        await ear.heard(m.Held)
        (pid,) = workers()
        threads = threads_of(pid)
        assert len(threads) > 1, "onnxruntime has a pool"
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {
            frozenset({max(all_cores)})
        }
        await executor.control("T", 1, m.Pace())
        await executor.control("T", 1, m.Adjust(parameters={"learningRate": 0.1}))
        await ear.heard(m.Adjusted)  # so the pace before it was obeyed
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset(all_cores)}
        await executor.control("T", 1, m.Resume())
        assert (await ear.completed()).sha256 == whole.sha256


async def test_a_worker_says_which_device_is_not_there(tmp_path: Path) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        await run(executor, ear, small(tmp_path).spec(SHORT, devices=("cuda", "cpu")))
        moved = await ear.heard(m.Moved)
        begin = await ear.heard(m.TrainingBegin)
    assert (moved.device, moved.why.split(":")[0], begin.device) == ("cpu", "cuda", "cpu")
    assert moved.seq < begin.seq


# ── warm ────────────────────────────────────────────────────────────────────────────────────────
async def cancelled(executor: LocalExecutor, ear: Ear, data: Material) -> None:
    await begin_endless(executor, data)
    await executor.control("T", 1, m.Cancel())
    assert isinstance(await ear.last(), m.Cancelled)


async def released(executor: LocalExecutor, ear: Ear, data: Material) -> None:
    await begin_endless(executor, data)
    await executor.control("T", 1, m.Release())
    assert isinstance(await ear.last(), m.Released)


async def completed(executor: LocalExecutor, ear: Ear, data: Material) -> None:
    assert isinstance(await run(executor, ear, data.spec(SHORT)), m.Completed)


async def described(executor: LocalExecutor, _: Ear, data: Material) -> None:
    await executor.describe(data.path)


async def failed(executor: LocalExecutor, ear: Ear, data: Material) -> None:
    spec = data.spec(SHORT, model_digest="0" * 64)
    assert isinstance(await run(executor, ear, spec), m.Failed)


async def killed(executor: LocalExecutor, ear: Ear, data: Material) -> None:
    await begin_endless(executor, data)
    await executor.control("T", 1, m.Kill())
    assert isinstance(await ear.last(), m.Lost)


@pytest.mark.parametrize("before", [completed, cancelled, described])
async def test_a_worker_that_has_ended_well_does_the_next_task_to_the_same_bytes(
    tmp_path: Path, before: Callable[[LocalExecutor, Ear, Material], Awaitable[None]]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    spec = digits(tmp_path).spec({}, task="next")
    executor = LocalExecutor()
    async with listening(executor) as ear:
        fresh = await run(executor, ear, spec)
    executor = LocalExecutor()
    async with listening(executor) as ear:
        await before(executor, ear, small(other))
        (pid,) = workers()
        await executor.submit(spec, 2)
        assert workers() == [pid]
        warm = await ear.completed("next", 2)
    assert isinstance(fresh, m.Completed)
    assert warm.sha256 == fresh.sha256
    assert warm.before == fresh.before
    assert workers() == []


@pytest.mark.parametrize("before", [failed, killed, released])
async def test_a_worker_that_has_not_ended_well_or_was_let_go_for_its_memory_is_gone(
    tmp_path: Path, before: Callable[[LocalExecutor, Ear, Material], Awaitable[None]]
) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        await before(executor, ear, small(tmp_path))
        await until(lambda: workers() == [])


async def test_a_warm_worker_is_ended_when_nobody_needs_it(tmp_path: Path) -> None:
    executor = LocalExecutor(warm_s=0.01)
    async with listening(executor) as ear:
        await completed(executor, ear, small(tmp_path))
        await until(lambda: workers() == [])


async def test_a_warm_worker_that_has_died_is_nobodys_loss(tmp_path: Path) -> None:
    data, executor = small(tmp_path), LocalExecutor()
    async with listening(executor) as ear:
        await completed(executor, ear, data)
        os.kill(workers()[0], signal.SIGKILL)
        await executor.submit(data.spec(ENDLESS), 2)
        await executor.control("T", 2, m.Pause())
        assert (await ear.heard(m.Held, attempt=2)).step == 0, (
            "the new one was told all that the dead one was"
        )
        await executor.control("T", 2, m.Cancel())
        assert isinstance(await ear.last(attempt=2), m.Cancelled)
        os.kill(workers()[0], signal.SIGKILL)
        assert (await executor.describe(MODEL)).updatable
    assert workers() == []


async def test_only_one_worker_is_kept_warm(tmp_path: Path) -> None:
    data, executor = small(tmp_path), LocalExecutor(places=2)
    async with listening(executor) as ear:
        for task in ("A", "B"):
            await executor.submit(data.spec(ENDLESS, task=task), 1)
            await executor.control(task, 1, m.Pause())
        assert len(workers()) == 2
        for task in ("A", "B"):
            await executor.control(task, 1, m.Cancel())
            await ear.last(task)
        await until(lambda: len(workers()) == 1)


# ── describing ──────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_describes_a_model_and_says_why_a_file_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mlmodel"
    broken.write_bytes(b"PK\x03\x04 no model at all")
    executor = LocalExecutor()
    async with listening(executor):
        info = await executor.describe(MODEL)
        with pytest.raises(ModelError, match="zip"):
            await executor.describe(broken)
        with pytest.raises(HostError, match="No such file"):
            await executor.describe(tmp_path / "nothing")
    assert (info.updatable, len(info.class_labels), info.sample_inputs[0].color) == (True, 10, "GRAYSCALE")
    assert workers() == []
    with pytest.raises(HostError, match="takes no more"):
        await executor.describe(MODEL)


async def test_a_reader_that_says_nothing_or_dies_is_the_hosts_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor = LocalExecutor(silence_s=0.0)
    async with listening(executor):
        with pytest.raises(HostError, match="hangs") as hangs:
            await executor.describe(MODEL)
    monkeypatch.setattr(worker_processes, "MODULE", "no_such_module_anywhere")
    executor = LocalExecutor()
    async with listening(executor):
        with pytest.raises(HostError, match=r"exit status 1: .*No module named no_such_module") as died:
            await executor.describe(MODEL)
    assert not isinstance(hangs.value, ModelError)
    assert not isinstance(died.value, ModelError)


# ── processes ───────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_is_nice_and_the_first_that_the_kernel_takes(tmp_path: Path) -> None:
    executor = LocalExecutor(nice=7)
    async with listening(executor) as ear:
        await begin_endless(executor, small(tmp_path))
        await ear.heard(m.TrainingBegin)
        (pid,) = workers()
        assert os.getpriority(os.PRIO_PROCESS, pid) == 7 + os.getpriority(os.PRIO_PROCESS, 0)
        assert oom_score(pid) == 900


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_whoever_is_cancelled_while_a_worker_starts_leaves_none_behind(
    tmp_path: Path, turns: int
) -> None:
    executor, spec = LocalExecutor(), small(tmp_path).spec(ENDLESS)
    calls: list[Callable[[], Any]] = [lambda: executor.submit(spec, 1), lambda: executor.describe(MODEL)]
    async with listening(executor):
        for call in calls:
            calling = asyncio.create_task(call())
            for _ in itertools.repeat(None, turns):
                await asyncio.sleep(0)
            calling.cancel()
            await asyncio.wait({calling})
            assert calling.cancelled() or calling.exception() is None
    assert workers() == []


async def test_a_close_that_is_cancelled_has_killed_everything_all_the_same(tmp_path: Path) -> None:
    executor = LocalExecutor()
    async with listening(executor) as ear:
        await begin_endless(executor, small(tmp_path))
        await ear.heard(m.MiniBatchEnd)
        closing = asyncio.create_task(executor.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        await until(lambda: workers() == [])
        assert isinstance(await ear.last(), m.Lost)


async def test_a_submit_that_meets_a_close_is_refused_and_leaves_no_worker(tmp_path: Path) -> None:
    for turns in range(0, 12, 2):
        executor = LocalExecutor()
        async with listening(executor) as ear:
            submitting = asyncio.create_task(executor.submit(small(tmp_path).spec(ENDLESS), 1))
            for _ in itertools.repeat(None, turns):
                await asyncio.sleep(0)
            await executor.close()
            assert workers() == []
            await asyncio.wait({submitting})
        told = [report for report in ear.reports if isinstance(report, m.LAST)]
        assert (isinstance(submitting.exception(), HostError), len(told)) in {(True, 0), (False, 1)}
