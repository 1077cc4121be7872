"""What people ask of tasks: no request is lost, whatever the task is about to do."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benches import a_bench
from fakes import ENDINGS, GOES_ON, STANDS
from finetuned.errors import ParameterError, RequestError
from finetuned.service.messages import (
    Adjust,
    Adjustment,
    Cancel,
    Cancelled,
    Pace,
    Pause,
    Release,
    Released,
    Resume,
)
from finetuned.service.saving import save
from finetuned.states import TaskState
from service.samples import until

if TYPE_CHECKING:
    from benches import Bench
    from fakes import ScriptedRun

FULL = Pace(duty=1.0)


async def test_a_person_holds_a_task_lets_it_go_on_and_gives_it_another_learning_rate(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        await bench.tasks.pause(task)
        run.say(STANDS)
        assert (await bench.ear.event("paused"))["reasons"] == ["user"]
        state = await bench.ear.state(f"task/{task}", state="suspended", pace="paused")
        assert state["reasons"] == ["user"]
        with pytest.raises(ParameterError, match="epochs cannot change"):
            await bench.tasks.resume(task, {"epochs": 3})
        await bench.tasks.resume(task, {"learningRate": 0.5})
        await run.told(FULL, Pause(), Adjust(parameters={"learningRate": 0.5}), FULL, Resume())
        run.say(GOES_ON)
        assert "reasons" not in await bench.ear.event("resumed")
        await bench.ear.state(f"task/{task}", state="running", reasons=[])


async def test_a_task_that_is_paused_is_not_among_those_that_run_though_its_worker_is_there(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        shown: list[tuple[str, ...]] = []
        bench.tasks.showcase.on_change = lambda: shown.append(bench.tasks.running)
        task, run = await bench.started()
        await bench.tasks.pause(task)
        run.say(STANDS)
        await until(lambda: bench.tasks.running == () == shown[-1])
        assert (bench.tasks.queued, bench.executor.runs) == (0, [run])
        await bench.tasks.resume(task, {})
        run.say(GOES_ON)
        await until(lambda: bench.tasks.running == (task,) == shown[-1])


async def test_a_queued_task_that_a_person_holds_lets_others_pass_and_starts_when_it_is_let_go(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.feel(90)
        first = await bench.train()
        await bench.tasks.pause(first)
        await bench.feel(40, looks=12)
        second, run = await bench.started("ann")
        assert run.spec.task == second
        await bench.tasks.resume(first, {"learningRate": 0.5})
        assert [each["type"] for each in await bench.outcomes(first)] == ["paused"], "it waits"
        assert len(bench.executor.runs) == 1, "one runs at a time"
        run.complete()
        let_go = (await bench.executor.run(2)).spec
        assert (let_go.task, let_go.adjustments) == (first, (Adjustment(learning_rate=0.5),))
        assert [each["type"] for each in await bench.outcomes(first)] == ["paused", "resumed"]


async def test_what_a_sensor_says_of_a_queued_task_never_takes_back_what_a_person_said(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        await bench.feel(90)
        task = await bench.train()
        await bench.ear.state(f"task/{task}", reasons=["queued", "thermal"])
        await bench.tasks.pause(task)
        other = await bench.train("ann")
        await bench.ear.state(f"task/{other}", reasons=["queued", "thermal"])
        await bench.feel(40, looks=12)
        await bench.executor.run()
        row = await bench.row(task)
        assert "user" in row.reasons
        assert bench.tasks.running == (other,)


@pytest.mark.parametrize("moment", ["decoding", "coming up"])
async def test_a_pause_while_a_task_starts_is_not_lost(tmp_path: Path, moment: str) -> None:
    async with a_bench(tmp_path) as bench:
        gate = bench.inputs.opens if moment == "decoding" else bench.executor.opens
        gate.clear()
        task = await bench.train()
        await (bench.inputs.asked.wait() if moment == "decoding" else bench.executor.asked())
        pausing = asyncio.create_task(bench.tasks.pause(task))
        if moment == "decoding":
            await pausing
        gate.set()
        if moment == "coming up":
            run = await bench.executor.run()
            await until(lambda: Pause() in run.commands)
            run.say(STANDS)
        paused = await bench.ear.event("paused")
        assert (await pausing).id == task
        assert paused["reasons"] == ["user"]
        await bench.tasks.resume(task, {})
        run = await bench.executor.run()
        run.say(GOES_ON)
        await bench.ear.event("resumed")
        run.complete()
        await bench.ear.event("completed")
        assert len(bench.executor.runs) == 1


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_request_that_meets_the_very_start_of_an_attempt_is_not_lost(
    tmp_path: Path, verb: str
) -> None:
    """It has read that the task waits when the attempt begins."""
    async with a_bench(tmp_path) as bench:
        bench.inputs.opens.clear()
        task = await bench.train()
        await bench.inputs.asked.wait()
        gate = threading.Event()
        holding = asyncio.create_task(bench.desk.ledger.run(lambda _: gate.wait()))
        asking = asyncio.create_task(getattr(bench.tasks, verb)(task))
        await asyncio.sleep(0)  # both have asked the ledger, which is busy
        bench.inputs.opens.set()
        for _ in range(10):
            await asyncio.sleep(0)  # and now the attempt has asked it to begin, if it may
        gate.set()
        await holding
        if verb == "cancel":
            await until(lambda: asking.done() or bench.executor.runs)
            if bench.executor.runs:
                await bench.executor.runs[0].told(FULL, Cancel())
                bench.executor.runs[0].say(Cancelled())
            await bench.ear.event("cancelled")
        else:
            await until(lambda: asking.done() or bench.executor.runs)
            if bench.executor.runs:
                await bench.executor.runs[0].told(FULL, Pause())
                bench.executor.runs[0].say(STANDS)
            assert (await bench.ear.event("paused"))["reasons"] == ["user"]
        await asking


async def test_a_worker_that_is_lost_while_a_person_holds_its_task_is_not_replaced_before_they_let_it_go(
    tmp_path: Path,
) -> None:
    async with a_bench(tmp_path) as bench:
        held, standing = await bench.started()
        await bench.tasks.pause(held)
        standing.say(STANDS)
        await bench.ear.event("paused")
        standing.die()
        other, busy = await bench.started("ann")
        assert busy.spec.task == other
        await bench.ear.state(f"task/{held}", reasons=["queued", "user"])
        await bench.tasks.pause(other)
        busy.die()  # before it stands
        await bench.ear.state(f"task/{other}", reasons=["queued", "user"])
        await bench.tasks.resume(held, {})
        assert (await bench.executor.run(3)).spec.task == held


async def test_a_task_that_has_ended_takes_no_request(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.complete()
        await bench.is_clear(task)
        for asking in (bench.tasks.pause(task), bench.tasks.resume(task, {}), bench.tasks.cancel(task)):
            with pytest.raises(RequestError, match="has ended: completed"):
                await asking
        with pytest.raises(RequestError, match="there is no task nobody"):
            await bench.tasks.cancel("nobody")


async def test_a_second_task_of_a_model_and_user_is_refused_while_one_is_alive(tmp_path: Path) -> None:
    async with a_bench(tmp_path) as bench:
        task, _ = await bench.started()
        with pytest.raises(RequestError, match=f"task {task} of model gestures is running"):
            await bench.train()
        assert len(await bench.tasks.all_alive()) == 1


async def test_a_request_during_a_save_is_answered_by_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saving, gate = asyncio.Event(), asyncio.Event()

    async def slowly(*args: object) -> object:
        saving.set()
        await gate.wait()
        return await save(*args)  # type: ignore[arg-type]  # whatever it is called with

    monkeypatch.setattr("finetuned.service.ending.save", slowly)
    async with a_bench(tmp_path) as bench:
        task, run = await bench.started()
        run.complete()
        await saving.wait()
        asking = [asyncio.create_task(each(task)) for each in (bench.tasks.cancel, bench.tasks.pause)]
        await bench.row(task)  # the ledger has answered them
        gate.set()
        for answer in asking:
            with pytest.raises(RequestError, match="has ended: completed"):
                await answer
        assert [each["type"] for each in await bench.outcomes(task)] == [
            "modelSaved",
            "promoted",
            "completed",
        ]


# ── in any order ────────────────────────────────────────────────────────────────────────────────
DEEDS = st.lists(
    st.tuples(st.sampled_from(["pause", "resume", "hot", "cool", "die", "restart"]), st.integers(0, 30)),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(deeds=DEEDS, cancelled=st.booleans())
def test_in_whatever_order_all_this_happens_the_last_word_of_a_person_counts_and_the_task_has_one_end(
    deeds: list[tuple[str, int]], *, cancelled: bool
) -> None:
    """Each deed comes so many turns of the loop after the one before."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_live_through(Path(folder), deeds, cancelled=cancelled))


async def _live_through(folder: Path, deeds: list[tuple[str, int]], *, cancelled: bool) -> None:
    async with a_bench(folder) as bench, asyncio.TaskGroup() as group:
        workers = Obedience(bench)
        obeying = group.create_task(workers.run())
        task, held, deaths = await bench.train(), False, 0
        for deed, turns in deeds:
            for _ in range(turns):
                await asyncio.sleep(0)
            deaths += deed == "die"
            held = {"pause": True, "resume": False}.get(deed, held)
            await _do(bench, task, deed if deed != "die" or deaths <= 2 else "")
        await bench.feel(40, looks=12)
        if held:
            await until(lambda: not workers.going())
            row = await bench.row(task)
            assert "user" in row.reasons or row.state is TaskState.running  # it is about to stand
        if cancelled:
            await bench.tasks.cancel(task)
            await bench.ear.event("cancelled")
        else:
            await bench.tasks.resume(task, {})
            await until(workers.going)
            bench.executor.runs[-1].complete()
            await bench.ear.event("completed")
        await bench.is_clear(task)
        ends = [each["type"] for each in await bench.outcomes(task) if each["type"] in ENDINGS]
        assert ends == ["cancelled" if cancelled else "completed"]
        obeying.cancel()


async def _do(bench: Bench, task: str, deed: str) -> None:
    if deed == "pause":
        await bench.tasks.pause(task)
    elif deed == "resume":
        await bench.tasks.resume(task, {})
    elif deed == "hot":
        await bench.feel(90)
    elif deed == "cool":
        await bench.feel(40, looks=12)
    elif deed == "die" and bench.executor.runs:
        bench.executor.runs[-1].die()
    elif deed == "restart":
        await bench.stop()
        await bench.tasks.recover()
        bench.begin()


class Obedience:
    """Every worker does what it is told."""

    def __init__(self, bench: Bench) -> None:
        """Nobody has been told anything."""
        self._bench = bench
        self._done: dict[ScriptedRun, int] = {}

    async def run(self) -> None:
        """Answer every command of every worker, for ever."""
        answers = {Pause: STANDS, Resume: GOES_ON, Cancel: Cancelled(), Release: Released()}
        while True:
            for run in self._bench.executor.runs:
                for command in run.commands[self._done.get(run, 0) :]:
                    if answer := answers.get(type(command)):
                        run.say(answer)
                self._done[run] = len(run.commands)
            await asyncio.sleep(0)

    def going(self) -> bool:
        """Say whether a worker is at work, has answered everything, and is not held."""
        if not self._bench.tasks.running or not self._bench.executor.runs:
            return False
        run = self._bench.executor.runs[-1]
        holds = [each for each in run.commands if isinstance(each, Pause | Resume)]
        return 0 < len(run.commands) == self._done.get(run) and not isinstance(
            next(reversed(holds), None), Pause
        )
