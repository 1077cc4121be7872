"""Models made from scratch: what was given is in them, and Apple's library reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from builders import dense_classifier, dense_regressor, random_weights
from finetuned.parameters import Parameter
from finetuned.spec import author, codec
from finetuned.spec.model import InnerProduct

NUMBERS = author.ArrayInput(size=4)


def test_the_given_weights_are_in_the_file() -> None:
    given = author.Dense(name="fc", weights=random_weights(3, 4), bias=random_weights(3), updatable=True)
    network = codec.decode(author.classifier(input=NUMBERS, layers=[given], labels=["a", "b", "c"])).network
    assert network is not None
    parameters = network.layers[0].parameters
    assert isinstance(parameters, InnerProduct)
    assert parameters.bias is not None
    np.testing.assert_array_equal(codec.array(parameters.weights, (3, 4)), given.weights)
    np.testing.assert_array_equal(codec.array(parameters.bias, (3,)), given.bias)


def test_a_training_gives_ranges_to_choose_from() -> None:
    training = author.Training(
        optimizer=author.Adam(batch=author.Limits(default=16, minimum=1, maximum=64)),
        epochs=author.Limits(default=5, minimum=1, maximum=50),
        seed=42,
    )
    network = codec.decode(dense_classifier(training=training)).network
    assert network is not None
    assert network.update is not None
    assert network.update.parameters["miniBatchSize"] == Parameter(default=16, minimum=1, maximum=64)
    assert network.update.parameters["epochs"] == Parameter(default=5, minimum=1, maximum=50)
    assert network.update.parameters["seed"] == Parameter(default=42)
    assert set(network.update.parameters) >= {"learningRate", "beta1", "beta2", "eps", "shuffle"}


def test_without_training_a_model_is_not_updatable() -> None:
    layers = [author.Dense(weights=random_weights(1, 4))]
    model = codec.decode(
        author.regressor(input=NUMBERS, layers=layers, metadata={"author": "me", "made": "today"})
    )
    assert not model.updatable
    assert model.description.training_inputs == ()
    assert model.description.metadata == {"author": "me", "made": "today"}


@pytest.mark.parametrize("data", [
    dense_classifier(),
    dense_classifier(labels=[7, 8, 9], optimizer="adamOptimizer"),
    dense_classifier(image=author.ImageInput(width=3, height=3)),
    dense_regressor(),
])  # fmt: skip
def test_apples_library_reads_the_model_without_a_rest(apple: Any, data: bytes) -> None:  # noqa: ANN401
    theirs = apple.Model.FromString(data)
    theirs.DiscardUnknownFields()
    assert theirs.SerializeToString(deterministic=True) == data


@pytest.mark.parametrize(("layer", "complaint"), [
    (author.Dense(weights=random_weights(3, 5)), "cannot take 4 numbers"),
    (author.Dense(weights=random_weights(3, 4), bias=random_weights(4)), "does not fit 3 outputs"),
    (author.Activation(kind="swish"), "'swish' is not one of ReLU, sigmoid, tanh"),
])  # fmt: skip
def test_layers_that_do_not_fit_are_refused(layer: author.Layer, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        author.regressor(input=NUMBERS, layers=[layer])
