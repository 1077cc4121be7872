"""The programs of an update as they are compiled, with frozen layers before, between and behind the trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import kinds as k
import networks as n
import pytorch
import reference
from finetuned.graph.program import (
    FEATURES,
    GRADIENT,
    LOSS,
    LOSSES,
    PREDICTION,
    SAMPLE_WEIGHTS,
    compile_training,
)
from finetuned.update.session import Session
from shared import oracle

if TYPE_CHECKING:
    from finetuned.graph.program import Training
    from finetuned.spec import coreml_pb2 as pb

IMAGE = (2, 8, 6)
ROWS = 4
SAME = "BOTTOM_RIGHT_HEAVY"


def conv(outputs: int, inputs: int, **options: Any) -> n.Layer:  # noqa: ANN401 - a convolution's
    """Return a convolution that is trained."""
    return n.convolution(outputs, inputs, updatable=True, **options)


# The layers, and how many of them come before the first that is trained.
MODELS: dict[str, tuple[list[n.Layer], int]] = {
    "all trained": ([conv(3, 2), n.activation("ReLU"), n.pooling("MAX"), n.dense(3, 18, updatable=True)], 0),
    "an activation first": ([n.activation("tanh"), conv(3, 2)], 1),
    "a pooling first": (
        [n.pooling("AVERAGE", stride=(2, 1)), conv(3, 2), n.pooling("L2", everywhere=True)],
        1,
    ),
    "convolutions that any front may have": (
        [
            n.convolution(4, 2, groups=2, padding=SAME),
            k.batchnorm(4),
            n.activation("leakyReLU", alpha=0.1),
            n.pooling("MAX", kernel=(3, 3), stride=(2, 1), padding=SAME),
            conv(2, 4, stride=(1, 2)),
            n.activation("sigmoid"),
            n.flatten(),
            n.dense(3, 8, updatable=True),
            n.softmax(),
        ],
        4,
    ),
    "a flattened front": ([n.flatten(channel_last=True), n.dense(3, 96, updatable=True), n.softmax()], 1),
    "frozen layers in between": (
        [
            conv(3, 2, bias=False),
            n.convolution(4, 3, stride=(2, 1), seed=1),
            k.batchnorm(4),
            n.activation("ReLU"),
            n.deconvolution(2, 4, kernel=(2, 2), stride=(1, 2)),
            conv(3, 2, seed=2),
            n.flatten(),
            n.dense(4, 6, seed=3),
            n.dense(3, 4, updatable=True, seed=4),
            n.softmax(),
        ],
        0,
    ),
    "frozen layers behind": (
        [
            n.deconvolution(3, 2, stride=(2, 2), updatable=True),
            n.activation("tanh"),
            n.convolution(2, 3, stride=(3, 3)),
            n.pooling("AVERAGE", everywhere=True),
            n.dense(3, 2),
            n.softmax(),
        ],
        0,
    ),
    "the squared error of an image": (
        [n.convolution(3, 2, padding=SAME), conv(4, 3, padding=SAME), n.activation("ReLU"), conv(2, 4)],
        1,
    ),
}


class Batch:
    """A model, samples for it, and what its programs are fed with."""

    def __init__(self, name: str) -> None:
        layers, self.front = MODELS[name]
        copies = [n.Layer.FromString(layer.SerializeToString()) for layer in layers]
        self.message: pb.Model = n.trainable(copies, IMAGE)
        self.layers = list(self.message.neuralNetwork.layers)
        self.x = n.numbers(ROWS, *IMAGE)
        self.blobs = reference.forward(self.layers, {n.INPUT: self.x})
        self.output = self.blobs[self.layers[-1].output[0]]
        self.entropy = self.layers[-1].HasField("softmax")
        self.classes = self.output.reshape(ROWS, -1).argmin(axis=1)
        self.target = n.numbers(*self.output.shape, seed=3).astype(np.float64)
        self.each = np.array([0.4, 0.3, 0.2, 0.1], np.float32)

    def feeds(self, training: Training) -> dict[str, Any]:
        """Return what the programs read, after the frozen part has run."""
        front = training.features
        features = Session(front).run({n.INPUT: self.x})[FEATURES] if front else self.x
        onehot = np.eye(self.output[0].size, dtype=np.float32)[self.classes]
        stored = reference.stored(self.layers)
        return {
            FEATURES: features,
            "target": onehot if self.entropy else self.target.astype(np.float32),
            SAMPLE_WEIGHTS: self.each,
            **{name: stored[name].astype(np.float32) for name in training.parameters},
        }


@pytest.mark.parametrize("name", MODELS)
def test_the_frozen_part_and_the_head_compute_what_the_format_says(name: str) -> None:
    batch = Batch(name)
    training = compile_training(n.decoded(batch.message))
    assert [layer.name for layer in training.cut.frozen] == [
        layer.name for layer in batch.layers[: batch.front]
    ]
    feeds = batch.feeds(training)
    if batch.front:
        wanted = batch.blobs[batch.layers[batch.front - 1].output[0]]
        np.testing.assert_allclose(feeds[FEATURES], wanted, rtol=1e-5, atol=1e-5)
    head = Session(training.head).run({key: feeds[key] for key in training.head.inputs})
    assert head[PREDICTION].shape == batch.output.shape
    np.testing.assert_allclose(head[PREDICTION], batch.output, rtol=1e-5, atol=1e-5)
    if batch.entropy:
        losses = reference.cross_entropy(batch.output, batch.classes)
    else:
        losses = reference.squared_error(batch.output, batch.target)
    np.testing.assert_allclose(head[LOSSES], losses, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_steps_loss_and_gradients_are_pytorchs_for_the_trained_layers_and_no_others(name: str) -> None:
    torch, batch = oracle("torch"), Batch(name)
    training = compile_training(n.decoded(batch.message))
    feeds = batch.feeds(training)
    found = Session(training.step).run({key: feeds[key] for key in training.step.inputs})
    stored = reference.stored(batch.layers)
    trained = {key: torch.tensor(stored[key], requires_grad=True) for key in training.parameters}
    below = batch.layers[:-1] if batch.entropy else batch.layers
    y = pytorch.forward(below, torch.tensor(batch.x.astype(np.float64)), trained)
    target = torch.tensor(batch.classes if batch.entropy else batch.target)
    loss = (pytorch.losses(batch.entropy, y, target) * torch.tensor(batch.each)).sum()
    loss.backward()
    assert set(trained) == {key for key in stored if key.split(".")[0] in training.cut.trained}
    assert set(found) == {LOSS, *(f"{GRADIENT}{key}" for key in trained)}
    assert found[LOSS] == pytest.approx(loss.item(), rel=1e-5)
    for key, tensor in trained.items():
        wanted = tensor.grad.numpy()
        tolerance = 1e-5 * np.abs(wanted).max()
        np.testing.assert_allclose(found[f"{GRADIENT}{key}"], wanted, rtol=0, atol=tolerance, err_msg=key)
