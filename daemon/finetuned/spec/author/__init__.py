"""Models made and changed: dense networks from plain numbers, and updatable models out of plain ones.

Everything is a pure function that returns the bytes of a `.mlmodel`; what `finetuned.spec.check` refuses is never returned.
"""

from finetuned.spec.author.networks import (
    SGD,
    Activation,
    Adam,
    ArrayInput,
    Dense,
    ImageInput,
    Layer,
    Limits,
    Training,
    classifier,
    regressor,
)

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "ArrayInput",
    "Dense",
    "ImageInput",
    "Layer",
    "Limits",
    "Training",
    "classifier",
    "regressor",
]
