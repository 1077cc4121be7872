"""What must be true of any bytes: they are read, judged and compiled, or refused with a `ModelError`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import networks as n
from builders import dense_classifier, dense_regressor
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference, compile_training
from finetuned.spec import check, codec
from finetuned.spec.author import ImageInput
from finetuned.spec.codec import LayerWeights
from finetuned.spec.model import Convolution, InnerProduct
from more_models import neighbors, pipeline
from spec.edits import fill

if TYPE_CHECKING:
    from finetuned.spec import coreml_pb2 as pb
    from finetuned.spec.model import Model


def endure(data: bytes) -> None:
    """Do all that is done with a stranger's file before it is run; anything but a ModelError goes through."""
    with contextlib.suppress(ModelError):
        model = codec.decode(data)
        reasons = check.reasons(model)
        beyond = (*check.reasons(model, beyond_coreml=True), *check.departures(model))
        for reason in (*reasons, *beyond):
            assert reason.remedy
            assert reason.message.isprintable(), reason.message
            assert len(reason.message) < LONGEST_REASON, reason.message
        for action in (compile_inference, compile_training, save):
            with contextlib.suppress(ModelError):
                action(model)


LONGEST_REASON = 4000


def save(model: Model) -> None:
    """Save the trained layers' own weights: nothing changes."""
    layers = model.network.layers if model.network else ()
    same = {
        layer.name: LayerWeights(
            weights=codec.array(found.weights, codec.weight_shape(found)),
            bias=codec.array(found.bias, (found.output_channels,)) if found.bias else None,
        )
        for layer in layers
        if isinstance(found := layer.parameters, InnerProduct | Convolution) and layer.updatable
    }
    assert codec.encode(model, same) == model.data


def small_models() -> list[bytes]:
    """Return a model of every sort, each a few hundred bytes."""
    messages: list[pb.Model] = [convolutional(), deconvolutional(), branched(), neighbors(), pipeline()]
    messages += [frozen_front(), beyond_coreml()]
    return [
        dense_classifier(hidden=2, image=ImageInput(width=2, height=2)),
        dense_classifier(optimizer="adamOptimizer", labels=[3, 1, 2]),
        dense_regressor(hidden=2, optimizer="adamOptimizer"),
        *(message.SerializeToString(deterministic=True) for message in messages),
    ]


def convolutional() -> pb.Model:
    """Return convolution, max pooling, flatten, dense, softmax; all is trained."""
    layer = n.convolution(2, 2, groups=2, padding="BOTTOM_RIGHT_HEAVY", updatable=True)
    layers = [layer, n.activation("ReLU"), n.pooling("MAX", last_pixel=(0, 1)), n.flatten(channel_last=True)]
    return n.trainable([*layers, n.dense(3, 12, updatable=True), n.softmax()], [2, 4, 5])


def deconvolutional() -> pb.Model:
    """Return a deconvolution with an output shape, average pooling, dense; squared error."""
    layer = n.deconvolution(2, 1, size=(5, 6), stride=(2, 2), padding="TOP_LEFT_HEAVY", updatable=True)
    layers = [layer, n.pooling("AVERAGE", everywhere=True), n.dense(2, 2, updatable=True)]
    return n.trainable(layers, [1, 3, 3])


def branched() -> pb.Model:
    """Return a frozen front with a sum, behind it a trained dense layer."""
    layers = [n.dense(3, 4), n.activation("tanh"), n.add("l0", "l1"), n.clip(-1, 1)]
    return n.trainable([*layers, n.dense(2, 3, updatable=True), n.softmax()], [4])


FRONT = (
    "batchnorm",
    "scale",
    "bias",
    "PReLU",
    "padding",
    "lrn",
    "unary",
    "l2normalize",
    "permute",
    "crop",
    "reduce",
)
BEYOND = ("scale", "ELU", "reshape", "bias", "PReLU", "softplus", "upsample")


def frozen_front() -> pb.Model:
    """Return a chain of layers that only run, and a trained one behind it."""
    layers = [fill(n.Layer(), kind) for kind in FRONT]
    layers[FRONT.index("padding")].padding.paddingAmounts.borderAmounts.add(startEdgeSize=1, endEdgeSize=2)
    layers[FRONT.index("padding")].padding.paddingAmounts.borderAmounts.add(startEdgeSize=0, endEdgeSize=1)
    return n.trainable([*layers, n.dense(2, 1, updatable=True), n.softmax()], [4, 3, 5])


def beyond_coreml() -> pb.Model:
    """Return a trained layer, what only the arithmetic lets a gradient through, branches that meet, and two losses."""
    layers = [n.dense(4, 4, updatable=True), *(fill(n.Layer(), kind) for kind in BEYOND)]
    merged = n.Layer(input=["l0", f"l{len(BEYOND)}"])
    merged.concat.SetInParent()
    model = n.trainable([*layers, merged, n.dense(2, 8, updatable=True), n.softmax()], [4])
    second = model.neuralNetwork.updateParams.lossLayers.add(name="second").meanSquaredErrorLossLayer
    second.input, second.target = "l0", "box"
    n.array_feature(model.description.trainingInput.add(name="box"), (4,))
    return model
