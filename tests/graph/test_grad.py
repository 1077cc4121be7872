from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph import loss as losses
from finetuned.graph.context import Context
from finetuned.graph.emit import emit
from finetuned.graph.grad import gradients
from finetuned.graph.ir import Graph
from finetuned.graph.lower import lower
from finetuned.graph.program import Program, compile_training
from finetuned.graph.values import BATCH
from finetuned.spec.model import Loss
from finetuned.update.session import Session
from shared import oracle

if TYPE_CHECKING:
    from finetuned.spec import coreml_pb2 as pb

IMAGE = (2, 3, 4)
# ReLU's kink is where finite differences and gradients part: no number comes near it with these seeds.
CHAINS: dict[str, tuple[tuple[int, ...], list[n.Layer]]] = {
    "inner product, cross entropy": ((4,), [n.dense(3, 4), n.softmax()]),
    "inner product without bias, cross entropy": ((4,), [n.dense(3, 4, bias=False), n.softmax()]),
    "inner product, squared error": ((4,), [n.dense(3, 4)]),
    "inner product of an image": (IMAGE, [n.dense(3, 24), n.softmax()]),
    "flatten, squared error": (IMAGE, [n.flatten()]),
    **{
        f"{kind}, {end}": ((4,), [n.dense(5, 4), n.activation(kind), n.dense(3, 5, seed=1), *last])
        for kind in ("ReLU", "sigmoid", "tanh")
        for end, last in {"cross entropy": [n.softmax()], "squared error": []}.items()
    },
    **{
        f"flatten ({order}), dense": (
            IMAGE,
            [n.flatten(channel_last=order == "last"), n.dense(3, 24), n.softmax()],
        )
        for order in ("first", "last")
    },
    "an activation of an image, flattened": (
        IMAGE,
        [n.activation("tanh"), n.flatten(channel_last=True), n.activation("sigmoid"), n.dense(3, 24)],
    ),
    "a deep chain": (
        (4,),
        [
            n.dense(6, 4),
            n.activation("sigmoid"),
            n.dense(5, 6, bias=False),
            n.activation("ReLU"),
            n.flatten(),
            n.dense(5, 5, seed=1),
            n.activation("tanh"),
            n.dense(3, 5, seed=2),
            n.softmax(),
        ],
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A chain, a batch for it, and how much each sample counts."""

    layers: list[pb.NeuralNetworkLayer]
    shape: tuple[int, ...]
    x: Any
    classes: Any
    target: Any
    weights: Any

    @property
    def entropy(self) -> bool:
        """Cross entropy, or the squared error."""
        return self.layers[-1].HasField("softmax")

    @property
    def loss(self) -> Loss:
        """The loss at the end of the chain."""
        kind = losses.CROSS_ENTROPY if self.entropy else losses.SQUARED_ERROR
        return Loss(name="loss", kind=kind, input=self.layers[-1].output[0], target="target")

    def reference_loss(self, x: Any, weights: dict[str, Any]) -> float:  # noqa: ANN401 - arrays
        """Return the weighted sum of the losses in float64."""
        output = reference.forward(self.layers, {n.INPUT: x}, weights)[self.loss.input]
        if self.entropy:
            each = reference.cross_entropy(output, self.classes)
        else:
            each = reference.squared_error(output, self.target.astype(np.float64))
        return float(np.sum(each * self.weights))


def case(name: str, rows: int) -> Case:
    shape, layers = CHAINS[name]
    layers = list(n.network(layers, shape).neuralNetwork.layers)
    x = n.numbers(rows, *shape, seed=rows)
    output = reference.forward(layers, {n.INPUT: x})[layers[-1].output[0]]
    width = output.shape[1]
    weights = np.random.default_rng(rows).uniform(0.1, 1, rows).astype(np.float32)
    classes = np.arange(rows) % width
    target = n.numbers(*output.shape, seed=7)
    return Case(layers=layers, shape=shape, x=x, classes=classes, target=target, weights=weights)


def computed(chosen: Case) -> dict[str, Any]:
    """Return our gradients for the input `x` and for every layer's weights."""
    graph = Graph()
    x = graph.input(n.INPUT, (BATCH, *chosen.shape))
    network = n.decoded(n.network(chosen.layers, chosen.shape)).network
    assert network is not None
    context = Context(
        graph=graph, blobs={n.INPUT: x}, fed_layers=frozenset(layer.name for layer in network.layers)
    )
    used = network.layers[:-1] if chosen.entropy else network.layers
    lower(context, used)
    each = losses.losses(graph, chosen.loss, context.blobs[losses.prediction_blob(network, chosen.loss)])
    seed = graph.input("sample_weights", (BATCH,))
    wanted = {n.INPUT: x, **context.fed}
    graph.outputs.update(zip(wanted, gradients(graph, each, seed, list(wanted.values())), strict=True))
    graph.outputs = {f"d {name}": value for name, value in graph.outputs.items()}
    program = Program(onnx=emit(graph), inputs={}, outputs=dict.fromkeys(graph.outputs, ()))
    onehot = np.eye(chosen.target.shape[1], dtype=np.float32)[chosen.classes]
    feeds = {
        n.INPUT: chosen.x,
        losses.TARGET: onehot if chosen.entropy else chosen.target,
        "sample_weights": chosen.weights,
        **{k: v.astype(np.float32) for k, v in reference.stored(chosen.layers).items()},
    }
    results = Session(program).run({v.name: feeds[v.name] for v in graph.inputs})
    return {name.removeprefix("d "): array for name, array in results.items()}


def assert_close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_finite_differences_in_float64(name: str, rows: int) -> None:
    chosen = case(name, rows)
    x, weights = chosen.x.astype(np.float64), reference.stored(chosen.layers)
    wanted = {
        key: reference.differences(lambda: chosen.reference_loss(x, weights), array)
        for key, array in {n.INPUT: x, **weights}.items()
    }
    assert_close(computed(chosen), wanted)


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_pytorch(name: str, rows: int) -> None:
    torch = oracle("torch")
    chosen = case(name, rows)
    arrays = {n.INPUT: chosen.x.astype(np.float64), **reference.stored(chosen.layers)}
    tensors = {key: torch.tensor(array, requires_grad=True) for key, array in arrays.items()}
    y = tensors[n.INPUT]
    for layer in chosen.layers[: -1 if chosen.entropy else None]:
        y = torch_layer(torch, layer, y, tensors)
    if chosen.entropy:
        each = torch.nn.functional.cross_entropy(y, torch.tensor(chosen.classes), reduction="none")
    else:
        each = torch.nn.functional.mse_loss(y, torch.tensor(chosen.target).double(), reduction="none").mean(1)
    (each * torch.tensor(chosen.weights)).sum().backward()
    assert_close(computed(chosen), {key: tensor.grad.numpy() for key, tensor in tensors.items()})


def torch_layer(torch: Any, layer: pb.NeuralNetworkLayer, y: Any, tensors: dict[str, Any]) -> Any:  # noqa: ANN401 - PyTorch has no types here
    if layer.HasField("innerProduct"):
        bias = tensors.get(f"{layer.name}.biases")
        return torch.nn.functional.linear(y.flatten(1), tensors[f"{layer.name}.weights"], bias)
    if layer.HasField("flatten"):
        last = layer.flatten.mode == 1 and y.dim() == 4
        return (y.permute(0, 2, 3, 1) if last else y).flatten(1)
    functions = {"ReLU": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
    return functions[layer.activation.WhichOneof("NonlinearityType")](y)


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
    "softmax": n.softmax(),
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
