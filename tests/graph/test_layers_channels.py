from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kinds as k
import networks as n
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from finetuned.update.session import Session
from graph.chains import assert_finite_differences, assert_forward, assert_pytorch, chain

IMAGE, VECTOR = (3, 4, 5), (6,)
PIXELS = n.convolution(3, 3, kernel=(1, 1))  # puts the batch last where it trains

NORMS = {
    "of an image": (IMAGE, [PIXELS, k.batchnorm(3)]),
    "of an input": (IMAGE, [k.batchnorm(3, epsilon=0.5)]),
    "of a vector": (VECTOR, [n.dense(4, 6), k.batchnorm(4), n.dense(3, 4), n.softmax()]),
    "between convolutions": (
        IMAGE,
        [PIXELS, k.batchnorm(3), n.activation("tanh"), n.convolution(2, 3)],
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_batch_normalisation_is_what_the_format_says_and_pytorch_has_its_gradients(name: str) -> None:
    shape, layers = NORMS[name]
    chosen = chain(layers, shape)
    assert_forward(chosen)
    assert_finite_differences(chosen)
    assert_pytorch(chosen)


SPREADS = {
    "a number": ((1,), (1,)),
    "one per channel": ((3,), (3,)),
    "one per pixel": ((1, 4, 5), (1, 4, 5)),
    "one per number, a bias per channel": ((3, 4, 5), (3,)),
    "no bias": ((3,), ()),
}


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("below", [[PIXELS], []], ids=["of an image", "of an input"])
def test_scale_and_bias_spread_their_numbers_over_the_image(name: str, below: list[n.Layer]) -> None:
    shape, bias_shape = SPREADS[name]
    chosen = chain([*below, k.scale(shape, bias_shape), k.bias(*shape)], IMAGE)
    assert_forward(chosen)
    assert_finite_differences(chosen)
    assert_pytorch(chosen)


def test_scale_and_bias_of_a_vector_have_a_number_for_each_of_its_own() -> None:
    chosen = chain([n.dense(4, 6), k.scale((4,), (1,)), k.bias(4, 1, 1)], VECTOR)
    assert_forward(chosen)
    assert_finite_differences(chosen)


def test_quantised_averages_count_as_their_table_says() -> None:
    table = n.numbers(16, seed=9)
    plain, quantised = k.batchnorm(3), k.batchnorm(3)
    n.fill(plain.batchnorm.mean, table[[3, 1, 15]])
    mean = quantised.batchnorm.mean
    mean.Clear()
    mean.rawValue, mean.quantization.numberOfBits = bytes([0x31, 0xF0]), 4
    mean.quantization.lookupTableQuantization.floatValue = table.tobytes()
    np.testing.assert_array_equal(run(quantised), run(plain))


def run(layer: n.Layer) -> Any:  # noqa: ANN401 - an array
    program = compile_inference(n.decoded(n.network([layer], IMAGE)))
    return Session(program).run({n.INPUT: n.numbers(2, *IMAGE)})["l0"]


def changed(layer: n.Layer, **fields: object) -> n.Layer:
    """Return the layer with other fields of its parameters."""
    for name, value in fields.items():
        setattr(getattr(layer, layer.WhichOneof("layer") or ""), name, value)
    return layer


REFUSED = {
    "averages of what arrives": (changed(k.batchnorm(3), computeMeanVar=True), "running averages"),
    "averages of each sample": (changed(k.batchnorm(3), instanceNormalization=True), "running averages"),
    "averages of other channels": (k.batchnorm(2), "2"),
    "averages that are too few": (changed(k.batchnorm(3), channels=2), "3 numbers where the layer needs 2"),
    "a negative variance": (k.batchnorm(3, epsilon=-100.0), "not positive"),
    "a scale for another image": (k.scale((3, 5, 4)), "do not fit"),
    "a bias for other channels": (k.bias(4), "do not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_do_not_fit_are_refused_with_the_layers_name(name: str) -> None:
    layer, words = REFUSED[name]
    with pytest.raises(ModelError, match=f"layer 'l0'.*{words}"):
        run(layer)


def test_a_scale_may_not_enlarge_what_arrives() -> None:
    with pytest.raises(ModelError, match=r"numbers for \[3\] where \[1, 4, 5\] arrives"):
        compile_inference(n.decoded(n.network([k.scale((3,))], (1, 4, 5))))
