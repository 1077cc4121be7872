"""A Core ML network as compiled programs: frozen part, training step, head, and the whole for inference.

Where training cuts the network.  Core ML lets gradients pass along a straight chain only (COREML.md §2.3), so
the layers from the first trainable one to the loss are a chain; all that lies before it is frozen and runs once
per sample (`features`).  `step` is the chain forward and backward; `head` is the chain forward alone, for measuring.
Trained weights are inputs of `step` and `head`, so both read the memory that the optimizer writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph import loss as losses
from finetuned.graph.context import Context, batch_first, is_batch_last
from finetuned.graph.emit import emit, used_inputs
from finetuned.graph.grad import gradients
from finetuned.graph.inputs import declare
from finetuned.graph.ir import Graph
from finetuned.graph.lower import lower
from finetuned.graph.values import BATCH, Value

if TYPE_CHECKING:
    from finetuned.spec.model import Layer, Loss, Model, Network

# Stands beside the model's own input names in one graph, where "features" would be a likely one.
FEATURES = "finetuned: features"
LOSS = "loss"
LOSSES = "losses"
PREDICTION = "prediction"
SAMPLE_WEIGHTS = "sample_weights"
GRADIENT = "gradient of "


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A compiled graph and the names of its feeds and results; shapes without the batch axis where there is one."""

    onnx: bytes
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where training cuts a network: the frozen layers, the chain, and those of the chain that are trained."""

    blob: str
    frozen: tuple[Layer, ...]
    chain: tuple[Layer, ...]
    trained: tuple[str, ...]
    loss: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The programs of an update.

    `features` is None where the first trained layer reads a model input as it is.  `parameters` maps the trained arrays
    (`<layer>.weights`, `<layer>.biases`) to their shapes.
    """

    cut: Cut
    features: Program | None
    feature_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    step: Program
    head: Program
    parameters: dict[str, tuple[int, ...]]


def network_of(model: Model) -> Network:
    """Return the model's network; a `ModelError` names the kinds that have one."""
    if model.network is None:
        raise ModelError(
            f"a {model.kind} has no network to run; finetuned runs neuralNetwork, neuralNetworkClassifier and neuralNetworkRegressor"
        )
    return model.network


def find_cut(network: Network) -> Cut:
    """Find the chain from the first trained layer to the loss.

    Raises:
        ModelError: there is no loss, or no updatable layer on the way to it (`spec.check` tells all such reasons).
    """
    if network.update is None or len(network.update.losses) != 1:
        raise ModelError("the model has no single loss layer to train with")
    loss = network.update.losses[0]
    producers = {name: layer for layer in network.layers for name in layer.outputs}
    walked: list[Layer] = []
    blob, first = losses.prediction_blob(network, loss), 0
    while (layer := producers.get(blob)) is not None and len(walked) < len(network.layers):
        walked.append(layer)
        if layer.updatable:
            first = len(walked)
        if len(layer.inputs) != 1:
            break
        blob = layer.inputs[0]
    if not first:
        raise ModelError(f"no updatable layer lies on the way to the loss {loss.name!r}")
    chain = tuple(reversed(walked[:first]))
    if not chain[0].inputs:
        raise ModelError(f"layer {chain[0].name!r} has no input")
    cut = chain[0].inputs[0]
    return Cut(
        blob=cut,
        frozen=needed(network.layers, {cut}),
        chain=chain,
        trained=tuple(layer.name for layer in chain if layer.updatable),
        loss=loss,
    )


def needed(layers: tuple[Layer, ...], blobs: set[str]) -> tuple[Layer, ...]:
    """Return the layers that the blobs depend on, in order."""
    wanted, kept = set(blobs), []
    for layer in reversed(layers):
        if wanted.intersection(layer.outputs):
            kept.append(layer)
            wanted.update(layer.inputs)
    return tuple(reversed(kept))


def compile_training(model: Model) -> Training:
    """Compile the programs of an update.

    Raises:
        ModelError: a layer cannot be run, or lets no gradient through.
    """
    network = network_of(model)
    cut = find_cut(network)
    front = _front(model, network, cut)
    features = front.blobs[cut.blob]
    step, shapes, target = _step(cut, network, features)
    if cut.loss.kind == losses.CROSS_ENTROPY:
        _check_labels(network, target)
    return Training(
        cut=cut,
        features=None if features in front.graph.inputs else _program(front.graph, {FEATURES: features}),
        feature_shape=features.sizes,
        target_shape=target,
        step=step,
        head=_head(cut, network, features),
        parameters=shapes,
    )


def compile_inference(model: Model) -> Program:
    """Compile the whole model: its inputs to its output blobs (a classifier: to the probabilities alone)."""
    network = network_of(model)
    names = output_blobs(model, network)
    made = {name for layer in network.layers for name in layer.outputs}
    missing = [name for name in names if name not in made]
    if missing or not names:
        raise ModelError(
            f"no layer makes the output {missing[0]!r}" if missing else "the model has no output"
        )
    context = _declared(model, network)
    lower(context, needed(network.layers, set(names)))
    if network.class_labels:
        _check_labels(network, context.blobs[names[0]].sizes)
    return _program(context.graph, {name: context.blobs[name] for name in names})


def output_blobs(model: Model, network: Network) -> tuple[str, ...]:
    """Return the blobs behind the model's outputs.

    A classifier has one: `labelProbabilityLayerName`, or where that is empty the output of the last layer.
    """
    if network.class_labels:
        last = network.layers[-1].outputs[:1] if network.layers else ()
        return (network.probability_layer,) if network.probability_layer else last
    return tuple(feature.name for feature in model.description.outputs)


def _check_labels(network: Network, sizes: tuple[int, ...]) -> None:
    """Core ML compares the two nowhere (COREML.md §2.8)."""
    if network.class_labels and len(network.class_labels) != prod(sizes):
        raise ModelError(f"the model has {len(network.class_labels)} labels for {prod(sizes)} classes")


# ── parts ───────────────────────────────────────────────────────────────────────────────────────
def _declared(model: Model, network: Network) -> Context:
    context = Context(graph=Graph())
    for feature in model.description.inputs:
        declare(context, network, feature)
    return context


def _front(model: Model, network: Network, cut: Cut) -> Context:
    context = _declared(model, network)
    lower(context, cut.frozen)
    if cut.blob not in context.blobs:
        raise ModelError(f"layer {cut.chain[0].name!r} reads {cut.blob!r}, which nothing before it makes")
    return context


def _chain(cut: Cut, network: Network, features: Value) -> tuple[Context, Value]:
    """The chain forward, with its features and trained weights as inputs."""
    graph = Graph()
    context = Context(graph=graph, fed_layers=frozenset(cut.trained), trains=True)
    context.blobs[cut.blob] = graph.input(FEATURES, features.shape)
    lower(context, cut.chain)
    return context, _rows(context, losses.prediction_blob(network, cut.loss))


def _rows(context: Context, blob: str) -> Value:
    """Return a blob with one row per sample, as losses and callers want it."""
    value = context.blobs[blob]
    return batch_first(context, value, value.sizes, blob) if is_batch_last(value) else value


def _step(
    cut: Cut, network: Network, features: Value
) -> tuple[Program, dict[str, tuple[int, ...]], tuple[int, ...]]:
    """Loss = Σ weight · loss per sample; with weights 1/B it is the mini-batch's mean, whatever its size."""
    context, prediction = _chain(cut, network, features)
    graph = context.graph
    each = losses.losses(graph, cut.loss, prediction)
    weights = graph.input(SAMPLE_WEIGHTS, (BATCH,))
    total = graph.add(
        "ReduceSum",
        graph.add("Mul", each, weights, origin=cut.loss.name),
        axes=(0,),
        keepdims=1,
        origin=cut.loss.name,
    )
    fed = context.fed
    backward = gradients(graph, each, weights, list(fed.values()))
    results = {LOSS: total} | {f"{GRADIENT}{name}": value for name, value in zip(fed, backward, strict=True)}
    target = next(value for value in graph.inputs if value.name == losses.TARGET)
    return _program(graph, results), {name: value.sizes for name, value in fed.items()}, target.sizes


def _head(cut: Cut, network: Network, features: Value) -> Program:
    """Prediction (probabilities, where there is a softmax) and loss of each sample."""
    context, prediction = _chain(cut, network, features)
    each = losses.losses(context.graph, cut.loss, prediction)
    if cut.loss.kind == losses.CROSS_ENTROPY:
        lower(context, (losses.softmax_layer(network, cut.loss),))
        prediction = _rows(context, cut.loss.input)
    return _program(context.graph, {PREDICTION: prediction, LOSSES: each})


def _program(graph: Graph, outputs: dict[str, Value]) -> Program:
    graph.outputs.clear()
    graph.outputs.update(outputs)
    return Program(
        onnx=emit(graph),
        inputs={value.name: value.sizes for value in used_inputs(graph)},
        outputs={name: value.sizes for name, value in outputs.items()},
    )
