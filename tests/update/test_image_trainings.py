"""Whole trainings of convolutional networks against PyTorch in float64, as closely as PyTorch's own float32 comes to it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
import pytorch
import reference
from finetuned.graph.program import compile_inference
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.features import Encoded
from finetuned.update.network import MiniBatch, NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from finetuned.update.session import Session
from shared import oracle, shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.spec.model import Model

LENET = "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel"
SAMPLES, SIZE, EPOCHS = 21, 8, 10
RATE = {"sgdOptimizer": 0.005, "adamOptimizer": 0.01}


def convnet(*last: n.Layer, outputs: int) -> list[n.Layer]:
    """Return convolution, ReLU, the greatest, convolution, ReLU, the mean, flattened, dense, ReLU, dense: all trained."""
    return [
        n.convolution(4, 2, padding="BOTTOM_RIGHT_HEAVY", updatable=True),
        n.activation("ReLU"),
        n.pooling("MAX"),
        n.convolution(5, 4, stride=(1, 2), bias=False, updatable=True),
        n.activation("ReLU"),
        n.pooling("AVERAGE", kernel=(2, 1), stride=(1, 1)),
        n.flatten(channel_last=True),
        n.dense(6, 10, updatable=True),
        n.activation("ReLU"),
        n.dense(outputs, 6, updatable=True, seed=1),
        *last,
    ]


def autoencoder() -> list[n.Layer]:
    """Return a strided convolution and the deconvolution that leads back to the picture, both trained."""
    return [
        n.convolution(6, 2, stride=(2, 2), padding="BOTTOM_RIGHT_HEAVY", updatable=True),
        n.activation("tanh"),
        n.deconvolution(2, 6, kernel=(2, 3), stride=(2, 2), size=(10, 9), updatable=True),
    ]


TRAININGS = {
    "cross entropy": convnet(n.softmax(), outputs=3),
    "squared error": convnet(outputs=2),
    "squared error of pictures": autoencoder(),
}


def samples(name: str) -> Encoded:
    """Return pictures of three classes, or each with two numbers to be found in it, or with itself."""
    classes = np.arange(SAMPLES) % 3
    x = n.numbers(SAMPLES, 2, 10, 9) + n.numbers(3, 2, 10, 9, seed=1)[classes]
    targets = {
        "cross entropy": classes,
        "squared error": n.numbers(3, 2, seed=2)[classes],
        "squared error of pictures": x,
    }
    return Encoded(features=x, targets=targets[name])


# ── the same in PyTorch ─────────────────────────────────────────────────────────────────────────
class Trainer:
    """A training in PyTorch at either precision; the optimizers are those of COREML.md §3.2, written out here."""

    def __init__(
        self, layers: Sequence[n.Layer], kind: str, dtype: str, *, rate: float, momentum: float = 0.9
    ) -> None:
        self.torch = oracle("torch")
        self.dtype = getattr(self.torch, dtype)
        self.entropy = layers[-1].HasField("softmax")
        self.layers = layers[:-1] if self.entropy else layers
        self.weights = {
            name: self.torch.tensor(array, dtype=self.dtype, requires_grad=True)
            for name, array in reference.stored(layers).items()
        }
        self.move = self._adam if kind == "adamOptimizer" else self._sgd
        self.rate, self.momentum, self.time = rate, momentum, 0
        self.first, self.second = (
            {name: self.torch.zeros_like(tensor) for name, tensor in self.weights.items()} for _ in range(2)
        )

    def epoch(self, data: Encoded, size: int) -> list[float]:
        """Take all samples in order, the last mini-batch as it is; return the losses before each step."""
        parts = [slice(i, i + size) for i in range(0, len(data), size)]
        return [self._step(np.asarray(data.features[p]), np.asarray(data.targets[p])) for p in parts]

    def _step(self, x: Any, target: Any) -> float:  # noqa: ANN401 - arrays
        wanted = self.torch.tensor(target)
        y = pytorch.forward(self.layers, self.torch.tensor(x, dtype=self.dtype), self.weights)
        loss = pytorch.losses(self.entropy, y, wanted if self.entropy else wanted.to(self.dtype)).mean()
        loss.backward()
        self.time += 1
        with self.torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.sub_(self.move(name, tensor.grad))
                tensor.grad = None
        return float(loss.detach())

    def _sgd(self, name: str, gradient: Any) -> Any:  # noqa: ANN401 - tensors
        self.first[name] = self.momentum * self.first[name] + self.rate * gradient
        return self.first[name]

    def _adam(self, name: str, gradient: Any) -> Any:  # noqa: ANN401 - tensors
        self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
        self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
        rate = self.rate * (1 - 0.999**self.time) ** 0.5 / (1 - 0.9**self.time)
        return rate * self.first[name] / (self.second[name].sqrt() + 1e-8)


def ours(model: Model, data: Encoded, **asked: object) -> tuple[NetworkUpdate, list[float]]:
    """Return an update after its training, and the losses of its mini-batches."""
    chosen = NetworkUpdate(model, resolve(update_of(model), {"shuffle": False, **asked}, seed=0))
    return chosen, [event.loss for event in chosen.steps(data) if isinstance(event, MiniBatch)]


def assert_as_close_as_float32(found: NetworkUpdate, exact: Trainer, rounded: Trainer) -> None:
    """No weight is further from float64 than ten times what PyTorch's float32 loses on the same way."""
    for name in exact.weights:
        layer, key = name.split(".")
        wanted, float32 = (each.weights[name].detach().numpy() for each in (exact, rounded))
        array: Any = getattr(found.weights()[layer], {"weights": "weights", "biases": "bias"}[key])
        tolerance = 10 * np.abs(float32 - wanted).max() + 1e-6
        np.testing.assert_allclose(array, wanted, rtol=0, atol=tolerance, err_msg=name)
        assert np.abs(float32 - wanted).max() < 0.01 * np.abs(wanted).max(), "the tolerance says something"


@pytest.mark.parametrize("optimizer", ["sgdOptimizer", "adamOptimizer"])
@pytest.mark.parametrize("name", TRAININGS)
def test_a_convolutional_networks_training_follows_the_float64_reference(optimizer: str, name: str) -> None:
    layers = [n.Layer.FromString(layer.SerializeToString()) for layer in TRAININGS[name]]
    momentum = {"momentum": 0.9} if optimizer == "sgdOptimizer" else {}
    message = n.trainable(layers, (2, 10, 9), optimizer=optimizer, learningRate=RATE[optimizer], **momentum)
    data = samples(name)
    message.description.trainingInput[1].type.multiArrayType.shape[:] = data.targets.shape[1:] or [1]
    found, losses = ours(n.decoded(message), data, epochs=EPOCHS, miniBatchSize=SIZE)
    exact, rounded = (
        Trainer(message.neuralNetwork.layers, optimizer, dtype, rate=RATE[optimizer])
        for dtype in ("float64", "float32")
    )
    wanted = [loss for _ in range(EPOCHS) for loss in exact.epoch(data, SIZE)]
    for _ in range(EPOCHS):
        rounded.epoch(data, SIZE)
    assert len(losses) == 30
    assert losses[-3] < 0.6 * losses[0], "the training moved something"
    np.testing.assert_allclose(losses, wanted, rtol=1e-3, atol=1e-4)
    assert_as_close_as_float32(found, exact, rounded)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_saved_model_runs_with_the_weights_that_were_trained(name: str) -> None:
    layers = [n.Layer.FromString(layer.SerializeToString()) for layer in TRAININGS[name]]
    message, data = n.trainable(layers, (2, 10, 9), learningRate=RATE["sgdOptimizer"]), samples(name)
    message.description.trainingInput[1].type.multiArrayType.shape[:] = data.targets.shape[1:] or [1]
    found, _ = ours(n.decoded(message), data)
    before, after = (
        Session(compile_inference(model)).run({n.INPUT: np.asarray(data.features)})[layers[-1].output[0]]
        for model in (found.model, codec.decode(found.encode()))
    )
    predicted, _ = found.predict(np.asarray(data.features), np.asarray(data.targets))
    np.testing.assert_allclose(after.reshape(predicted.shape), predicted, rtol=1e-4, atol=1e-5)
    assert np.abs(after - before).max() > 1e-2


# ── digits ──────────────────────────────────────────────────────────────────────────────────────
def digits(rows: slice) -> Encoded:
    """Return some of MNIST's ten thousand digits for tests, 0…1, and which they are."""
    images, labels = (
        np.frombuffer(
            gzip.decompress(shared(f"mnist_t10k/t10k-{name}.gz").read_bytes()), np.uint8, offset=offset
        )
        for name, offset in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    pixels = images.reshape(-1, 1, 28, 28)[rows] / np.float32(255)
    return Encoded(features=pixels, targets=labels[rows].astype(np.int64))


def test_an_epoch_of_the_shared_lenet_follows_the_float64_reference() -> None:
    data = shared(LENET).read_bytes()
    layers = pb.Model.FromString(data).neuralNetworkClassifier.layers
    few, rate = digits(slice(72)), 0.001
    found, losses = ours(codec.decode(data), few, epochs=1, miniBatchSize=16, learningRate=rate)
    exact, rounded = (Trainer(layers, "adamOptimizer", dtype, rate=rate) for dtype in ("float64", "float32"))
    np.testing.assert_allclose(losses, exact.epoch(few, 16), rtol=1e-4)
    rounded.epoch(few, 16)
    assert len(losses) == 5
    assert_as_close_as_float32(found, exact, rounded)


def test_the_shared_lenet_learns_to_read_digits_that_it_has_not_seen() -> None:
    model = codec.decode(shared(LENET).read_bytes())
    unseen = digits(slice(5000, 5500))
    found, _ = ours(model, digits(slice(1000)), epochs=2, miniBatchSize=32, learningRate=0.001)
    before = NetworkUpdate(model, found.parameters).measure(unseen)
    after = found.measure(unseen)
    assert before.accuracy is not None
    assert after.accuracy is not None
    assert before.accuracy < 0.3
    assert after.accuracy > 0.9
