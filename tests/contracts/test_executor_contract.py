"""What every executor keeps, wherever its workers run: one row in `FACTORIES`, and all of this is tested.

At the end, what is left of it where everything goes wrong.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from builders import dense_classifier
from ears import Ear, listening
from faulty import Faulty
from finetuned.errors import HostError
from finetuned.service import messages as m
from finetuned.service.executor import Executor
from finetuned.service.local import LocalExecutor
from inprocess import InProcessExecutor
from recollection import Recollection
from specs import Material, vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], Executor]

FACTORIES: dict[str, Make] = {
    "local": lambda: LocalExecutor(places=2),
    "inprocess": lambda: InProcessExecutor(places=2),
}
"""How an executor with two places is made."""

ADAM = dense_classifier(optimizer="adamOptimizer")
SHORT = {"epochs": 1, "miniBatchSize": 4, "learningRate": 0.1}
LONGER = SHORT | {"epochs": 100}
ENDLESS = SHORT | {"epochs": 1000}
CONTROLS: tuple[m.Control, ...] = (
    m.Pace(duty=0.5, cores=0.5, accelerated=False),
    m.Pause(),
    m.Resume(),
    m.Adjust(parameters={"learningRate": 0.5}),
    m.Cancel(),
    m.Release(),
    m.Kill(),
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def material(folder: Path, *, count: int = 12) -> Material:
    """Return samples for three mini-batches an epoch, all trained on."""
    return vectors(folder, ADAM, count=count, held_out=0)


@pytest.fixture(params=list(FACTORIES))
def make(request: pytest.FixtureRequest) -> Make:
    """Return how one of the executors is made."""
    return FACTORIES[request.param]


async def undisturbed(make: Make, spec: m.TaskSpec) -> str:
    """Return the digest of what comes out where nothing happens."""
    async with listening(executor := make()) as ear:
        await executor.submit(spec, 90)
        return (await ear.completed(attempt=90)).sha256


async def begin_slowly(executor: Executor, memory: Recollection) -> None:
    """Start an attempt that rests after each mini-batch, so that there is time to tell it something."""
    await executor.submit(memory.spec, memory.attempt, memory.checkpoints)
    await executor.control("T", memory.attempt, m.Pace(duty=0.05))


async def begin_endless(executor: Executor, data: Material) -> None:
    """Start a task that will not end by itself in the time of a test."""
    await begin_slowly(executor, Recollection(first=data.spec(ENDLESS)))


async def released(executor: Executor, ear: Ear, memory: Recollection) -> None:
    """Let a task begin, and let it go after its first mini-batches; `memory` knows its checkpoint then."""
    await begin_slowly(executor, memory)
    await ear.heard(m.MiniBatchEnd, attempt=memory.attempt)
    await executor.control("T", memory.attempt, m.Release())
    assert isinstance(await ear.last(attempt=memory.attempt), m.Released)
    memory.take_all(ear.of("T", memory.attempt))
    memory.again()


# ── what is told ────────────────────────────────────────────────────────────────────────────
async def test_it_is_an_executor_and_says_how_many_places_it_has(make: Make) -> None:
    async with listening(executor := make()):
        assert isinstance(executor, Executor)
        assert executor.name
        assert executor.capabilities.places == 2


async def test_an_attempt_is_told_in_order_under_its_number_with_one_last_word(
    make: Make, tmp_path: Path
) -> None:
    async with listening(executor := make()) as ear:
        await executor.submit(material(tmp_path).spec(SHORT), 7)
        await ear.completed(attempt=7)
    assert [report.seq for report in ear.reports] == list(range(1, len(ear.reports) + 1))
    assert {(report.task, report.attempt) for report in ear.reports} == {("T", 7)}
    assert [isinstance(report, m.LAST) for report in ear.reports].count(True) == 1
    steps = [report.step for report in ear.reports]
    assert steps == sorted(steps)
    told = dict.fromkeys(type(report).__name__ for report in ear.reports)
    assert list(told) == ["Prepared", "TrainingBegin", "MiniBatchEnd", "EpochEnd", "Completed"]


async def test_result_and_checkpoints_lie_where_they_should_before_they_are_told(
    make: Make, tmp_path: Path
) -> None:
    data, found = material(tmp_path), []

    def look(report: m.Report) -> None:
        if isinstance(report, m.Completed):
            found.append(sha256(m.result_path(spec, 3)) == report.sha256)
        elif isinstance(report, m.Checkpointed):
            assert report.checkpoint is not None
            found.append(sha256(data.task / report.checkpoint.path) == report.checkpoint.sha256)

    spec = data.spec(SHORT, checkpoint_s=0.0)
    async with listening(executor := make()) as ear:
        ear.on_report = look
        await executor.submit(spec, 3)
        await ear.completed(attempt=3)
    assert found == [True] * 4, "three mini-batches and the result"
    assert {path.name for path in data.task.iterdir()} == {"3"}, "an attempt writes into its own folder"


async def test_what_is_the_tasks_own_fault_is_a_failure(make: Make, tmp_path: Path) -> None:
    data = material(tmp_path)
    data.labels[0] = "z"
    async with listening(executor := make()) as ear:
        await executor.submit(data.spec(SHORT), 1)
        failed = await ear.last()
    assert isinstance(failed, m.Failed)
    assert failed.fault == "sample"


# ── control ─────────────────────────────────────────────────────────────────────────────────
async def test_a_hold_stands_until_it_goes_on_and_changes_nothing(make: Make, tmp_path: Path) -> None:
    spec = material(tmp_path).spec(LONGER)
    whole = await undisturbed(make, spec)
    async with listening(executor := make()) as ear:
        await begin_slowly(executor, Recollection(first=spec))
        await ear.heard(m.TrainingBegin)
        await executor.control("T", 1, m.Pause())
        held = await ear.heard(m.Held)
        await executor.control("T", 1, m.Pace(duty=1.0))
        await executor.control("T", 1, m.Resume())
        assert (await ear.completed()).sha256 == whole
        goes_on = await ear.heard(m.Held, matches=lambda each: not each.held)
    assert held.held
    assert (goes_on.seq, goes_on.step) == (held.seq + 1, held.step)


@pytest.mark.parametrize(
    ("command", "last"), [(m.Cancel(), m.Cancelled), (m.Kill(), m.Lost)], ids=["cancel", "kill"]
)
@pytest.mark.parametrize("held", [False, True], ids=["while it runs", "while it is held"])
async def test_an_attempt_can_be_cancelled_and_killed_and_leaves_no_result(
    make: Make, tmp_path: Path, *, command: m.Control, last: type[m.Report], held: bool
) -> None:
    data = material(tmp_path)
    async with listening(executor := make()) as ear:
        await begin_endless(executor, data)
        if held:
            await executor.control("T", 1, m.Pause())
        await ear.heard(m.Held if held else m.MiniBatchEnd)
        await executor.control("T", 1, command)
        assert isinstance(await ear.last(), last)
    assert not data.result().exists()


async def test_nobody_is_there_to_be_told_and_nothing_happens(make: Make, tmp_path: Path) -> None:
    async with listening(executor := make()) as ear:
        await executor.submit(material(tmp_path).spec(SHORT), 2)
        for command in CONTROLS:
            await executor.control("T", 1, command)
            await executor.control("another", 2, command)
        await ear.completed(attempt=2)
        for command in CONTROLS:
            await executor.control("T", 2, command)
    assert {report.attempt for report in ear.reports} == {2}
    assert isinstance(ear.reports[-1], m.Completed)


async def test_another_learning_rate_is_told_with_the_step_from_which_it_holds(
    make: Make, tmp_path: Path
) -> None:
    memory = Recollection(first=material(tmp_path).spec(LONGER))
    async with listening(executor := make()) as ear:
        await begin_slowly(executor, memory)
        await ear.heard(m.MiniBatchEnd)
        await executor.control("T", 1, m.Pause())
        held = await ear.heard(m.Held)
        memory.ask(0.3)
        await executor.control("T", 1, m.Pace(duty=1.0))
        await executor.control("T", 1, m.Adjust(parameters={"learningRate": 0.3}))
        adjusted = await ear.heard(m.Adjusted)
        await executor.control("T", 1, m.Resume())
        disturbed = await ear.completed()
        memory.take_all(ear.of("T"))
    assert (adjusted.step, adjusted.learning_rate) == (held.step, 0.3)
    assert await undisturbed(make, memory.first) != disturbed.sha256
    assert await undisturbed(make, memory.spec) == disturbed.sha256


async def test_a_task_leaves_its_device_and_comes_back_to_it_when_it_is_told(
    make: Make, tmp_path: Path
) -> None:
    """The second provider of onnxruntime's own wheel leaves every layer to the CPU: not a byte may differ."""
    first = material(tmp_path).spec(LONGER)
    memory = Recollection(first=msgspec.structs.replace(first, devices=("azure", "cpu")))
    async with listening(executor := make()) as ear:
        await begin_slowly(executor, memory)
        begin = await ear.heard(m.TrainingBegin)
        await executor.control("T", 1, m.Pace(duty=0.05, accelerated=False))
        await ear.heard(m.Moved)
        await executor.control("T", 1, m.Pace())
        disturbed = await ear.completed()
        moves = [report for report in ear.of("T") if isinstance(report, m.Moved)]
    assert (begin.device, [(move.device, move.why) for move in moves]) == (
        "azure",
        [("cpu", ""), ("azure", "")],
    )
    assert await undisturbed(make, first) == disturbed.sha256


# ── going on ────────────────────────────────────────────────────────────────────────────────
async def test_a_released_task_goes_on_where_it_was_and_ends_in_the_same_bytes(
    make: Make, tmp_path: Path
) -> None:
    memory = Recollection(first=material(tmp_path).spec(LONGER))
    whole = await undisturbed(make, memory.first)
    async with listening(executor := make()) as ear:
        await released(executor, ear, memory)
        (known,) = memory.checkpoints
        await executor.submit(memory.spec, 2, memory.checkpoints)
        assert (await ear.completed(attempt=2)).sha256 == whole
        restored = await ear.heard(m.Restored, attempt=2)
        begin = await ear.heard(m.TrainingBegin, attempt=2)
    assert 0 < known.step == restored.step == begin.step
    assert restored.refused == ()


async def test_what_is_released_before_its_training_begins_has_no_checkpoint(
    make: Make, tmp_path: Path
) -> None:
    async with listening(executor := make()) as ear:
        await executor.submit(material(tmp_path).spec(LONGER), 1)
        await executor.control("T", 1, m.Release())
        assert isinstance(await ear.last(), m.Released)
    assert not [report for report in ear.reports if isinstance(report, m.Checkpointed)]


async def test_broken_checkpoints_fall_back_to_the_one_before_and_then_to_the_start(
    make: Make, tmp_path: Path
) -> None:
    data = material(tmp_path)
    memory = Recollection(first=data.spec(LONGER))
    whole = await undisturbed(make, memory.first)
    async with listening(executor := make()) as ear:
        for _ in range(2):
            await released(executor, ear, memory)
        newer, older = memory.checkpoints
        for attempt, spoiled, expected in ((3, newer, older.step), (4, older, 0)):
            path = data.task / spoiled.path
            path.write_bytes(path.read_bytes()[:-4])
            await executor.submit(memory.spec, attempt, memory.checkpoints)
            assert (await ear.completed(attempt=attempt)).sha256 == whole
            restored = await ear.heard(m.Restored, attempt=attempt)
            assert restored.step == expected
            assert f"step {spoiled.step}" in restored.refused[-1]


# ── places, and the end ─────────────────────────────────────────────────────────────────────
async def test_two_run_at_once_and_a_third_is_refused_without_a_word(make: Make, tmp_path: Path) -> None:
    data = material(tmp_path)
    async with listening(executor := make()) as ear:
        await begin_endless(executor, data)
        with pytest.raises(HostError):
            await executor.submit(data.spec(ENDLESS), 1)
        await executor.submit(data.spec(SHORT, task="U"), 1)
        with pytest.raises(HostError):
            await executor.submit(data.spec(SHORT, task="V"), 1)
        await ear.completed("U")
        await executor.submit(data.spec(SHORT, task="W"), 1)
        await ear.completed("W")
        await executor.control("T", 1, m.Cancel())
        assert isinstance(await ear.last(), m.Cancelled)
    assert ear.of("V") == []
    for task in "TUW":
        assert [report.seq for report in ear.of(task)] == list(range(1, len(ear.of(task)) + 1))


async def test_a_drain_lets_everything_go_with_a_checkpoint_and_takes_no_more(
    make: Make, tmp_path: Path
) -> None:
    data = material(tmp_path)
    async with listening(executor := make()) as ear:
        await begin_endless(executor, data)
        await ear.heard(m.MiniBatchEnd)
        await executor.drain(60)
        await ear.last()
        *_, kept, last = ear.of("T")
        assert isinstance(kept, m.Checkpointed)
        assert isinstance(last, m.Released)
        with pytest.raises(HostError):
            await executor.submit(data.spec(SHORT), 2)
        assert not ear.ended.is_set()


async def test_a_close_ends_every_attempt_with_a_word_and_the_stream(make: Make, tmp_path: Path) -> None:
    data = material(tmp_path)
    async with listening(executor := make()) as ear:
        await begin_endless(executor, data)
        await ear.heard(m.MiniBatchEnd)
        await executor.close()
        await ear.ended.wait()
        with pytest.raises(HostError):
            await executor.submit(data.spec(SHORT), 2)
        await executor.close()
    assert isinstance(ear.reports[-1], m.Lost)
    assert [isinstance(report, m.LAST) for report in ear.reports].count(True) == 1


# ── an executor that keeps little of it ─────────────────────────────────────────────────────────
async def until_completed(executor: Executor, ear: Ear, memory: Recollection) -> m.Completed:
    """Submit again until it is completed, as a daemon does that remembers what `memory` does."""
    while not isinstance(memory.last, m.Completed):
        memory.again()
        try:
            await executor.submit(memory.spec, memory.attempt, memory.checkpoints)
        except HostError:
            continue
        await ear.last(attempt=memory.attempt)
    return memory.last


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_an_executor_drops_doubles_delays_or_loses_the_bytes_are_the_same(
    tmp_path: Path, seed: int
) -> None:
    memory = Recollection(first=material(tmp_path).spec(SHORT | {"epochs": 25}, checkpoint_s=0.0))
    async with listening(quiet := InProcessExecutor()) as ear:
        await quiet.submit(memory.first, 1)
        whole = await ear.completed()
    faulty = Faulty(InProcessExecutor(), seed)
    async with listening(faulty) as ear:
        ear.on_report = memory.take
        assert (await until_completed(faulty, ear, memory)).sha256 == whole.sha256
    assert {"loses an attempt", "tells twice", "tells late", "drops progress"} <= set(faulty.faults)
    late = [each for each in ear.reports if each.attempt < memory.attempt]
    assert late
