"""Trainings that must end in the same bytes however often they are done; as a script it prints a digest of each.

Their mini-batches leave a partial one over, and on the way the learning rate changes.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import networks as n
from finetuned import rows
from finetuned.update.events import MetricKey, ProgressEvent, ProgressHandlers
from finetuned.update.task import UpdateTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.update.events import Handler, UpdateContext

ADAM: dict[str, Any] = {"optimizer": "adamOptimizer", "learningRate": 0.01}
MOMENTUM: dict[str, Any] = {"momentum": 0.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A training: a model with the input `x` of this shape, and what is asked for."""

    model: bytes
    shape: tuple[int, ...]
    classes: int = 3
    samples: int = 11
    asked: Mapping[str, object] = field(default_factory=dict)
    target: str = n.TARGET
    input: str = n.INPUT

    @property
    def data(self) -> dict[str, Any]:
        """The samples; the targets of a regressor (no classes) are two numbers each."""
        if self.classes:
            targets = np.arange(self.samples) % self.classes
        else:
            targets = n.numbers(self.samples, 2, seed=1)
        return {self.input: n.numbers(self.samples, *self.shape), self.target: targets}

    def task(self, react: Handler | None = None, **options: Any) -> UpdateTask:  # noqa: ANN401 - UpdateTask's own
        """Return the task; `react` is called at every event, after the learning rate has changed."""

        def told(context: UpdateContext) -> None:
            if context.event is ProgressEvent.epochEnd and context.metrics[MetricKey.epochIndex] == 0:
                rate = context.parameters["learningRate"]
                context.task.resume_with_parameters({"learningRate": float(rate) / 2})
            if react is not None:
                react(context)

        return UpdateTask(
            self.model,
            self.data,
            parameters={"epochs": 2, **self.asked},
            handlers=ProgressHandlers(progress=told),
            **options,
        )

    def bytes(self, **options: Any) -> bytes:  # noqa: ANN401 - UpdateTask's own
        """Return the model in the end."""
        task = self.task(**options)
        task.resume()
        return task.model.encode()


def _model(layers: Sequence[n.Layer], shape: tuple[int, ...], **options: Any) -> bytes:  # noqa: ANN401 - `trainable`'s own
    return n.trainable(layers, shape, **options).SerializeToString(deterministic=True)


def _dense(**options: Any) -> bytes:  # noqa: ANN401 - as above
    layers = [
        n.dense(8, 13, updatable=True),
        n.activation("tanh"),
        n.dense(3, 8, updatable=True),
        n.softmax(),
    ]
    return _model(layers, (13,), **options)


def _convolutional(*, frozen: bool = False, **options: Any) -> bytes:  # noqa: ANN401 - as above
    """Convolution, ReLU, pooling, a strided convolution in groups, sigmoid, dense."""
    layers = [
        n.convolution(4, 2, padding="BOTTOM_RIGHT_HEAVY", updatable=not frozen),
        n.activation("ReLU"),
        n.pooling("MAX"),
        n.convolution(6, 4, stride=(2, 2), groups=2, padding=((1, 1), (1, 1)), updatable=not frozen),
        n.activation("sigmoid"),
        n.flatten(),
        n.dense(3, 24, updatable=True),
        n.softmax(),
    ]
    return _model(layers, (2, 8, 8), **options)


REPEATS = {
    "dense, sgd": Repeat(model=_dense(), shape=(13,), asked=MOMENTUM),
    "dense, adam, in order": Repeat(model=_dense(**ADAM), shape=(13,), asked={"shuffle": False}),
    "dense, one sample at a time": Repeat(model=_dense(), shape=(13,), samples=3, asked={"miniBatchSize": 1}),
    "numbers": Repeat(
        model=_model([n.dense(2, 13, updatable=True)], (13,), **MOMENTUM), shape=(13,), classes=0
    ),
    "convolutions, sgd": Repeat(model=_convolutional(**MOMENTUM), shape=(2, 8, 8)),
    "convolutions, adam": Repeat(model=_convolutional(**ADAM), shape=(2, 8, 8), asked={"miniBatchSize": 5}),
    "behind frozen convolutions": Repeat(model=_convolutional(frozen=True, **ADAM), shape=(2, 8, 8)),
}


def lenet(model: bytes) -> Repeat:
    """Return a training of the shared LeNet, all of whose layers are trained by Adam."""
    asked = {"miniBatchSize": 16, "learningRate": 0.001}
    return Repeat(
        model=model, shape=(1, 28, 28), classes=10, samples=20, input="image", target="digit", asked=asked
    )


def digests(repeats: Mapping[str, Repeat]) -> list[str]:
    """Return a line for each training at one and at two threads."""
    return [
        f"{hashlib.sha256(repeat.bytes(threads=threads)).hexdigest()} {name}, {threads}"
        for name, repeat in repeats.items()
        for threads in (1, 2)
    ]


def main(model: str, in_memory: str) -> None:
    """Train everything with so many bytes of rows in memory."""
    rows.IN_MEMORY = int(in_memory)
    found = digests(REPEATS | {"LeNet": lenet(Path(model).read_bytes())})
    sys.stdout.write("\n".join(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
