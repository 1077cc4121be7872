from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import kinds as k
import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph.emit import emit
from finetuned.graph.grad import gradients
from finetuned.graph.ir import Graph
from finetuned.graph.program import Program, compile_training
from finetuned.graph.values import BATCH
from finetuned.update.session import Session
from graph.chains import (
    Chain,
    assert_finite_differences,
    assert_forward,
    assert_pytorch,
    chain,
)

IMAGE = (2, 6, 5)
SAME = "BOTTOM_RIGHT_HEAVY"


def relu() -> n.Layer:
    return n.activation("ReLU")


# ReLU's kink is where finite differences and gradients part: no number comes near it with these seeds.
CHAINS: dict[str, tuple[tuple[int, ...], list[n.Layer]]] = {
    "inner product, cross entropy": ((4,), [n.dense(3, 4), n.softmax()]),
    "inner product without bias, cross entropy": ((4,), [n.dense(3, 4, bias=False), n.softmax()]),
    "inner product, squared error": ((4,), [n.dense(3, 4)]),
    "inner product of an image": (IMAGE, [n.dense(3, 60), n.softmax()]),
    "flatten, squared error": (IMAGE, [n.flatten()]),
    **{
        f"{kind}, {end}": ((4,), [n.dense(5, 4), n.activation(kind), n.dense(3, 5, seed=1), *last])
        for kind in ("ReLU", "sigmoid", "tanh")
        for end, last in {"cross entropy": [n.softmax()], "squared error": []}.items()
    },
    **{
        f"{kind} between convolutions": (
            IMAGE,
            [n.convolution(3, 2), n.activation(kind), n.convolution(2, 3)],
        )
        for kind in ("ReLU", "sigmoid", "tanh")
    },
    **{
        f"flatten ({order}){', ' + of if of else ''}": (
            IMAGE,
            [*below, n.flatten(channel_last=order == "last"), n.dense(3, 60), n.softmax()],
        )
        for order in ("first", "last")
        for of, below in {"": [], "of a convolution": [n.convolution(2, 2, padding=SAME)]}.items()
    },
    "an activation of an image, flattened": (
        IMAGE,
        [n.activation("tanh"), n.flatten(channel_last=True), n.activation("sigmoid"), n.dense(3, 60)],
    ),
    "a deep chain": (
        (4,),
        [
            n.dense(6, 4),
            n.activation("sigmoid"),
            n.dense(5, 6, bias=False),
            relu(),
            n.flatten(),
            n.dense(5, 5, seed=1),
            n.activation("tanh"),
            n.dense(3, 5, seed=2),
            n.softmax(),
        ],
    ),
    "a LeNet in small": (
        (1, 10, 8),
        [
            n.convolution(3, 1, padding=SAME),
            relu(),
            n.pooling("MAX"),
            n.convolution(4, 3, kernel=(2, 2)),
            relu(),
            n.pooling("MAX", kernel=(2, 3), stride=(2, 1)),
            n.flatten(),
            n.dense(5, 8, seed=1),
            relu(),
            n.dense(3, 5),
            n.softmax(),
        ],
    ),
    "convolutions to the end": (
        IMAGE,
        [
            n.convolution(4, 2, stride=(2, 1)),
            n.activation("sigmoid"),
            n.convolution(3, 4, kernel=(2, 3), seed=1),
            n.softmax(),
        ],
    ),
    "poolings of all types": (
        (2, 9, 9),
        [
            n.pooling("AVERAGE", kernel=(2, 2), stride=(1, 1)),
            n.convolution(3, 2, padding=SAME),
            n.pooling("L2", kernel=(3, 3), stride=(1, 1)),
            n.pooling("MAX", kernel=(3, 3), stride=(1, 1), padding=SAME),
            n.pooling("AVERAGE", everywhere=True),
            n.dense(2, 3),
        ],
    ),
    **{
        f"the greatest of a {kind}": (
            IMAGE,
            [n.convolution(3, 2), n.activation(kind), n.pooling("MAX"), n.dense(2, 6)],
        )
        for kind in ("ReLU", "sigmoid", "tanh")
    },
    "a convolution's pixels pooled in another order": (
        IMAGE,
        [n.convolution(4, 2, groups=2, padding=SAME), n.pooling("MAX", kernel=(3, 2), stride=(3, 3))],
    ),
    "a pooling of pooled pixels of a 1 x 1 convolution": (
        IMAGE,
        [
            n.convolution(3, 2, kernel=(1, 1)),
            n.pooling("MAX", kernel=(2, 1), stride=(2, 1)),
            relu(),
            n.pooling("MAX", kernel=(1, 2), stride=(1, 2)),
        ],
    ),
    "an autoencoder": (
        IMAGE,
        [
            n.convolution(4, 2, stride=(2, 2), padding=SAME),
            n.activation("sigmoid"),
            n.deconvolution(3, 4, kernel=(2, 2), stride=(2, 2), size=(6, 5)),
            n.activation("tanh"),
            n.deconvolution(2, 3, kernel=(1, 3), padding=SAME),
        ],
    ),
    "a deconvolution, pooled": (
        (3, 3, 4),
        [n.deconvolution(4, 3, stride=(2, 2), groups=1), relu(), n.pooling("MAX"), n.dense(2, 48)],
    ),
    "separable": (
        (4, 5, 6),
        [
            n.convolution(8, 4, groups=4, padding=SAME),
            k.batchnorm(8),
            relu(),
            n.convolution(3, 8, kernel=(1, 1), bias=False),
            k.batchnorm(3),
            n.pooling("AVERAGE", everywhere=True),
            n.flatten(),
            n.softmax(),
        ],
    ),
    "an image of one pixel": ((6,), [n.convolution(4, 6, kernel=(1, 1)), relu(), n.dense(3, 4), n.softmax()]),
    "a vector into a deconvolution": ((5,), [n.dense(6, 5), n.deconvolution(2, 6, kernel=(3, 4)), relu()]),
    "a convolution of a flattened convolution": (
        IMAGE,
        [n.convolution(2, 2), n.flatten(channel_last=True), n.convolution(3, 24, kernel=(1, 1)), n.softmax()],
    ),
}


@cache
def of(name: str, rows: int) -> Chain:
    shape, layers = CHAINS[name]
    return chain(layers, shape, rows=rows)


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_computes_what_the_format_says_whether_it_runs_or_trains(name: str) -> None:
    assert_forward(of(name, 5))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_finite_differences_in_float64(name: str, rows: int) -> None:
    assert_finite_differences(of(name, rows))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_pytorch(name: str, rows: int) -> None:
    assert_pytorch(of(name, rows))


def test_a_quantised_convolution_passes_the_gradients_of_the_numbers_that_its_codes_stand_for() -> None:
    codes = np.arange(2 * 3 * 9, dtype=np.uint8) * 4
    scale, bias = np.array([0.01, 0.02], "<f4"), np.array([-1, -2], "<f4")
    quantised, plain = (n.convolution(2, 3, seed=1) for _ in range(2))
    n.fill(plain.convolution.weights, (codes.reshape(2, -1) * scale[:, None] + bias[:, None]))
    weights = quantised.convolution.weights
    weights.Clear()
    weights.rawValue, weights.quantization.numberOfBits = codes.tobytes(), 8
    linear = weights.quantization.linearQuantization
    linear.scale, linear.bias = scale.tobytes(), bias.tobytes()
    found, wanted = (
        step_of(
            [n.convolution(3, 2, updatable=True), layer, n.activation("tanh"), n.dense(3, 4), n.softmax()]
        )
        for layer in (quantised, plain)
    )
    assert found.keys() == {"loss", "gradient of l0.weights", "gradient of l0.biases"}
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7, err_msg=name)


def step_of(layers: list[n.Layer]) -> dict[str, Any]:
    """Return what a step of a training of these layers computes."""
    message = n.trainable(layers, IMAGE)
    step = compile_training(n.decoded(message)).step
    stored = reference.stored(message.neuralNetwork.layers[:1])
    feeds = {name: n.numbers(4, *shape, seed=2) for name, shape in step.inputs.items()}
    feeds |= {name: array.astype(np.float32) for name, array in stored.items()}
    return Session(step).run(feeds)


def test_no_gradient_passes_a_relu_at_zero() -> None:
    graph = Graph()
    x = graph.input("x", (BATCH, 3))
    target = graph.input("target", (BATCH, 3))
    each = graph.add("SquaredError", graph.add("Relu", x), target)
    (dx,) = gradients(graph, each, graph.input("w", (BATCH,)), [x])
    graph.outputs["dx"] = dx
    program = Program(onnx=emit(graph), inputs={}, outputs={"dx": ()})
    feeds = {
        "x": np.array([[-1, 0, 1]], np.float32),
        "target": np.full((1, 3), 5, np.float32),
        "w": np.ones(1, np.float32),
    }
    assert Session(program).run(feeds)["dx"].tolist() == [pytest.approx([0, 0, 2 * (1 - 5) / 3])]


def test_a_value_that_is_used_twice_gets_the_sum_of_both_gradients() -> None:
    graph = Graph()
    x, w = graph.input("x", (BATCH, 2)), graph.input("w", (2, 2))
    twice = graph.add("Gemm", graph.add("Gemm", x, w, transB=1), w, transB=1)
    each = graph.add("SquaredError", twice, graph.input("target", (BATCH, 2)))
    (dw,) = gradients(graph, each, graph.input("seed", (BATCH,)), [w])
    graph.outputs["dw"] = dw
    program = Program(onnx=emit(graph), inputs={}, outputs={"dw": ()})
    x0, w0, t0 = n.numbers(3, 2), n.numbers(2, 2), n.numbers(3, 2, seed=1)
    found = Session(program).run({"x": x0, "w": w0, "target": t0, "seed": np.ones(3, np.float32)})["dw"]
    w64 = w0.astype(np.float64)
    wanted = reference.differences(lambda: float((((x0 @ w64.T) @ w64.T - t0) ** 2).mean(axis=1).sum()), w64)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# ── what lets no gradient through ───────────────────────────────────────────────────────────────

WALLS = {
    "softsign": n.activation("softsign"),
    "thresholdedReLU": n.activation("thresholdedReLU", alpha=0.5),
}


@pytest.mark.parametrize("name", WALLS)
def test_a_layer_that_lets_no_gradient_through_at_all_is_refused_with_its_name(name: str) -> None:
    wall = n.Layer()
    wall.CopyFrom(WALLS[name])
    wall.name = "the wall"
    message = n.trainable(
        [n.dense(5, 4, updatable=True), wall, n.dense(3, 5, updatable=True), n.softmax()], (4,)
    )
    with pytest.raises(ModelError, match="'the wall'"):
        compile_training(n.decoded(message))


def test_the_same_layer_below_the_first_trained_one_is_no_hindrance() -> None:
    for wall in WALLS.values():
        layer = n.Layer()
        layer.CopyFrom(wall)
        message = n.trainable(
            [n.dense(5, 4), layer, n.dense(3, 5, updatable=True, seed=1), n.softmax()], (4,)
        )
        assert compile_training(n.decoded(message)).cut.trained == ("l2",)


def test_something_without_influence_on_the_loss_is_named() -> None:
    graph = Graph()
    x, idle = graph.input("x", (BATCH, 2)), graph.input("idle", (BATCH, 2))
    each = graph.add("SquaredError", x, graph.input("target", (BATCH, 2)))
    with pytest.raises(ModelError, match="idle has no influence"):
        gradients(graph, each, graph.input("w", (BATCH,)), [idle])
