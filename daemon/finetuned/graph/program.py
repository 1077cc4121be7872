"""A Core ML network as compiled programs: frozen part, training step, head, and the whole for inference.

What lies before the region that trains (`cut`) runs once per sample (`features`).  `step` is the region forward and backward;
`head` is the region forward alone, for measuring.  Trained weights are inputs of `step` and `head`, so both read the memory
that the optimizer writes.  Where several blobs enter the region, a sample's features are all of them, packed (`packing`);
of several losses the targets and the predictions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph import loss as losses
from finetuned.graph import packing
from finetuned.graph.context import Context, batch_first, is_batch_last
from finetuned.graph.cut import find_cut, needed
from finetuned.graph.emit import emit, used_inputs
from finetuned.graph.goals import Goal, is_indexed, labels_of, source_of
from finetuned.graph.grad import gradients
from finetuned.graph.inputs import declare
from finetuned.graph.ir import Graph
from finetuned.graph.lower import lower
from finetuned.graph.values import BATCH, Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.graph.cut import Cut
    from finetuned.spec.model import Loss, Model, Network

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
class Training:
    """The programs of an update.

    `features` is None where all that enters the region is one model input as it is.  `parameters` maps the trained arrays
    (`<layer>.weights`, `<layer>.biases`) to their shapes.
    """

    cut: Cut
    features: Program | None
    feature_shape: tuple[int, ...]
    goals: tuple[Goal, ...]
    step: Program
    head: Program
    parameters: dict[str, tuple[int, ...]]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of a sample's targets as they are fed."""
        return packing.shape_of([goal.shape for goal in self.goals])


def network_of(model: Model) -> Network:
    """Return the model's network; a `ModelError` names the kinds that have one."""
    if model.network is None:
        raise ModelError(
            f"a {model.kind} has no network to run; finetuned runs neuralNetwork, neuralNetworkClassifier and neuralNetworkRegressor"
        )
    return model.network


def compile_training(model: Model, weights: Mapping[str, float] | None = None) -> Training:
    """Compile the programs of an update.

    Args:
        model: the model that is updated.
        weights: those of its losses in the sum that is trained, by the losses' names; 1 where there is none.

    Raises:
        ModelError: a layer cannot be run, or lets no gradient through.
    """
    network = network_of(model)
    cut = find_cut(network)
    front = _front(model, network, cut)
    entering = [front.blobs[blob] for blob in cut.blobs]
    features = packing.packed(front.graph, entering, FEATURES)
    region = _Region(
        model=model, network=network, cut=cut, sizes=[v.sizes for v in entering], weights=weights or {}
    )
    step, shapes, goals = _step(region)
    for goal in goals:
        _check_labels(goal.labels, goal.shape)
    return Training(
        cut=cut,
        features=None if features in front.graph.inputs else _program(front.graph, {FEATURES: features}),
        feature_shape=features.sizes,
        goals=goals,
        step=step,
        head=_head(region),
        parameters=shapes,
    )


def compile_inference(model: Model, outputs: Sequence[str] = ()) -> Program:
    """Compile the model: its inputs to these outputs, or to all (a classifier: to the probabilities alone)."""
    network = network_of(model)
    names = tuple(outputs) or output_blobs(model, network)
    made = {name for layer in network.layers for name in layer.outputs}
    missing = [name for name in names if name not in made]
    if missing or not names:
        raise ModelError(
            f"no layer makes the output {missing[0]!r}" if missing else "the model has no output"
        )
    context = _declared(model, network)
    lower(context, needed(network.layers, set(names)))
    if network.class_labels and not outputs:
        _check_labels(network.class_labels, context.blobs[names[0]].sizes)
    return _program(context.graph, {name: context.blobs[name] for name in names})


def output_blobs(model: Model, network: Network) -> tuple[str, ...]:
    """Return the blobs behind the model's outputs.

    A classifier has one: `labelProbabilityLayerName`, or where that is empty the output of the last layer.
    """
    if network.class_labels:
        last = network.layers[-1].outputs[:1] if network.layers else ()
        return (network.probability_layer,) if network.probability_layer else last
    return tuple(feature.name for feature in model.description.outputs)


def _check_labels(labels: Sequence[str | int], sizes: tuple[int, ...]) -> None:
    """Core ML compares the two nowhere (COREML.md §2.8)."""
    if labels and len(labels) != prod(sizes):
        raise ModelError(f"the model has {len(labels)} labels for {prod(sizes)} classes")


# ── parts ───────────────────────────────────────────────────────────────────────────────────────
def _declared(model: Model, network: Network) -> Context:
    context = Context(graph=Graph())
    for feature in model.description.inputs:
        declare(context, network, feature)
    return context


def _front(model: Model, network: Network, cut: Cut) -> Context:
    context = _declared(model, network)
    lower(context, cut.frozen)
    for blob in cut.blobs:
        if blob not in context.blobs:
            reader = next((layer.name for layer in cut.region if blob in layer.inputs), cut.losses[0].name)
            raise ModelError(f"layer {reader!r} reads {blob!r}, which nothing before it makes")
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """What trains, and what it is compiled for; `sizes` are those of the blobs that enter it."""

    model: Model
    network: Network
    cut: Cut
    sizes: Sequence[tuple[int, ...]]
    weights: Mapping[str, float]

    def forward(self) -> Context:
        """Compile it forward, with features and trained weights as inputs."""
        graph = Graph()
        context = Context(graph=graph, fed_layers=frozenset(self.cut.trained), trains=True)
        features = graph.input(FEATURES, (BATCH, *packing.shape_of(self.sizes)))
        blobs = packing.unpacked(graph, features, self.sizes, FEATURES)
        context.blobs.update(zip(self.cut.blobs, blobs, strict=True))
        lower(context, self.cut.region)
        return context

    def terms(self, context: Context) -> list[losses.Term]:
        """Return what each loss is computed from."""
        return [
            losses.Term(
                loss=loss,
                prediction=losses.judged(
                    context.graph, loss, _rows(context, losses.prediction_blob(self.network, loss))
                ),
                weight=self.weights.get(loss.name, 1.0),
            )
            for loss in self.cut.losses
        ]

    def goal(self, term: losses.Term) -> Goal:
        """Return what a loss asks of a sample."""
        return Goal(
            loss=term.loss,
            source=source_of(self.model, term.loss),
            labels=labels_of(self.model, term.loss),
            shape=term.prediction.sizes,
            indexed=is_indexed(self.model, term.loss),
        )


def _rows(context: Context, blob: str) -> Value:
    """Return a blob with one row per sample, as losses and callers want it."""
    value = context.blobs[blob]
    return batch_first(context, value, value.sizes, blob) if is_batch_last(value) else value


def _step(region: _Region) -> tuple[Program, dict[str, tuple[int, ...]], tuple[Goal, ...]]:
    """Loss = Σ weight · loss per sample; with weights 1/B it is the mini-batch's mean, whatever its size."""
    context = region.forward()
    graph, terms = context.graph, region.terms(context)
    each = losses.total(graph, terms)
    weights = graph.input(SAMPLE_WEIGHTS, (BATCH,))
    origin = terms[0].loss.name
    weighted = graph.add("Mul", each, weights, origin=origin)
    results = {LOSS: graph.add("ReduceSum", weighted, axes=(0,), keepdims=1, origin=origin)}
    fed = context.fed
    for name, gradient in zip(fed, gradients(graph, each, weights, list(fed.values())), strict=True):
        results[f"{GRADIENT}{name}"] = gradient
    shapes = {name: value.sizes for name, value in fed.items()}
    return _program(graph, results), shapes, tuple(map(region.goal, terms))


def _head(region: _Region) -> Program:
    """Prediction (probabilities, where there is a softmax) and loss of each sample."""
    context = region.forward()
    graph = context.graph
    each = losses.total(graph, region.terms(context))
    predictions = [_prediction(context, region.network, loss) for loss in region.cut.losses]
    prediction = packing.packed(graph, predictions, PREDICTION)
    return _program(graph, {PREDICTION: prediction, LOSSES: each})


def _prediction(context: Context, network: Network, loss: Loss) -> Value:
    """Return what a loss judges; a softmax that only a loss reads is in the network for this."""
    if loss.input not in context.blobs:
        lower(context, (losses.softmax_layer(network, loss),))
    return _rows(context, loss.input)


def _program(graph: Graph, outputs: dict[str, Value]) -> Program:
    graph.outputs.clear()
    graph.outputs.update(outputs)
    return Program(
        onnx=emit(graph),
        inputs={value.name: value.sizes for value in used_inputs(graph)},
        outputs={name: value.sizes for name, value in outputs.items()},
    )
