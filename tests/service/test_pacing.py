"""The duty cycle in made-up time: what is owed for what was worked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from finetuned.service.pacing import CREDIT_S, WORTH_S, Duty


@dataclass
class Clock:
    """Seconds that pass when they are told to, and those of the processor among them."""

    now: float = 100.0
    computed: float = 5.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    def processor(self) -> float:
        """Return the processor's seconds."""
        return self.computed


def paced(share: float) -> tuple[Duty, Clock]:
    clock = Clock()
    duty = Duty(clock, clock.processor)
    duty.set(share)
    return duty, clock


def work(
    duty: Duty, clock: Clock, seconds: float, *, computed: float | None = None, on_cpu: bool = True
) -> float:
    """Work, and return the rest that is due then."""
    clock.now += seconds
    clock.computed += seconds if computed is None else computed
    duty.worked(on_cpu=on_cpu)
    return duty.rest_s


def rest(duty: Duty, clock: Clock, seconds: float) -> float:
    """Rest, and return what is still due."""
    clock.now += seconds
    duty.rested()
    return duty.rest_s


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.01])
@pytest.mark.parametrize("step_s", [0.0001, 0.01, 1.0])
@pytest.mark.parametrize("oversleep_s", [0.0, 0.004])
def test_the_share_of_work_is_the_duty_however_long_a_step_is_and_however_badly_it_sleeps(
    share: float, step_s: float, oversleep_s: float
) -> None:
    duty, clock = paced(share)
    chance = np.random.default_rng(1)
    began, worked = clock.now, 0.0
    for _ in range(int(30 / step_s**0.5)):
        worked += step_s
        if (due := work(duty, clock, step_s)) > 0:
            rest(duty, clock, due + chance.uniform(0, oversleep_s))
    assert worked / (clock.now - began) == pytest.approx(share, rel=0.1)


def test_a_rest_is_due_when_it_is_worth_a_sleep() -> None:
    duty, clock = paced(0.5)
    assert work(duty, clock, 0.6 * WORTH_S) == 0
    assert work(duty, clock, 0.6 * WORTH_S) == pytest.approx(1.2 * WORTH_S)


def test_a_machine_that_stood_still_while_it_rested_is_not_worked_off() -> None:
    duty, clock = paced(0.5)
    work(duty, clock, 1.0)
    assert rest(duty, clock, 3600.0) == 0
    assert work(duty, clock, 1.0) == pytest.approx(1.0 - CREDIT_S)


def test_a_higher_duty_takes_from_what_is_owed_and_a_lower_one_adds_nothing_to_it() -> None:
    duty, clock = paced(0.25)
    assert work(duty, clock, 1.0) == pytest.approx(3.0)
    assert rest(duty, clock, 1.5) == pytest.approx(1.5)
    duty.set(0.1)
    assert duty.rest_s == pytest.approx(1.5)
    duty.set(0.5)
    assert duty.rest_s == pytest.approx(1.5 / 9)
    duty.set(1.0)
    assert duty.rest_s == 0


def test_who_begins_owes_nothing_and_what_was_before_is_neither_work_nor_rest() -> None:
    duty, clock = paced(0.5)
    work(duty, clock, 1.0)
    clock.now += 50
    duty.begin()
    assert duty.rest_s == 0
    assert work(duty, clock, 2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("computed_s", "on_cpu", "due_s"),
    [(4.0, True, 4.0), (0.5, True, 0.5), (8.0, True, 4.0), (0.5, False, 4.0)],
    ids=["alone", "stood still, or others had the processor", "two threads", "waited for an accelerator"],
)
def test_work_is_the_processors_time_and_no_more_than_passed_but_on_an_accelerator_all_that_passed(
    *, computed_s: float, on_cpu: bool, due_s: float
) -> None:
    duty, clock = paced(0.5)
    clock.computed += 60
    duty.begin()
    assert work(duty, clock, 4.0, computed=computed_s, on_cpu=on_cpu) == pytest.approx(due_s)


def test_the_processors_time_in_a_rest_is_not_that_of_the_next_work() -> None:
    duty, clock = paced(0.5)
    clock.computed += work(duty, clock, 1.0)
    assert rest(duty, clock, 1.0) == 0
    assert work(duty, clock, 1.0, computed=0.25) == pytest.approx(0.25)
