"""The two losses of Core ML, as one value per sample (COREML.md §2.4, §3.2).

Cross entropy is taken from the logits below the softmax layer, not from its output: the value is the same
-log softmax(z)[target], without the log of an underflowed probability, and the gradient is softmax(z) - onehot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.graph import packing
from finetuned.graph.values import BATCH, IMAGE_RANK, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.graph.ir import Graph
    from finetuned.spec.model import Layer, Loss, Network

CROSS_ENTROPY = "categoricalCrossEntropyLossLayer"
SQUARED_ERROR = "meanSquaredErrorLossLayer"

TARGET = "target"

_PRIMITIVES = {CROSS_ENTROPY: "CrossEntropy", SQUARED_ERROR: "SquaredError"}


def prediction_blob(network: Network, loss: Loss) -> str:
    """Return the blob that the loss is computed from: the logits, or the prediction."""
    if loss.kind == SQUARED_ERROR:
        return loss.input
    return softmax_layer(network, loss).inputs[0]


def softmax_layer(network: Network, loss: Loss) -> Layer:
    """Return the softmax that feeds a cross entropy loss directly."""
    for layer in network.layers:
        if layer.type == "softmax" and layer.inputs and loss.input in layer.outputs[:1]:
            return layer
    raise ModelError(f"loss {loss.name!r} reads {loss.input!r}, which no softmax layer makes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One of the losses whose weighted sum is trained, and the value that it is computed from, as `judged` returns it."""

    loss: Loss
    prediction: Value
    weight: float = 1.0


def judged(graph: Graph, loss: Loss, prediction: Value) -> Value:
    """Return what is compared with the target, [N, …]: cross entropy takes a row of logits."""
    if loss.kind == SQUARED_ERROR or len(prediction.shape) != IMAGE_RANK:
        return prediction
    return graph.add("Reshape", prediction, shape=(BATCH, *prediction.sizes[:1]), origin=loss.name)


def total(graph: Graph, terms: Sequence[Term]) -> Value:
    """Append the weighted sum of the losses of each sample, shape [N].

    The targets are fed as one `target`, packed (`packing`); each has its prediction's shape, and is one-hot for cross
    entropy.
    """
    sizes = [term.prediction.sizes for term in terms]
    target = graph.input(TARGET, (BATCH, *packing.shape_of(sizes)))
    targets = packing.unpacked(graph, target, sizes, TARGET)
    each = [_weighted(graph, term, target) for term, target in zip(terms, targets, strict=True)]
    return reduce(lambda a, b: graph.add("Add", a, b, origin=TARGET), each)


def _weighted(graph: Graph, term: Term, target: Value) -> Value:
    name = term.loss.name
    each = graph.add(_PRIMITIVES[term.loss.kind], term.prediction, target, origin=name)
    if term.weight == 1.0:
        return each
    weight = graph.constant("weight", np.array([term.weight], dtype=np.float32))
    return graph.add("Mul", each, weight, origin=name)
