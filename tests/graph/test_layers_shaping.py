from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kinds as k
import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from finetuned.update.session import Session
from graph.chains import assert_finite_differences, assert_forward, assert_pytorch, chain

IMAGE, VECTOR = (3, 4, 5), (6,)
PIXELS = n.convolution(3, 3, kernel=(1, 1))  # puts the batch last where it trains
TANH = n.activation("tanh")

ORDERS: dict[str, tuple[tuple[int, ...], list[n.Layer]]] = {
    "permute": (IMAGE, [PIXELS, k.permute(0, 3, 1, 2), TANH]),
    "permute to itself": (IMAGE, [PIXELS, k.permute(), TANH]),
    "permute into a sequence and back": (IMAGE, [PIXELS, k.permute(1, 0, 3, 2), TANH, k.permute(3, 0, 1, 2)]),
    "permute of an input into a sequence": (IMAGE, [k.permute(2, 1, 0, 3), TANH]),
    "permute of a vector": (VECTOR, [n.dense(4, 6), k.permute(0, 2, 3, 1), TANH]),
    "permute, then convolution": (IMAGE, [PIXELS, k.permute(0, 2, 3, 1), n.convolution(2, 4)]),
    "reshape": (IMAGE, [PIXELS, k.reshape(5, 6, 2), TANH]),
    "reshape, channels last": (IMAGE, [PIXELS, k.reshape(5, 6, 2, channel_last=True), TANH]),
    "reshape of a vector to an image": (VECTOR, [n.dense(18, 6), k.reshape(2, 3, 3), n.convolution(2, 2)]),
    "reshape to a vector": (IMAGE, [PIXELS, k.reshape(60, 1, 1), n.dense(3, 60), n.softmax()]),
    "reshape to a sequence": (IMAGE, [PIXELS, k.reshape(4, 5, 3, 1), TANH]),
    "reshape of a sequence, channels last": (
        IMAGE,
        [PIXELS, k.permute(2, 1, 0, 3), k.reshape(5, 3, 1, channel_last=True), k.reshape(2, 2, 5, 3)],
    ),
    "flatten, channels last": (IMAGE, [PIXELS, n.flatten(channel_last=True), TANH]),
    "flatten of a sequence": (IMAGE, [PIXELS, k.permute(2, 1, 0, 3), n.flatten(channel_last=True), TANH]),
    "concat": (IMAGE, [PIXELS, TANH, k.merge("concat", "l0", "l1"), n.convolution(2, 6)]),
    "concat of itself": (IMAGE, [PIXELS, k.merge("concat", "l0", "l0")]),
    "concat with the input": (IMAGE, [PIXELS, k.merge("concat", n.INPUT, "l0", n.INPUT)]),
    "concat of vectors": (VECTOR, [n.dense(4, 6), TANH, k.merge("concat", "l0", n.INPUT, "l1"), n.dense(3, 14)]),
    "concat along the sequence": (
        IMAGE,
        [PIXELS, k.merge("concat", n.INPUT, "l0", sequenceConcat=True), TANH],
    ),
    "concat of sequences": (
        IMAGE,
        [PIXELS, k.permute(2, 1, 0, 3), TANH, k.merge("concat", "l1", "l2")],
    ),
    "concat along sequences of several steps": (
        IMAGE,
        [PIXELS, k.permute(2, 1, 0, 3), k.reshape(5, 3, 4, 1), k.reshape(1, 5, 3, 4), k.merge("concat", "l2", "l2", sequenceConcat=True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_what_the_format_says_and_gradients_find_their_way_back(name: str) -> None:
    shape, layers = ORDERS[name]
    chosen = chain(layers, shape)
    assert_forward(chosen)
    assert_finite_differences(chosen)


def test_pytorch_orders_and_differentiates_alike() -> None:
    permuted = [PIXELS, k.permute(0, 3, 1, 2), n.convolution(2, 5)]
    reshaped = [PIXELS, k.reshape(5, 3, 4), TANH, k.reshape(2, 10, 3, channel_last=True)]
    for layers in (permuted, reshaped):
        assert_pytorch(chain(layers, IMAGE))


# ── embeddings ──────────────────────────────────────────────────────────────────────────────────
def run(layers: list[n.Layer], x: Any) -> tuple[Any, Any]:  # noqa: ANN401 - arrays
    """Return what is computed, and what the format says."""
    message = n.network(layers, x.shape[1:])
    (found,) = Session(compile_inference(n.decoded(message))).run({n.INPUT: x.astype(np.float32)}).values()
    named = message.neuralNetwork.layers
    return found, reference.forward(named, {n.INPUT: x})[named[-1].output[0]]


WORDS = {
    "of one word": ([k.embedding(5, 3)], (4, 1)),
    "without bias": ([k.embedding(5, 3, bias=False), k.permute(2, 1, 0, 3), n.flatten(channel_last=True)], (4, 1)),
    "of a sequence of words": ([k.permute(1, 0, 2, 3), k.embedding(5, 3), k.permute(3, 0, 1, 2)], (4, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_an_embedding_looks_up_a_column_of_its_weights(name: str) -> None:
    layers, shape = WORDS[name]
    found, wanted = run(layers, np.random.default_rng(0).integers(0, 5, shape))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_number_that_is_no_word_is_no_number_instead_of_another_word() -> None:
    fractions = [1.5, 1.999, 4.001, -0.25, 1e-30, np.nextafter(np.float32(1), np.float32(0))]
    beyond = [-1, 5, 1e9, -1e9, 3e38, np.inf, -np.inf, np.nan]
    x = np.array([[0], [4], [-0.0], *([word] for word in fractions + beyond)], np.float64)
    message = n.network([k.embedding(5, 3)], (1,))
    p = message.neuralNetwork.layers[0].embedding
    columns, bias = reference.floats(p.weights).reshape(3, 5), reference.floats(p.bias)
    wanted = np.full((len(x), 3), np.nan)
    wanted[:3] = columns[:, [0, 4, 0]].T + bias
    found = Session(compile_inference(n.decoded(message))).run({n.INPUT: x.astype(np.float32)})["l0"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_several_inputs_are_joined_in_the_order_of_the_layer_whatever_that_of_the_model() -> None:
    message = n.network([k.merge("concat", "b", n.INPUT, "a")], (2,))
    for name, size in (("a", 3), ("b", 1)):
        n.array_feature(message.description.input.add(name=name), (size,))
    feeds = {n.INPUT: n.numbers(2, 2), "a": n.numbers(2, 3), "b": n.numbers(2, 1)}
    (found,) = Session(compile_inference(n.decoded(message))).run(feeds).values()
    np.testing.assert_array_equal(found, np.concatenate([feeds["b"], feeds[n.INPUT], feeds["a"]], axis=1))


# ── what does not fit ───────────────────────────────────────────────────────────────────────────
REFUSED = {
    "a reshape to another count of numbers": ([k.reshape(3, 4, 4)], "another count"),
    "an order that is none": ([k.permute(0, 1, 1, 2)], "an order of 0, 1, 2, 3"),
    "a concat of other images": ([n.pooling("MAX"), k.merge("concat", "x", "l0")], "do not fit each other"),
    "a convolution of a sequence": ([k.permute(1, 0, 2, 3), n.convolution(2, 1)], "gets a sequence"),
    "an embedding of several words at once": ([n.flatten(), k.embedding(5, 3)], "one number a step"),
    "an embedding of embeddings": (
        [k.reshape(60, 1, 1, 1), k.embedding(5, 3), k.embedding(4, 3)],
        "one number a step",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_the_layers_name(name: str) -> None:
    layers, words = REFUSED[name]
    with pytest.raises(ModelError, match=words) as refused:
        compile_inference(n.decoded(n.network(layers, IMAGE)))
    assert "layer 'l" in str(refused.value)
