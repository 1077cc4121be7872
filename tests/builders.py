"""Small models for tests: valid by default, spoiled on purpose by `edited`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetuned.spec import author
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.model import FloatArray

OPTIMIZERS = {"sgdOptimizer": author.SGD, "adamOptimizer": author.Adam}


def random_weights(*shape: int, seed: int = 0) -> FloatArray:
    """Return float32 numbers around zero, small enough for a network to learn from."""
    scale = 1 / np.sqrt(shape[-1])
    return np.asarray(np.random.default_rng([seed, *shape]).normal(scale=scale, size=shape), np.float32)


def dense_layers(  # noqa: PLR0913 - the parts of a small network, by name
    *,
    inputs: int,
    hidden: int,
    outputs: int,
    activation: str = "ReLU",
    seed: int = 0,
    train_hidden: bool = True,
) -> list[author.Layer]:
    """Return dense (`hidden`) → activation → dense (`output`); hidden=0 leaves the single dense layer."""
    last = author.Dense(
        name="output",
        weights=random_weights(outputs, hidden or inputs, seed=seed),
        bias=random_weights(outputs, seed=seed),
        updatable=True,
    )
    if not hidden:
        return [last]
    first = author.Dense(
        name="hidden",
        weights=random_weights(hidden, inputs, seed=seed),
        bias=random_weights(hidden, seed=seed),
        updatable=train_hidden,
    )
    return [first, author.Activation(kind=activation, name="activation"), last]


def dense_classifier(  # noqa: PLR0913 - the parts of a small model, by name
    *,
    inputs: int = 4,
    hidden: int = 8,
    classes: int = 3,
    optimizer: str = "sgdOptimizer",
    image: author.ImageInput | None = None,
    activation: str = "ReLU",
    labels: list[str] | list[int] | None = None,
    training: author.Training | None = None,
    seed: int = 0,
    train_hidden: bool = True,
) -> bytes:
    """Return an updatable classifier: dense `hidden`, activation, dense `output`, softmax, cross entropy.

    The input is the vector `features` [inputs], or `image`; the labels are a, b, c …
    """
    source = image or author.ArrayInput(size=inputs)
    layers = dense_layers(
        inputs=source.size,
        hidden=hidden,
        outputs=classes,
        activation=activation,
        seed=seed,
        train_hidden=train_hidden,
    )
    return author.classifier(
        input=source,
        layers=layers,
        labels=labels or [chr(ord("a") + i) for i in range(classes)],
        training=training or author.Training(optimizer=OPTIMIZERS[optimizer]()),
    )


def dense_regressor(  # noqa: PLR0913 - the parts of a small model, by name
    *,
    inputs: int = 4,
    hidden: int = 8,
    outputs: int = 1,
    optimizer: str = "sgdOptimizer",
    activation: str = "tanh",
    training: author.Training | None = None,
    seed: int = 0,
) -> bytes:
    """Return an updatable regressor from `features` [inputs] to `output` [outputs], mean squared error."""
    return author.regressor(
        input=author.ArrayInput(size=inputs),
        layers=dense_layers(inputs=inputs, hidden=hidden, outputs=outputs, activation=activation, seed=seed),
        training=training or author.Training(optimizer=OPTIMIZERS[optimizer]()),
    )


def edited(data: bytes, change: Callable[[pb.Model], object]) -> bytes:
    """Return the model after `change` has had its message."""
    message = pb.Model.FromString(data)
    change(message)
    return message.SerializeToString(deterministic=True)
