"""One harness for every layer that trains: a chain of layers, a batch for it, and what two oracles say of it.

The output is that of the chain as it trains (the batch last) and of the same network as it only runs ([N, C, H, W]); gradients
are those for the input and for all weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import networks as n
import pytorch
import reference
from finetuned.graph.context import Context, batch_first, is_batch_last
from finetuned.graph.emit import emit
from finetuned.graph.grad import gradients
from finetuned.graph.ir import Graph
from finetuned.graph.lower import lower
from finetuned.graph.program import Program, compile_inference
from finetuned.graph.values import BATCH, Value
from finetuned.update.session import Session
from shared import oracle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.spec import coreml_pb2 as pb

OUTPUT = "the chain's output"
TARGET, SEED = "the target", "the samples' weights"
_LOOKED_AT = 6
"""Entries of each weight that finite differences are taken of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """A chain, a batch for it, and how much each sample counts; with a softmax at the end it has cross entropy."""

    layers: list[pb.NeuralNetworkLayer]
    x: Any
    target: Any
    weights: Any

    @property
    def entropy(self) -> bool:
        """Cross entropy, or the squared error."""
        return self.layers[-1].HasField("softmax")

    @property
    def below(self) -> list[pb.NeuralNetworkLayer]:
        """The layers whose output the loss is taken of."""
        return self.layers[:-1] if self.entropy else self.layers

    def losses(self, x: Any, weights: dict[str, Any], rows: Any) -> Any:  # noqa: ANN401 - arrays
        """Return the loss of each row of `x` in float64, which has the target and the weight of sample `rows`."""
        output = reference.forward(self.layers, {n.INPUT: x}, weights)[self.layers[-1].output[0]]
        rule = reference.cross_entropy if self.entropy else reference.squared_error
        return rule(output, self.target[rows]) * self.weights[rows]


def chain(
    layers: Sequence[n.Layer],
    shape: tuple[int, ...],
    *,
    rows: int = 3,
    x: Any = None,  # noqa: ANN401 - an array
) -> Chain:
    """Return a chain of copies of the layers, with random samples, or with `x`, and a random target."""
    copies = []
    for layer in layers:
        copies.append(n.Layer())
        copies[-1].CopyFrom(layer)
    named = list(n.network(copies, shape).neuralNetwork.layers)
    x = n.numbers(rows, *shape, seed=rows) if x is None else x
    output = reference.forward(named, {n.INPUT: x})[named[-1].output[0]]
    if named[-1].HasField("softmax"):
        # Where the target is nearly certain, float32 has nothing left of p - 1.
        target = output.reshape(len(x), -1).argmin(axis=1)
    else:
        target = n.numbers(*output.shape, seed=7).astype(np.float64)
    weights = np.random.default_rng(rows).uniform(0.1, 1, len(x)).astype(np.float32)
    return Chain(layers=named, x=x, target=target, weights=weights)


# ── ours ────────────────────────────────────────────────────────────────────────────────────────
def ran(chosen: Chain) -> Any:  # noqa: ANN401 - an array
    """Return the output of the network that only runs."""
    message = n.network(chosen.below, chosen.x.shape[1:])
    (output,) = Session(compile_inference(n.decoded(message))).run({n.INPUT: chosen.x}).values()
    return output


def lowered(message: pb.Model, layers: int | None = None, *, trains: bool) -> tuple[Context, Value]:
    """Return a context with the first layers of a network, as it runs or as it trains, and its input."""
    network = n.decoded(message).network
    assert network is not None
    graph, shape = Graph(), message.description.input[0].type.multiArrayType.shape
    x = graph.input(n.INPUT, (BATCH, *shape))
    fed = frozenset(layer.name for layer in network.layers) if trains else frozenset()
    context = Context(graph=graph, blobs={n.INPUT: x}, fed_layers=fed, trains=trains)
    lower(context, network.layers[:layers])
    return context, x


@cache
def trained(chosen: Chain) -> dict[str, Any]:
    """Return the output of the chain that trains, and the gradients for its input and for every weight."""
    message = n.network(chosen.layers, chosen.x.shape[1:])
    context, x = lowered(message, len(chosen.below), trains=True)
    graph = context.graph
    output = _rows(context, context.blobs[chosen.below[-1].output[0]])
    each, target = _losses(chosen, graph, output)
    wanted = {n.INPUT: x, **context.fed}
    found = gradients(graph, each, graph.input(SEED, (BATCH,)), list(wanted.values()))
    graph.outputs.update({OUTPUT: output, **{f"d {name}": v for name, v in zip(wanted, found, strict=True)}})
    feeds = {n.INPUT: chosen.x, TARGET: target, SEED: chosen.weights, **_float32(chosen)}
    program = Program(onnx=emit(graph), inputs={}, outputs=dict.fromkeys(graph.outputs, ()))
    results = Session(program).run({value.name: feeds[value.name] for value in graph.inputs})
    return {name.removeprefix("d "): array for name, array in results.items()}


def _rows(context: Context, value: Value) -> Value:
    return batch_first(context, value, value.sizes, "") if is_batch_last(value) else value


def _losses(chosen: Chain, graph: Graph, output: Value) -> tuple[Value, Any]:
    if not chosen.entropy:
        target = chosen.target.astype(np.float32)
        return graph.add("SquaredError", output, graph.input(TARGET, output.shape)), target
    logits = graph.add("Reshape", output, shape=(BATCH, output.sizes[0]))
    onehot = np.eye(output.sizes[0], dtype=np.float32)[chosen.target]
    return graph.add("CrossEntropy", logits, graph.input(TARGET, logits.shape)), onehot


def _float32(chosen: Chain) -> dict[str, Any]:
    return {name: array.astype(np.float32) for name, array in reference.stored(chosen.layers).items()}


# ── the oracles ─────────────────────────────────────────────────────────────────────────────────
def assert_forward(chosen: Chain) -> None:
    """What trains and what only runs compute what the format says."""
    wanted = reference.forward(chosen.layers, {n.INPUT: chosen.x})[chosen.below[-1].output[0]]
    for name, found in {"it runs": ran(chosen), "it trains": trained(chosen)[OUTPUT]}.items():
        assert found.shape == wanted.shape, name
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=5e-6, err_msg=name)


def assert_finite_differences(chosen: Chain) -> None:
    """Gradients are those of central differences in float64: of the whole input, and of some of each weight."""
    found = trained(chosen)
    weights = reference.stored(chosen.layers)
    _close(n.INPUT, found[n.INPUT], _input_differences(chosen, weights))
    everyone = np.arange(len(chosen.x))
    for name, array in weights.items():
        at = np.random.default_rng(0).permutation(array.size)[:_LOOKED_AT]
        wanted = reference.differences(
            lambda: float(chosen.losses(chosen.x, weights, everyone).sum()), array.reshape(-1), at
        )
        _close(name, found[name].reshape(-1)[at], wanted)


def _input_differences(chosen: Chain, weights: dict[str, Any], step: float = 1e-6) -> Any:  # noqa: ANN401 - an array
    """Central differences for every number of every sample, all in one batch."""
    x = chosen.x.astype(np.float64)
    count = x[0].size
    moves = step * np.eye(count).reshape(1, count, *x.shape[1:])
    rows = np.repeat(np.arange(len(x)), count)
    above, below = (
        chosen.losses((x[:, None] + sign * moves).reshape(-1, *x.shape[1:]), weights, rows)
        for sign in (1, -1)
    )
    return ((above - below) / (2 * step)).reshape(x.shape)


def assert_pytorch(chosen: Chain) -> None:
    """Gradients are those of PyTorch in float64."""
    found = trained(chosen)
    torch = oracle("torch")
    arrays = {n.INPUT: chosen.x.astype(np.float64), **reference.stored(chosen.layers)}
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    y = pytorch.forward(chosen.below, tensors[n.INPUT], tensors)
    each = pytorch.losses(chosen.entropy, y, torch.tensor(chosen.target))
    (each * torch.tensor(chosen.weights)).sum().backward()
    assert set(found) == {OUTPUT, *tensors}
    for name, tensor in tensors.items():
        _close(name, found[name], tensor.grad.numpy())


def _close(name: str, found: Any, wanted: Any) -> None:  # noqa: ANN401 - arrays
    assert found.shape == wanted.shape, name
    largest = np.abs(wanted).max(initial=0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * largest + 1e-9, err_msg=name)
