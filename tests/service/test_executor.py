"""Real worker processes: a whole task, what they are told on the way, and how they are lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builders import dense_classifier
from finetuned.edge.demo_data import DROPS, MODEL, pictures
from finetuned.errors import ModelError
from finetuned.service import executor
from finetuned.service import messages as m
from finetuned.service.channel import Child, spawn
from finetuned.service.describe import sample_inputs
from finetuned.service.executor import WORKER, LocalExecutor, LocalRun, LostError
from finetuned.spec import codec
from finetuned_plugins.pictures import Pictures
from service.samples import until
from specs import Material, vectors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORT = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}
LONG = {"epochs": 1000, "miniBatchSize": 4}


def small(folder: Path, *, count: int = 20) -> Material:
    return vectors(folder, dense_classifier(train_hidden=False), count=count)


def workers() -> list[int]:
    """Return the pids of this process's workers."""
    children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()
    found = [(int(pid), Path(f"/proc/{pid}/cmdline")) for pid in children]
    return [pid for pid, line in found if b"service.worker" in line.read_bytes()]


async def said(run: LocalRun) -> list[m.Report]:
    """Return everything that the worker says, up to its last word."""
    return [report async for report in run.reports()]


async def heard(run: LocalRun, kind: type[m.Report]) -> m.Report:
    """Wait until the worker says something of this kind."""
    async for report in run.reports():
        if isinstance(report, kind):
            return report
    raise AssertionError(f"it never said {kind.__name__}")


@asynccontextmanager
async def standing(data: Material) -> AsyncIterator[LocalRun]:
    """Yield a worker that is held before its first step."""
    async with LocalExecutor().submit(data.spec(SHORT)) as run:
        await run.control(m.Pause())
        await heard(run, m.Held)
        yield run


# ── describing ──────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_describes_a_model_and_says_why_a_file_is_none(tmp_path: Path) -> None:
    info = await LocalExecutor().describe(MODEL)
    assert (info.updatable, len(info.class_labels), info.sample_inputs[0].color) == (True, 10, "GRAYSCALE")
    broken = tmp_path / "broken.mlmodel"
    broken.write_bytes(b"PK\x03\x04 no model at all")
    with pytest.raises(ModelError, match="zip"):
        await LocalExecutor().describe(broken)
    with pytest.raises(ModelError, match="No such file"):
        await LocalExecutor().describe(tmp_path / "nothing")
    assert workers() == []


# ── a whole task ────────────────────────────────────────────────────────────────────────────────
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


async def test_a_worker_trains_the_demos_model_and_the_same_task_gives_the_same_bytes(tmp_path: Path) -> None:
    data, digests = digits(tmp_path), []
    for _ in range(2):
        async with LocalExecutor().submit(data.spec({})) as run:
            reports = await said(run)
        assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
        assert {(report.task, report.attempt) for report in reports} == {("T", 1)}
        completed = reports[-1]
        assert isinstance(completed, m.Completed)
        assert completed.after.loss_value < completed.before.loss_value
        digests.append(hashlib.sha256(data.result.read_bytes()).hexdigest())
        assert digests[-1] == completed.sha256
    assert digests[0] == digests[1]
    assert workers() == []


async def test_a_worker_stands_before_its_first_step_takes_another_rate_and_goes_on(tmp_path: Path) -> None:
    data = small(tmp_path)
    async with LocalExecutor().submit(data.spec(SHORT)) as run:
        undisturbed = (await said(run))[-1]
    async with standing(data) as run:
        await run.control(m.Resume())
        held = (await said(run))[-1]
    async with standing(data) as run:
        await run.control(m.Adjust(parameters={"learningRate": 0.5}))
        await run.control(m.Resume())
        adjusted = (await said(run))[-1]
    assert isinstance(undisturbed, m.Completed)
    assert isinstance(held, m.Completed)
    assert isinstance(adjusted, m.Completed)
    assert held.sha256 == undisturbed.sha256, "a hold changes nothing"
    assert adjusted.sha256 != undisturbed.sha256


async def test_a_cancel_while_features_are_computed_ends_the_task_without_a_result(tmp_path: Path) -> None:
    data = small(tmp_path, count=100)
    async with LocalExecutor().submit(data.spec(LONG)) as run:
        await run.control(m.Pace(duty=0.01))  # it rests after the first samples, long enough to be told
        await heard(run, m.Prepared)
        await run.control(m.Cancel())
        reports = await said(run)
    assert isinstance(reports[-1], m.Cancelled)
    assert not any(isinstance(report, m.TrainingBegin) for report in reports)
    assert not data.result.exists()


async def test_what_is_not_in_order_is_a_last_word_and_the_model_is_at_fault_or_the_machine(
    tmp_path: Path,
) -> None:
    data = small(tmp_path)
    spec = data.spec(SHORT)
    data.forget_inputs()
    async with LocalExecutor().submit(spec) as run:
        (missing,) = await said(run)
    data.path.write_bytes(dense_classifier(seed=1))
    async with LocalExecutor().submit(spec) as run:
        (changed,) = await said(run)
    assert isinstance(missing, m.Failed)
    assert isinstance(changed, m.Failed)
    assert (missing.fault, changed.fault) == ("host", "model")
    assert "is missing" in missing.error
    assert "is not the file it was" in changed.error


# ── lost ────────────────────────────────────────────────────────────────────────────────────────
async def test_a_worker_that_is_killed_is_lost_and_takes_further_commands_in_silence(tmp_path: Path) -> None:
    async with standing(small(tmp_path)) as run:
        (pid,) = workers()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(LostError, match="killed by signal 9"):
            await said(run)
        await run.control(m.Resume())
        await run.control(m.Cancel())


class Nonsense(m.Message, tag="nonsense", frozen=True, kw_only=True):
    """A command that no worker knows."""


async def test_a_worker_that_does_not_understand_a_command_dies_with_that_on_its_lips() -> None:
    child: Child[m.WorkerReport] = await spawn(WORKER, m.WorkerReport)
    run = LocalRun(child)
    await run.control(Nonsense())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(LostError, match=r"exit status 1.*cannot be understood.*nonsense"):
        await said(run)
    await child.stop()


async def test_a_worker_that_says_nothing_for_too_long_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with standing(small(tmp_path)) as run:
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(executor, "SILENCE_S", 0.01)
        with pytest.raises(LostError, match="hangs"):
            await said(run)
    assert workers() == []


@pytest.mark.parametrize("listens", [True, False], ids=["while it is heard", "while its word is written"])
async def test_a_worker_that_does_not_obey_a_cancel_is_lost_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, listens: bool
) -> None:
    async with standing(small(tmp_path)) as run:
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(executor, "CANCEL_S", 0.01)
        listening = asyncio.create_task(said(run))
        if listens:
            await asyncio.sleep(0)
        await run.control(m.Cancel())
        with pytest.raises(LostError, match="hangs"):
            await listening


async def test_a_worker_that_does_not_say_what_a_model_is_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "SILENCE_S", 0.0)
    with pytest.raises(LostError, match="hangs"):
        await LocalExecutor().describe(MODEL)


async def test_a_worker_that_is_no_longer_wanted_is_gone(tmp_path: Path) -> None:
    async with LocalExecutor(nice=7).submit(small(tmp_path).spec(LONG)) as run:
        await heard(run, m.TrainingBegin)
        (pid,) = workers()
        assert os.getpriority(os.PRIO_PROCESS, pid) == 7 + os.getpriority(os.PRIO_PROCESS, 0)
    await until(lambda: workers() == [])
