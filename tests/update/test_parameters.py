from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import builders
import networks as n
from finetuned.errors import ModelError, ParameterError
from finetuned.parameters import Parameter
from finetuned.spec import author, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.parameters import ParameterKey, adjusted, allowed, resolve, update_of

if TYPE_CHECKING:
    from finetuned.spec.model import Update


def update(optimizer: str = "sgdOptimizer") -> Update:
    """Return coremltools' defaults: one-element sets for epochs (10) and batch size (8), ranges 0…1 elsewhere."""

    def narrowed(message: pb.Model) -> None:
        parameters = message.neuralNetworkClassifier.updateParams
        parameters.epochs.set.values[:] = [10]
        getattr(parameters.optimizer, optimizer).miniBatchSize.set.values[:] = [8, 16]

    data = builders.dense_classifier(optimizer=optimizer)
    return update_of(codec.decode(builders.edited(data, narrowed)))


SGD, ADAM = "sgdOptimizer", "adamOptimizer"

ACCEPTED = [
    (SGD, "learningRate", 0.5, 0.5),
    (SGD, "learningRate", "0.5", 0.5),
    (SGD, "learningRate", "1e-3", 0.001),
    (SGD, "learningRate", 1, 1.0),
    (SGD, "learningRate", 0, 0.0),
    (SGD, "learningRate", np.float32(0.25), 0.25),
    (SGD, "momentum", "0.9", 0.9),
    (SGD, "epochs", 10, 10),
    (SGD, "epochs", "10", 10),
    (SGD, "epochs", 10.0, 10),
    (SGD, "epochs", np.int64(10), 10),
    (SGD, "miniBatchSize", "16", 16),
    (SGD, "shuffle", False, False),
    (SGD, "shuffle", "no", False),
    (SGD, "shuffle", "TRUE", True),
    (SGD, "seed", -3, -3),
    (SGD, "seed", "9007199254740993", 2**53 + 1),
    (SGD, ParameterKey.learningRate, 0.25, 0.25),
    (ADAM, "beta1", 0.5, 0.5),
    (ADAM, "beta2", "0.9", 0.9),
    (ADAM, "eps", 1e-6, 1e-6),
]

REFUSED = [
    (SGD, "epochs", 11, "allowed: 10"),
    (SGD, "epochs", 0, "allowed: 10"),
    (SGD, "epochs", 10.5, "whole number"),
    (SGD, "epochs", "ten", "whole number"),
    (SGD, "epochs", True, "whole number"),
    (SGD, "epochs", None, "whole number"),
    (SGD, "epochs", float("inf"), "whole number"),
    (SGD, "miniBatchSize", 10, "allowed: 8, 16"),
    (SGD, "learningRate", 1.5, "allowed: 0 to 1"),
    (SGD, "learningRate", -0.1, "allowed: 0 to 1"),
    (SGD, "learningRate", "fast", "finite number"),
    (SGD, "learningRate", "nan", "finite number"),
    (SGD, "learningRate", float("inf"), "finite number"),
    (SGD, "learningRate", 10**400, "finite number"),
    (SGD, "learningRate", True, "finite number"),
    (SGD, "learningRate", [0.1], "finite number"),
    (SGD, "learningRate", "1_0", "finite number"),
    (SGD, "learningRate", "٣", "finite number"),
    (SGD, "epochs", "٣", "whole number"),
    (SGD, "epochs", "1_0", "whole number"),
    (SGD, "shuffle", "maybe", "true nor false"),
    (SGD, "shuffle", 1, "true nor false"),
    (SGD, "seed", 2**63, "64 bits"),
    pytest.param(SGD, "seed", 10**5000, "64 bits", id="a seed too long to print"),
    (SGD, "beta1", 0.9, "learningRate, miniBatchSize, momentum, epochs, shuffle, seed"),
    (SGD, "learningrate", 0.1, "no parameter 'learningrate'"),
    (SGD, "", 0.1, "no parameter"),
    (SGD, "weights", 0.1, "no parameter 'weights'"),
    (SGD, "numberOfNeighbors", 3, "no parameter 'numberOfNeighbors'"),
    (ADAM, "momentum", 0.9, "no parameter 'momentum'"),
    (ADAM, "beta1", 1.0, "allowed"),
    (ADAM, "beta2", 1, "allowed"),
    (ADAM, "eps", 0, "allowed: at least"),
]


@pytest.mark.parametrize(("optimizer", "name", "value", "in_force"), ACCEPTED)
def test_what_the_model_allows_is_taken(optimizer: str, name: str, value: object, in_force: object) -> None:
    found = resolve(update(optimizer), {name: value}, seed=0)[name]
    assert found == in_force
    assert type(found) is type(in_force)


@pytest.mark.parametrize(("optimizer", "name", "value", "words"), REFUSED)
def test_anything_else_is_refused_with_what_is_allowed(
    optimizer: str, name: str, value: object, words: str
) -> None:
    with pytest.raises(ParameterError, match=words) as refused:
        resolve(update(optimizer), {name: value}, seed=0)
    assert name in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("default", [math.nan, math.inf])
def test_a_default_that_is_not_finite_is_refused_unless_another_is_chosen(default: float) -> None:
    parameters = {"learningRate": Parameter(default=default)}
    odd = dataclasses.replace(update(SGD), parameters=parameters)
    with pytest.raises(ParameterError, match=f"learningRate={default} is not a finite number"):
        resolve(odd, {}, seed=0)
    assert resolve(odd, {"learningRate": "0.5"}, seed=0)["learningRate"] == 0.5


LIMITS = {
    "learningRate": (0.01, 0.5, 0.0099, 0.51),
    "momentum": (0.0, 0.9, -0.1, 0.91),
    "beta1": (0.5, 0.9, 0.4, 0.95),
    "beta2": (0.9, 0.99, 0.8, 0.999),
    "eps": (1e-8, 1e-4, 1e-9, 1e-3),
    "miniBatchSize": (2, 64, 1, 65),
    "epochs": (1, 20, 0, 21),
    "seed": (-5, 5, -6, 6),
}
"""Of every number that an optimizer has: the least and the greatest of a range, and what lies next to it."""


def limited(name: str, *, by_set: bool) -> Update:
    """Return update parameters of which one is limited by a range, or (whole numbers only) by a set of its two ends."""
    optimizer = ADAM if name in {"beta1", "beta2", "eps"} else SGD
    low, high = LIMITS[name][:2]

    def narrowed(message: pb.Model) -> None:
        parameters = message.neuralNetworkClassifier.updateParams
        owner = parameters if name in {"epochs", "seed"} else getattr(parameters.optimizer, optimizer)
        parameter = getattr(owner, name)
        parameter.Clear()
        parameter.defaultValue = low
        if by_set:
            parameter.set.values[:] = [low, high]
        else:
            parameter.range.minValue, parameter.range.maxValue = low, high

    return update_of(codec.decode(builders.edited(builders.dense_classifier(optimizer=optimizer), narrowed)))


@pytest.mark.parametrize("name", LIMITS)
def test_every_number_is_held_to_the_range_that_the_file_gives_it(name: str) -> None:
    chosen = limited(name, by_set=False)
    least, greatest, below, above = LIMITS[name]
    assert [resolve(chosen, {name: value}, seed=0)[name] for value in (least, greatest)] == [least, greatest]
    for value in (below, above):
        with pytest.raises(ParameterError, match=f"{name}.*allowed"):
            resolve(chosen, {name: value}, seed=0)


@pytest.mark.parametrize("name", ["miniBatchSize", "epochs", "seed"])
def test_every_whole_number_is_held_to_the_set_that_the_file_gives_it(name: str) -> None:
    chosen = limited(name, by_set=True)
    first, second, *_ = LIMITS[name]
    assert [resolve(chosen, {name: value}, seed=0)[name] for value in (first, second)] == [first, second]
    with pytest.raises(ParameterError, match=f"{name}.*allowed: {first}, {second}"):
        resolve(chosen, {name: first + 1}, seed=0)


def test_defaults_are_in_force_where_nothing_is_asked() -> None:
    assert resolve(update(), {}, seed=7) == {
        "learningRate": 0.01,
        "miniBatchSize": 8,
        "momentum": 0.0,
        "epochs": 10,
        "shuffle": True,
        "seed": 7,
    }


def test_absent_shuffle_is_off_and_absent_momentum_is_zero() -> None:
    message = n.trainable([n.dense(2, 3, updatable=True), n.softmax()], (3,))
    message.neuralNetwork.updateParams.ClearField("shuffle")
    force = resolve(update_of(n.decoded(message)), {}, seed=0)
    assert force["shuffle"] is False
    assert force["momentum"] == 0.0


def test_the_models_own_seed_comes_before_the_callers_and_after_the_asked_one() -> None:
    data = builders.dense_classifier(training=author.Training(seed=5))
    seeded = update_of(codec.decode(data))
    assert resolve(seeded, {}, seed=7)["seed"] == 5
    assert resolve(seeded, {"seed": 6}, seed=7)["seed"] == 6


def test_without_limits_in_the_file_any_positive_number_goes() -> None:
    message = n.trainable([n.dense(2, 3, updatable=True), n.softmax()], (3,))
    free = update_of(n.decoded(message))
    assert resolve(free, {"epochs": 1000, "learningRate": -2}, seed=0)["epochs"] == 1000
    for name in ("epochs", "miniBatchSize"):
        with pytest.raises(ParameterError, match="at least 1"):
            resolve(free, {name: 0}, seed=0)


def test_a_default_at_which_adam_would_divide_by_zero_is_refused_too() -> None:
    data = builders.dense_classifier(optimizer=ADAM)

    def spoil(message: pb.Model) -> None:
        message.neuralNetworkClassifier.updateParams.optimizer.adamOptimizer.beta1.defaultValue = 1.0

    with pytest.raises(ParameterError, match="beta1"):
        resolve(update_of(codec.decode(builders.edited(data, spoil))), {}, seed=0)


def test_only_the_learning_rate_changes_while_a_task_runs() -> None:
    assert adjusted(update(), {"learningRate": "0.5"}) == {"learningRate": 0.5}
    with pytest.raises(ParameterError, match=r"allowed: 0 to 1"):
        adjusted(update(), {"learningRate": 2})
    for optimizer in (SGD, ADAM):
        for name in (*allowed(update(optimizer)), "nonsense"):
            if name != "learningRate":
                with pytest.raises(ParameterError, match="learningRate can"):
                    adjusted(update(optimizer), {name: 0})


def test_the_allowed_parameters_are_those_of_the_optimizer() -> None:
    assert set(allowed(update(ADAM))) == {
        "learningRate",
        "miniBatchSize",
        "beta1",
        "beta2",
        "eps",
        "epochs",
        "shuffle",
        "seed",
    }


def test_keys_are_scoped_as_apple_prints_them() -> None:
    assert ParameterKey.weights.scoped("fc") == "fc.weights"
    assert ParameterKey.biases.scoped("model1").scoped("fc") == "model1.fc.biases"


def test_a_model_that_is_not_updatable_has_no_parameters() -> None:
    with pytest.raises(ModelError, match="not updatable"):
        update_of(n.decoded(n.network([n.dense(2, 3)], (3,))))
