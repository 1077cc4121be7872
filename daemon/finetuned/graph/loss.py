"""The two losses of Core ML, as one value per sample (COREML.md §2.4, §3.2).

Cross entropy is taken from the logits below the softmax layer, not from its output: the value is the same
-log softmax(z)[target], without the log of an underflowed probability, and the gradient is softmax(z) - onehot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph.values import BATCH, IMAGE_RANK, Value

if TYPE_CHECKING:
    from finetuned.graph.ir import Graph
    from finetuned.spec.model import Layer, Loss, Network

CROSS_ENTROPY = "categoricalCrossEntropyLossLayer"
SQUARED_ERROR = "meanSquaredErrorLossLayer"

TARGET = "target"


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


def losses(graph: Graph, loss: Loss, prediction: Value) -> Value:
    """Append the loss of each sample, shape [N]; the target is fed as `target`.

    Cross entropy: the target is one-hot, shape [N, classes].  Squared error: it has the prediction's shape.
    """
    if loss.kind == SQUARED_ERROR:
        target = graph.input(TARGET, prediction.shape)
        return graph.add("SquaredError", prediction, target, origin=loss.name)
    logits = (
        graph.add("Reshape", prediction, shape=(BATCH, *prediction.sizes[:1]), origin=loss.name)
        if len(prediction.shape) == IMAGE_RANK
        else prediction
    )
    target = graph.input(TARGET, (BATCH, *logits.sizes))
    return graph.add("CrossEntropy", logits, target, origin=loss.name)
