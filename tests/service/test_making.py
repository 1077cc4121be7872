"""Where tasks come from: what is due, with which parameters, and which samples it never trains on."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from benches import Clock, a_desk, with_samples
from fakes import INFO, MODEL
from finetuned.errors import HostError, ParameterError, RequestError
from finetuned.policy.trigger import Rule
from finetuned.service.ledger_models import ModelRow, add_model
from finetuned.service.ledger_samples import accept_batch, list_samples
from finetuned.service.ledger_tasks import TaskRow, alive_tasks, transition
from finetuned.service.making import DISK_S, Maker, Settings
from finetuned.states import Verb
from ledgers import a_sample, at, cancelled, moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from finetuned.service.desk import Desk

RULE = Rule(min_new_samples=10, quiet_s=5.0, max_wait_s=3600.0)
START_S = 1_800_000_000.0
"""Sample n of the builders is accepted n seconds after this."""


def a_maker(desk: Desk, *, held_out: float = 0.2, **parameters: float) -> Maker:
    return Maker(desk, Settings(rule=RULE, held_out=held_out, parameters={MODEL: parameters}))


async def ended(desk: Desk, task: TaskRow) -> None:
    """End the task, so that the next one may come."""
    for verb, outcomes in ((Verb.cancel, []), (Verb.fail, [cancelled(task.id)])):
        await desk.ledger.run(transition, task.id, verb, moment=moment(99), outcomes=outcomes)


async def sides(desk: Desk) -> dict[str, bool]:
    """Return which samples are held out, by digest."""
    return {row.digest: row.held_out for row in await desk.ledger.run(list_samples, MODEL, "")}


# ── due ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("count", "now", "made", "look"),
    [
        (10, 15, 1, math.inf),
        (10, 12, 0, 3.0),
        (9, 100, 0, 3501.0),
        (9, 3601, 1, math.inf),
        (0, 9999, 0, math.inf),
        (10, -50, 0, 5.0),  # the clock was put back
    ],
    ids=["enough, and quiet", "not quiet yet", "too few", "waited for long enough", "none", "in the future"],
)
async def test_a_task_is_due_when_enough_is_new_or_has_waited_for_long_enough(
    tmp_path: Path, count: int, now: float, made: int, look: float
) -> None:
    async with a_desk(tmp_path, Clock(START_S + now)) as desk:
        await with_samples(desk, "", count=count)
        tasks, next_look = await a_maker(desk).due()
        assert len(tasks) == made
        assert next_look == pytest.approx(look)
        assert list(await desk.ledger.run(alive_tasks)) == tasks


async def test_a_model_has_a_trigger_of_its_own_which_may_want_samples_of_every_label(tmp_path: Path) -> None:
    async with a_desk(tmp_path, Clock(START_S + 60)) as desk:
        await with_samples(desk, "", count=10)  # all of one label; the model has two
        patient = replace(RULE, min_per_label=2)
        maker = Maker(desk, Settings(rule=RULE, rules={MODEL: patient}))
        assert await maker.due() == ([], math.inf)
        others = [replace(a_sample(number), label="✋", accepted_s=50.0) for number in (11, 12)]
        await desk.ledger.run(accept_batch, others[:1])
        assert await maker.due() == ([], math.inf)
        await desk.ledger.run(accept_batch, others[1:])
        assert len((await maker.due())[0]) == 1


async def test_of_a_model_of_open_labels_only_those_count_that_have_samples(tmp_path: Path) -> None:
    async with a_desk(tmp_path, Clock(START_S + 60)) as desk:
        await with_samples(desk, "", count=10)
        info = msgspec.structs.replace(INFO, open_labels=True, label_kind="string")
        told = msgspec.json.encode(info).decode()
        await desk.ledger.run(lambda db: db.execute("UPDATE models SET info = ?", (told,)) and None)
        maker = Maker(desk, Settings(rule=replace(RULE, min_per_label=2)))
        await desk.ledger.run(accept_batch, [replace(a_sample(11), label="new", accepted_s=50.0)])
        assert await maker.due() == ([], math.inf)
        await desk.ledger.run(accept_batch, [replace(a_sample(12), label="new", accepted_s=50.0)])
        assert len((await maker.due())[0]) == 1


async def test_more_labels_than_the_daemon_takes_are_too_many_for_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetuned.service.making.MOST_LABELS", 1)
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "", count=1)
        await desk.ledger.run(accept_batch, [replace(a_sample(2), label="✋")])
        with pytest.raises(RequestError, match="have 2 labels, and the daemon takes 1; forget some"):
            await a_maker(desk).make(MODEL, "", {})


async def test_a_wait_goes_on_after_a_restart_whatever_the_wall_clock_says(tmp_path: Path) -> None:
    """It is reckoned in lived seconds; the wall clock is a year off."""
    async with a_desk(tmp_path, Clock(START_S + 3000)) as desk:
        await with_samples(desk, "", count=1)
        assert (await a_maker(desk).due())[1] == pytest.approx(601.0)
        astray = replace(desk, seconds=lambda: START_S - 3e7, now=lambda: at(-3e7), lived=lambda: 3600.5)
        assert (await a_maker(astray).due())[1] == pytest.approx(0.5)
        later = replace(astray, lived=lambda: 3601.0)
        assert len((await a_maker(later).due())[0]) == 1


async def test_each_user_has_tasks_of_their_own_and_one_at_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_desk(tmp_path, Clock(START_S + 60)) as desk:
        await with_samples(desk, "", "ann")
        maker = a_maker(desk)
        tasks, _ = await maker.due()
        assert sorted((row.model, row.user) for row in tasks) == [(MODEL, ""), (MODEL, "ann")]
        await desk.ledger.run(accept_batch, [a_sample(number) for number in range(11, 31)])
        assert await maker.due() == ([], math.inf)
        assert caplog.records == [], "that is nothing to warn of"
        await ended(desk, next(row for row in tasks if not row.user))
        ((again,), _) = await maker.due()
        assert again.user == ""


async def test_a_model_that_cannot_be_trained_is_named_once_and_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = msgspec.structs.replace(INFO, updatable=False, reasons=("it has no loss layer",))
    async with a_desk(tmp_path, Clock(START_S + 60)) as desk:
        await with_samples(desk, "ann")
        row = ModelRow(name="broken", digest="c" * 64, info=broken, added_at=at(0))
        await desk.ledger.run(add_model, row)
        samples = [replace(a_sample(number), model="broken") for number in range(1, 11)]
        await desk.ledger.run(accept_batch, samples)
        maker = a_maker(desk)
        made = [row.model for _ in range(3) for row in (await maker.due())[0]]
        assert made == [MODEL]
        warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert warnings == ["no task for model broken: model broken cannot be updated: it has no loss layer"]


async def test_a_disk_that_refuses_a_task_is_asked_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_desk(tmp_path, Clock(START_S + 60)) as desk:
        await with_samples(desk, "", "ann")
        maker, whole, refusals = a_maker(desk), desk.ledger.run, iter([HostError("the disk is full")])

        async def full(function: Callable[..., object], *args: object, **kwargs: object) -> object:
            if function.__name__ == "_create" and (refusal := next(refusals, None)):
                raise refusal
            return await whole(function, *args, **kwargs)

        monkeypatch.setattr(desk.ledger, "run", full)
        made, look = await maker.due()
        assert (len(made), look) == (1, DISK_S), "the other user's was not refused"
        assert "the disk is full" in caplog.text
        made, look = await maker.due()
        assert (len(made), look) == (1, math.inf)


# ── parameters ──────────────────────────────────────────────────────────────────────────────────
async def test_what_is_asked_for_goes_before_what_is_configured_and_both_are_checked(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "", "ann", "bob")
        maker = a_maker(desk, epochs=30, learningRate=0.5)
        assert (await maker.make(MODEL, "", {"epochs": "7"})).parameters == {"epochs": 7, "learningRate": 0.5}
        refused: list[tuple[dict[str, object], str]] = [
            ({"epochs": 0}, "epochs=0 is not allowed.*1 to 1000"),
            ({"epocs": 3}, "no parameter 'epocs'.*learningRate, epochs"),
            ({"learningRate": "fast"}, "not a finite number"),
        ]
        for parameters, complaint in refused:
            with pytest.raises(ParameterError, match=complaint):
                await maker.make(MODEL, "ann", parameters)
        with pytest.raises(ParameterError, match="1 to 1000"):
            await a_maker(desk, epochs=5000).make(MODEL, "ann", {})
        assert len(await desk.ledger.run(alive_tasks)) == 1


async def test_what_cannot_be_trained_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "")
        maker = a_maker(desk)
        task = await maker.make(MODEL, "", {})
        before = await sides(desk)
        for model, user, complaint in [
            ("faces", "", "no model named faces; registered are: gestures"),
            (MODEL, "bob", r"\(or this user of it\) has no samples"),
            (MODEL, "", f"task {task.id} of model gestures is suspended"),
        ]:
            with pytest.raises(RequestError, match=complaint):
                await maker.make(model, user, {})
        assert await sides(desk) == before


# ── held out ────────────────────────────────────────────────────────────────────────────────────
async def test_a_sample_keeps_its_side_for_ever_whatever_comes_after_it(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "", count=20)
        maker = a_maker(desk)
        await ended(desk, await maker.make(MODEL, "", {}))
        first = await sides(desk)
        assert sum(first.values()) == 4
        more = [replace(a_sample(number), digest=f"{number:064x}") for number in range(21, 61)]
        await desk.ledger.run(accept_batch, more)
        await maker.make(MODEL, "", {})
        second = await sides(desk)
        assert {digest: second[digest] for digest in first} == first
        assert sum(second.values()) == 12


async def test_a_sample_that_was_trained_on_is_not_held_out_because_it_has_another_label(
    tmp_path: Path,
) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "", count=20)
        maker = a_maker(desk)
        await ended(desk, await maker.make(MODEL, "", {}))
        before = await sides(desk)
        relabelled = [replace(a_sample(number), label="✋") for number in range(1, 21)]
        await desk.ledger.run(accept_batch, relabelled[4:14])  # 1 to 4 are held out
        await maker.make(MODEL, "", {})
        after = await sides(desk)
        assert {digest for digest, held in before.items() if held} == {f"{n:064x}" for n in range(1, 5)}
        assert after == before


async def test_few_samples_are_all_trained_on(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        await with_samples(desk, "", count=9)
        await a_maker(desk).make(MODEL, "", {})
        assert not any((await sides(desk)).values())
