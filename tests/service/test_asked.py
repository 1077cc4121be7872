"""What a task is asked to do: the budget's verdict and a person's word, joined; and what may be asked for."""

from __future__ import annotations

import msgspec
import pytest

from fakes import INFO
from finetuned.errors import ParameterError
from finetuned.policy.budget import Cause, Pace, Verdict
from finetuned.service.asked import asked_adjustment, asked_parameters, wanted
from finetuned.service.messages import ParameterInfo

HOT = Cause(reason="thermal", reading=85.0, trip=80.0)
NEVER = Cause(reason="mode")


@pytest.mark.parametrize("pace", [Pace.paused, Pace.released])
@pytest.mark.parametrize("by_user", [False, True])
def test_whoever_wants_a_task_held_holds_it(pace: Pace, *, by_user: bool) -> None:
    found = wanted(Verdict(pace=pace, duty=0.0, causes=(HOT,)), by_user=by_user)
    assert (found.held, found.pace, found.duty) == (True, Pace.paused, 0.0)
    assert found.reasons == (("thermal", "user") if by_user else ("thermal",))
    assert found.measured == HOT


@pytest.mark.parametrize(
    ("verdict", "most", "pace", "duty"),
    [
        (Verdict(), 1.0, Pace.full, 1.0),
        (Verdict(), 0.5, Pace.slow, 0.5),
        (Verdict(pace=Pace.slow, duty=0.25, causes=(HOT,)), 0.5, Pace.slow, 0.25),
        (Verdict(pace=Pace.cpu, duty=1.0, causes=(HOT,)), 1.0, Pace.cpu, 1.0),
        (Verdict(pace=Pace.slow, duty=0.5, causes=(HOT,)), 0.5, Pace.slow, 0.5),
    ],
)
def test_a_task_that_nobody_holds_goes_at_the_lower_duty(
    verdict: Verdict, most: float, pace: Pace, duty: float
) -> None:
    found = wanted(verdict, by_user=False, most=most)
    assert (found.held, found.pace, found.duty) == (False, pace, duty)
    assert found.reasons == verdict.reasons
    held = wanted(verdict, by_user=True, most=most)
    assert (held.held, held.duty, held.reasons[-1]) == (True, 0.0, "user")


def test_a_cause_without_a_reading_is_not_what_was_measured() -> None:
    found = wanted(Verdict(pace=Pace.paused, duty=0.0, causes=(NEVER, HOT)), by_user=False)
    assert found.measured == HOT
    assert wanted(Verdict(), by_user=True).measured == Cause(reason="")


def test_a_person_and_the_mode_are_two_reasons() -> None:
    found = wanted(Verdict(pace=Pace.paused, duty=0.0, causes=(NEVER,)), by_user=True)
    assert found.reasons == ("mode", "user")


def test_parameters_are_read_and_checked_by_what_the_ledger_knows_of_the_model() -> None:
    assert asked_parameters(INFO, {"epochs": "7", "learningRate": 1}) == {"epochs": 7, "learningRate": 1.0}
    with pytest.raises(ParameterError, match="epochs=1001 is not allowed by the model; allowed: 1 to 1000"):
        asked_parameters(INFO, {"epochs": 1001})
    with pytest.raises(ParameterError, match="no parameter 'momentum'"):
        asked_parameters(INFO, {"momentum": 0.9})


def test_in_a_pipeline_a_name_may_be_scoped_and_of_several_tables_the_later_counts() -> None:
    info = msgspec.structs.replace(
        INFO,
        models=(
            {"name": "eyes", "kind": "neuralNetwork"},
            {"name": "kNN", "kind": "kNearestNeighborsClassifier"},
        ),
        parameters={"numberOfNeighbors": ParameterInfo(default=3, set=(1, 3, 5))},
    )
    asked = {"kNN.numberOfNeighbors": 9}, {"numberOfNeighbors": 5}
    assert asked_parameters(info, *asked) == {"numberOfNeighbors": 5}
    with pytest.raises(
        ParameterError, match="numberOfNeighbors=9 is not allowed by the model; allowed: 1, 3, 5"
    ):
        asked_parameters(info, *asked[::-1])
    with pytest.raises(ParameterError, match="has no parameter 'learningRate'; it has numberOfNeighbors"):
        asked_adjustment(info, {"learningRate": 0.1})


def test_only_the_learning_rate_may_change_in_a_task_that_runs_and_only_within_its_range() -> None:
    assert asked_adjustment(INFO, {"learningRate": "0.5"}) == {"learningRate": 0.5}
    with pytest.raises(ParameterError, match="epochs cannot change while a task runs; learningRate can"):
        asked_adjustment(INFO, {"epochs": 3})
    with pytest.raises(ParameterError, match="0 to 1"):
        asked_adjustment(INFO, {"learningRate": 2})
