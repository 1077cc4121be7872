"""Updates of small classifiers, and the same trainings in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

import builders
import networks as n
import reference
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.features import Encoded
from finetuned.update.network import Epoch, MiniBatch, NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from more_models import head, nested

PIPELINES = {
    "nearest neighbours": (nested(), {}),
    "network": (nested(last=head()), {"learningRate": 0.1, "epochs": 3, "miniBatchSize": 5}),
}
"""Pipelines in pipelines, by what stands at their end, and parameters."""
SEEN: dict[str, Any] = {"y": n.numbers(12, 8, seed=3), "label": ["a", "b", "c"] * 4}
"""What they learn from."""
INPUTS, HIDDEN, CLASSES, SAMPLES = 6, 8, 3, 23


def blobs(samples: int = SAMPLES) -> Encoded:
    """Return three clouds of points, one a class."""
    rng = np.random.default_rng(3)
    targets = np.arange(samples) % CLASSES
    middles = rng.normal(size=(CLASSES, INPUTS))
    features = middles[targets] + 0.5 * rng.normal(size=(samples, INPUTS))
    return Encoded(features=features.astype(np.float32), targets=targets.astype(np.int64))


def update(
    data: bytes | None = None,
    *,
    threads: int = 1,
    seed: int = 0,
    devices: tuple[str, ...] = ("cpu",),
    **asked: object,
) -> NetworkUpdate:
    """Return an update of a dense classifier with the parameters that are asked for."""
    model = codec.decode(data or builders.dense_classifier(inputs=INPUTS, hidden=HIDDEN, classes=CLASSES))
    return NetworkUpdate(model, resolve(update_of(model), asked, seed=seed), threads=threads, devices=devices)


def trained(chosen: NetworkUpdate, data: Encoded) -> list[MiniBatch | Epoch]:
    """Run an update to its end."""
    return list(chosen.steps(data))


class Trainer:
    """The same network in plain NumPy at any precision: dense, tanh, dense, softmax, cross entropy; SGD or Adam.

    Gradients are written out by hand, and so are the optimizers (COREML.md §3.2).
    """

    def __init__(self, weights: dict[str, Any], *, adam: bool, rate: float, momentum: float = 0.0) -> None:
        self.weights = weights
        self.adam, self.rate, self.momentum = adam, rate, momentum
        self.first = {name: np.zeros_like(array) for name, array in weights.items()}
        self.second = {name: np.zeros_like(array) for name, array in weights.items()}
        self.time = 0

    def step(self, x: Any, classes: Any) -> float:  # noqa: ANN401 - arrays
        """Make a step; return the mean loss before it."""
        w = self.weights
        hidden = np.tanh(x @ w["hidden.weights"].T + w["hidden.biases"])
        logits = hidden @ w["output.weights"].T + w["output.biases"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = powers / powers.sum(axis=1, keepdims=True)
        rows = np.arange(len(x))
        loss = float(-np.log(p[rows, classes]).mean())
        p[rows, classes] -= 1
        dz = p / len(x)
        dh = (dz @ w["output.weights"]) * (1 - hidden**2)
        self._move("output.weights", dz.T @ hidden)
        self._move("output.biases", dz.sum(axis=0))
        self._move("hidden.weights", dh.T @ x)
        self._move("hidden.biases", dh.sum(axis=0))
        self.time += 1
        return loss

    def _move(self, name: str, gradient: Any) -> None:  # noqa: ANN401 - an array
        m, v = self.first[name], self.second[name]
        if not self.adam:
            m[...] = self.momentum * m + self.rate * gradient
            self.weights[name] -= m
            return
        t = self.time + 1
        m[...] = 0.9 * m + 0.1 * gradient
        v[...] = 0.999 * v + 0.001 * gradient**2
        rate = self.rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        self.weights[name] -= (rate * m / (np.sqrt(v) + 1e-8)).astype(m.dtype)


def reference_run(data: bytes, samples: Encoded, dtype: type, **options: Any) -> tuple[Trainer, list[float]]:  # noqa: ANN401 - a Trainer's
    """Train without shuffling, ten epochs in mini-batches of eight, the last partial."""
    layers = pb.Model.FromString(data).neuralNetworkClassifier.layers
    start = {name: array.astype(dtype) for name, array in reference.stored(layers).items()}
    trainer = Trainer(start, **options)
    x: Any = samples.features[:].astype(dtype)
    parts = [slice(i, i + 8) for i in range(0, len(x), 8)]
    found = [trainer.step(x[part], samples.targets[part]) for _ in range(10) for part in parts]
    return trainer, found


def moved_model(optimizer: str, activation: str) -> tuple[bytes, dict[str, Any]]:
    """Return a model and parameters for a training of 30 mini-batches, long enough to move in the middle of it."""
    data = builders.dense_classifier(
        inputs=INPUTS, hidden=HIDDEN, classes=CLASSES, activation=activation, optimizer=optimizer
    )
    asked: dict[str, Any] = {"learningRate": 0.05, "epochs": 10, "miniBatchSize": 8, "shuffle": False}
    return data, asked if optimizer == "adamOptimizer" else {**asked, "momentum": 0.9}
