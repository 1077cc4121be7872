from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import networks as n
from finetuned.errors import CheckpointError
from finetuned.spec import codec
from finetuned.update import checkpoint
from finetuned.update.checkpoint import Position, Snapshot
from finetuned.update.features import Encoded
from finetuned.update.network import Epoch, MiniBatch, NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SAMPLES = 10
DATA = Encoded(features=n.numbers(SAMPLES, 4), targets=(np.arange(SAMPLES) % 3).astype(np.int64))
PLAIN = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}
EVENTS = 3 * (SAMPLES + 1)  # at most: mini-batches of one, and the epoch's end


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is trained and how."""

    optimizer: str = "sgdOptimizer"
    asked: Mapping[str, object]

    def fresh(self) -> NetworkUpdate:
        """Return the update as a new process would make it."""
        model = codec.decode(builders.dense_classifier(optimizer=self.optimizer))
        return NetworkUpdate(model, resolve(update_of(model), {**PLAIN, **self.asked}, seed=5))


SGD, MOMENTUM = Case(asked={}), Case(asked={"momentum": 0.9})
ADAM = Case(optimizer="adamOptimizer", asked={"learningRate": 0.01})


def carried(update: NetworkUpdate) -> Snapshot:
    """Return the snapshot as it comes back from a disk."""
    identity = update.identity(DATA)
    return checkpoint.decode(checkpoint.encode(update.snapshot(), identity), identity)


def interrupted(case: Case, boundaries: list[int]) -> tuple[list[MiniBatch | Epoch], NetworkUpdate]:
    """Run, and at each boundary (counted in events) go on in a fresh update; return all events and the last update."""
    update = case.fresh()
    steps, events = update.steps(DATA), list[MiniBatch | Epoch]()
    for boundary in boundaries:
        events += [next(steps) for _ in range(boundary - len(events))]
        kept, update = carried(update), case.fresh()
        update.restore(kept)
        steps = update.steps(DATA, kept.position)
    return [*events, *steps], update


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from([SGD, MOMENTUM, ADAM]),
    asked=st.fixed_dictionaries(
        {"miniBatchSize": st.sampled_from([1, 4, 5, 10, 100]), "shuffle": st.booleans()}
    ),
    boundaries=st.lists(st.integers(0, EVENTS), min_size=1, max_size=4).map(sorted),
)
def test_an_interrupted_training_ends_in_the_bytes_and_tells_the_losses_of_an_undisturbed_one(
    case: Case, asked: dict[str, object], boundaries: list[int]
) -> None:
    case = Case(optimizer=case.optimizer, asked={**case.asked, **asked})
    undisturbed = case.fresh()
    events = list(undisturbed.steps(DATA))
    found, update = interrupted(case, [min(boundary, len(events)) for boundary in boundaries])
    assert found == events
    assert update.encode() == undisturbed.encode()


def test_the_position_is_that_after_the_event_told_last() -> None:
    update = SGD.fresh()
    told = [(event, update.position) for event in update.steps(DATA)]
    events, positions = [event for event, _ in told], [Position(), *(position for _, position in told)]
    places = [(position.epoch, position.batch, position.step) for position in positions]
    first = [(0, 0, 0), (0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 0, 3), (1, 1, 4)]
    assert places[: len(first)] == first
    assert places[-1] == (3, 0, 9)
    one, two, last = events[:3]
    assert positions[3].total == pytest.approx(4 * one.loss + 4 * two.loss + 2 * last.loss)
    assert positions[3].last == last.loss
    assert positions[4].total == 0.0


def test_a_learning_rate_that_was_changed_on_the_way_comes_back() -> None:
    def changed(update: NetworkUpdate) -> NetworkUpdate:
        steps = update.steps(DATA)
        next(steps)
        update.learning_rate = 0.02
        next(steps)
        return update

    undisturbed, stopped, resumed = changed(SGD.fresh()), changed(SGD.fresh()), SGD.fresh()
    list(undisturbed.steps(DATA, undisturbed.position))
    resumed.restore(carried(stopped))
    assert resumed.learning_rate == resumed.parameters["learningRate"] == 0.02
    list(resumed.steps(DATA, resumed.position))
    assert resumed.encode() == undisturbed.encode()


def test_a_snapshot_is_a_copy_and_what_is_restored_is_too() -> None:
    update = MOMENTUM.fresh()
    steps = update.steps(DATA)
    next(steps)
    kept = update.snapshot()
    before = {name: array.copy() for name, array in kept.arrays.items()}
    list(steps)
    update.restore(kept)
    list(update.steps(DATA, kept.position))
    assert all(np.array_equal(array, before[name]) for name, array in kept.arrays.items())


# ── what is refused ─────────────────────────────────────────────────────────────────────────────
def spoiled(**changes: Any) -> Snapshot:  # noqa: ANN401 - a Snapshot's own
    update = ADAM.fresh()
    next(update.steps(DATA))
    kept = update.snapshot()
    arrays = {**kept.arrays, **changes.pop("arrays", {})}
    values = {"position": kept.position, "learning_rate": kept.learning_rate, "seed": kept.seed}
    return Snapshot(arrays={n: a for n, a in arrays.items() if a is not None}, **{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 6}, "seed 6"),
        ({"arrays": {"weights": np.ones(3, np.float32)}}, r"'weights' \(3\)"),
        ({"arrays": {"optimizer.first": None}}, "'optimizer.first'"),
        ({"arrays": {"optimizer.velocity": np.ones(3, np.float32)}}, "'optimizer.velocity'"),
        ({"arrays": {"optimizer.steps": -np.ones(1, np.float32)}}, "impossible"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused_and_nothing_has_changed(
    changes: dict[str, Any], words: str
) -> None:
    update = ADAM.fresh()
    before = update.encode()
    with pytest.raises(CheckpointError, match=words):
        update.restore(spoiled(**changes))
    assert update.encode() == before
    assert update.position == Position()
    assert not any(update.snapshot().arrays["optimizer.first"])


@pytest.mark.parametrize(
    "position",
    [
        Position(epoch=3, batch=1, step=10),
        Position(epoch=4, step=12),
        Position(batch=4, step=4),
        Position(epoch=1, batch=1, step=5),
    ],
)
def test_there_is_no_going_on_from_where_the_task_never_is(position: Position) -> None:
    with pytest.raises(CheckpointError, match="there is no epoch"):
        SGD.fresh().steps(DATA, position)


# ── identity ────────────────────────────────────────────────────────────────────────────────────
def other_data() -> Encoded:
    return Encoded(features=DATA.features, targets=DATA.targets[::-1].copy())


def test_the_identity_covers_all_that_the_result_depends_on() -> None:
    model = codec.decode(builders.dense_classifier(seed=1))
    force = resolve(update_of(model), PLAIN, seed=5)
    identities = [
        SGD.fresh().identity(DATA),
        SGD.fresh().identity(other_data()),
        MOMENTUM.fresh().identity(DATA),
        Case(asked={"learningRate": 0.2}).fresh().identity(DATA),
        NetworkUpdate(model, force).identity(DATA),
        NetworkUpdate(model, force, threads=2).identity(DATA),
    ]
    assert len(set(identities)) == len(identities)


def test_the_identity_stays_while_the_task_goes_on() -> None:
    update = SGD.fresh()
    born = update.identity(DATA)
    next(update.steps(DATA))
    update.learning_rate = 0.5
    assert update.identity(DATA) == born == SGD.fresh().identity(DATA)
