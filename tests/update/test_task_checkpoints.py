from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import builders
from finetuned.errors import CheckpointError, ParameterError, StateError
from finetuned.states import TaskState
from finetuned.update import identity
from finetuned.update.task import UpdateTask
from tasks import BATCH, BEGIN, DATA, FEATURES, MODEL, SHORT, TOLD, Listener, made, undisturbed

if TYPE_CHECKING:
    from finetuned.update.events import UpdateContext


def checkpoints(**options: Any) -> list[bytes]:  # noqa: ANN401 - UpdateTask's own
    """Return a checkpoint of each event of a task that runs to its end."""
    found: list[bytes] = []
    made(Listener(lambda context: found.append(context.task.checkpoint())), **options).resume()
    return found


@pytest.mark.parametrize("event", range(len(TOLD)))
def test_a_task_goes_on_from_a_checkpoint_with_the_event_that_follows(event: int) -> None:
    listener = Listener()
    task = made(listener, resume_from=checkpoints()[event])
    assert task.state is TaskState.suspended
    task.resume()
    assert listener.events == [BEGIN, *TOLD[event + 1 :]]
    assert len(listener.ended) == 1
    assert task.model.encode() == undisturbed()


def test_a_suspended_task_has_a_checkpoint_before_its_first_event_too() -> None:
    task = made(resume_from=made().checkpoint())
    task.resume()
    assert task.model.encode() == undisturbed()


def test_a_learning_rate_just_asked_for_is_in_the_checkpoint() -> None:
    def react(context: UpdateContext) -> None:
        context.task.resume_with_parameters({"learningRate": 0.5})
        kept.append(context.task.checkpoint())

    kept: list[bytes] = []
    asked = made(Listener(react, events=BATCH))
    asked.resume()
    resumed = made(resume_from=kept[0])
    assert resumed.parameters["learningRate"] == 0.5
    resumed.resume()
    assert resumed.model.encode() == asked.model.encode() != undisturbed()


@pytest.mark.parametrize(
    "other",
    [
        {"model": builders.dense_classifier(seed=1)},
        {"training_data": DATA | {"features": FEATURES[::-1]}},
        {"parameters": SHORT | {"learningRate": 0.5}},
        {"seed": 1},
        {"threads": 2},
    ],
)
def test_a_checkpoint_of_another_task_is_refused(other: dict[str, Any]) -> None:
    given = {"model": MODEL, "training_data": DATA, "parameters": SHORT, "resume_from": checkpoints()[3]}
    with pytest.raises(CheckpointError, match="another task"):
        UpdateTask(**{**given, **other})


def test_a_checkpoint_of_another_version_of_finetuned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = made().checkpoint()
    made(resume_from=kept)
    monkeypatch.setattr(identity, "__version__", "99")
    with pytest.raises(CheckpointError, match="another task"):
        made(resume_from=kept)


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", True, None])
def test_threads_that_cannot_be_are_refused_at_once(threads: Any) -> None:  # noqa: ANN401 - wrong on purpose
    with pytest.raises(ParameterError, match="threads is"):
        made(threads=threads)


def test_a_task_that_has_ended_has_no_checkpoint() -> None:
    task = made()
    task.resume()
    with pytest.raises(StateError, match="completed"):
        task.checkpoint()
