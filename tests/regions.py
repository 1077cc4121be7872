"""Networks that train beyond Core ML's rules, and the same trainings in PyTorch at any precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import kinds as k
import networks as n
import pytorch
import reference
from finetuned.spec import codec
from finetuned.update.features import encoded
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from shared import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from finetuned.spec import coreml_pb2 as pb
    from finetuned.update.features import Encoded

IMAGE = (2, 4, 4)
LABEL, BOX = "label", "box"
CLASSES = 3
Tensor = Any


def trained(layer: n.Layer) -> n.Layer:
    """Mark a layer and its weights as updatable."""
    layer.isUpdatable = True
    params = getattr(layer, layer.WhichOneof("layer") or "")
    params.weights.isUpdatable = params.bias.isUpdatable = True
    return layer


def reading(layer: n.Layer, blob: str) -> n.Layer:
    """Let a layer read this blob instead of the one before."""
    layer.input[:] = [blob]
    return layer


def conv(outputs: int, inputs: int, **options: Any) -> n.Layer:  # noqa: ANN401 - those of a convolution
    """Return a trained convolution that keeps the size."""
    return trained(n.convolution(outputs, inputs, padding="BOTTOM_RIGHT_HEAVY", **options))


# ── networks ────────────────────────────────────────────────────────────────────────────────────
def residual() -> pb.Model:
    """Return a block that adds its input again, with trained layers on both sides."""
    layers = [conv(2, 2), n.activation("ReLU"), conv(2, 2), n.add("l2", "l0"), n.activation("ReLU")]
    return n.trainable([*layers, n.dense(CLASSES, 32, updatable=True), n.softmax()], IMAGE)


def pooled_twice() -> pb.Model:
    """Return a convolution whose ReLU is pooled in two ways that meet."""
    pools = [reading(n.pooling(kind), "l1") for kind in ("MAX", "AVERAGE")]
    layers = [conv(2, 2), n.activation("ReLU"), *pools, k.merge("concat", "l2", "l3")]
    return n.trainable([*layers, n.dense(CLASSES, 16, updatable=True), n.softmax()], IMAGE)


def entered_twice() -> pb.Model:
    """Return a trained branch that meets a frozen one: the input and the frozen blob enter what trains."""
    layers = [n.convolution(1, 2), reading(conv(1, 2), n.INPUT), n.pooling("MAX"), n.add("l0", "l2")]
    return n.trainable([*layers, n.dense(2, 4, updatable=True)], IMAGE)


def gated() -> pb.Model:
    """Return squeeze and excitation: an image times a number per channel that is made of it."""
    gate = [n.pooling("AVERAGE", everywhere=True), n.dense(3, 3, updatable=True), n.activation("sigmoid")]
    layers = [conv(3, 2), *gate, k.merge("multiply", "l0", "l3")]
    return n.trainable([*layers, n.dense(2, 48, updatable=True)], IMAGE)


def chained() -> pb.Model:
    """Return every layer of one input that a gradient passes beyond Core ML, one after the other."""
    layers = [
        conv(2, 2),
        n.activation("leakyReLU", alpha=0.2),
        k.padding("reflection", (1, 0), (0, 1)),
        k.slopes("PReLU", 2),
        k.upsample(2, 1),
        n.activation("ELU", alpha=0.7),
        k.permute(0, 1, 3, 2),
        k.scale((2, 1, 1)),
        k.bias(2, 1, 1),
        n.activation("softplus"),
        n.clip(0.2, 1.5),
        k.reshape(4, 5, 5),
    ]
    return n.trainable([*layers, n.dense(2, 100, updatable=True)], IMAGE)


def frozen_between() -> pb.Model:
    """Return two frozen square products, one after the other, between trained ones."""
    layers = [
        n.dense(4, 4, updatable=trained, seed=seed) for seed, trained in enumerate((True, False, False))
    ]
    return n.trainable([*layers, n.dense(2, 4, updatable=True)], (4,))


def label_and_box() -> pb.Model:
    """Return a trunk with two heads: a label by cross entropy, and the four numbers of a box by the squared error."""
    heads = [n.dense(CLASSES, 32, updatable=True), n.softmax(), n.dense(4, 32, updatable=True, seed=1)]
    layers = [conv(2, 2), n.activation("ReLU"), *heads]
    layers[4].input[:] = ["l1"]
    message = n.trainable(layers, IMAGE)
    update = message.neuralNetwork.updateParams
    del update.lossLayers[:], message.description.trainingInput[1:]
    label, box = (update.lossLayers.add(name=f"{name}Loss") for name in (LABEL, BOX))
    label.categoricalCrossEntropyLossLayer.input, label.categoricalCrossEntropyLossLayer.target = "l3", LABEL
    box.meanSquaredErrorLossLayer.input, box.meanSquaredErrorLossLayer.target = "l4", BOX
    for name, width in ((LABEL, 1), (BOX, 4)):
        n.array_feature(message.description.trainingInput.add(name=name), (width,))
    return message


NETWORKS: dict[str, Callable[[], pb.Model]] = {
    each.__name__: each
    for each in (residual, pooled_twice, entered_twice, gated, chained, frozen_between, label_and_box)
}


# ── trainings ───────────────────────────────────────────────────────────────────────────────────
def samples(message: pb.Model, count: int) -> dict[str, Any]:
    """Return random samples for a model, by feature name."""
    shape = message.description.input[0].type.multiArrayType.shape
    data = {n.INPUT: n.numbers(count, *shape, seed=count)}
    for loss in message.neuralNetwork.updateParams.lossLayers:
        if loss.HasField("categoricalCrossEntropyLossLayer"):
            data[loss.categoricalCrossEntropyLossLayer.target] = np.arange(count) % CLASSES
        else:
            (target,) = (
                feature
                for feature in message.description.trainingInput
                if feature.name == loss.meanSquaredErrorLossLayer.target
            )
            data[target.name] = n.numbers(count, *target.type.multiArrayType.shape, seed=count + 1)
    return data


def update(
    message: pb.Model, loss_weights: Mapping[str, object] | None = None, **asked: object
) -> NetworkUpdate:
    """Return an update beyond Core ML."""
    model = codec.decode(message.SerializeToString())
    force = resolve(update_of(model), asked, seed=0)
    return NetworkUpdate(model, force, beyond_coreml=True, loss_weights=loss_weights)


def prepared(chosen: NetworkUpdate, message: pb.Model, count: int) -> Encoded:
    """Return the samples as the update wants them."""
    return encoded(chosen, samples(message, count))


MERGES: dict[str, Callable[..., Tensor]] = {
    "add": lambda _, a, b: a + b,
    "multiply": lambda _, a, b: a * b.reshape(*b.shape, *[1] * (a.dim() - b.dim())),
    "concat": lambda torch, *parts: torch.cat(parts, dim=1),
}


def blobs(layers: Sequence[n.Layer], x: Tensor, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return every blob in PyTorch; a softmax's holds the logits."""
    known = {n.INPUT: x}
    for layer in layers:
        kind, inputs = layer.WhichOneof("layer") or "", [known[blob] for blob in layer.input]
        if kind in MERGES:
            known[layer.output[0]] = MERGES[kind](oracle("torch"), *inputs)
        else:
            chain = [] if kind == "softmax" else [layer]
            known[layer.output[0]] = pytorch.forward(chain, inputs[0], tensors)
    return known


def loss(
    message: pb.Model, data: Mapping[str, Any], tensors: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    """Return the weighted sum of the losses, each the mean over the samples, at the precision of the tensors."""
    torch = oracle("torch")
    dtype = next(iter(tensors.values())).dtype
    network = message.neuralNetwork
    known = blobs(network.layers, torch.tensor(data[n.INPUT], dtype=dtype), tensors)
    total = torch.zeros((), dtype=dtype)
    for each in network.updateParams.lossLayers:
        entropy = each.HasField("categoricalCrossEntropyLossLayer")
        kind = each.categoricalCrossEntropyLossLayer if entropy else each.meanSquaredErrorLossLayer
        target = torch.tensor(data[kind.target], dtype=torch.int64 if entropy else dtype)
        total = (
            total + weights.get(each.name, 1.0) * pytorch.losses(entropy, known[kind.input], target).mean()
        )
    return total


def gradients(
    message: pb.Model, data: Mapping[str, Any], weights: Mapping[str, float], dtype: str = "float64"
) -> dict[str, Any]:
    """Return PyTorch's gradients for the trained weights."""
    torch = oracle("torch")
    found = reference.stored(layer for layer in message.neuralNetwork.layers if layer.isUpdatable)
    tensors = {
        name: torch.tensor(array, dtype=getattr(torch, dtype), requires_grad=True)
        for name, array in found.items()
    }
    loss(message, data, tensors, weights).backward()
    return {name: tensor.grad.numpy() for name, tensor in tensors.items() if tensor.grad is not None}
