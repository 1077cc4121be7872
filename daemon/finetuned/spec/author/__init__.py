"""Models made and changed: dense networks from plain numbers, and updatable models out of plain ones.

Everything is a pure function that returns the bytes of a `.mlmodel`; what `finetuned.spec.check` refuses is never returned.
"""

from finetuned.spec.author.description import described
from finetuned.spec.author.extractor import dimensions, front
from finetuned.spec.author.labels import backbone, with_label, with_labels, without_label
from finetuned.spec.author.neighbors import emptied, voting, without_samples
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
from finetuned.spec.author.pipelines import Vote, nearest, vectors
from finetuned.spec.author.pixels import scaled
from finetuned.spec.author.settings import setting, with_parameters
from finetuned.spec.author.training import Marked, updatable

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "ArrayInput",
    "Dense",
    "ImageInput",
    "Layer",
    "Limits",
    "Marked",
    "Training",
    "Vote",
    "backbone",
    "classifier",
    "described",
    "dimensions",
    "emptied",
    "front",
    "nearest",
    "regressor",
    "scaled",
    "setting",
    "updatable",
    "vectors",
    "voting",
    "with_label",
    "with_labels",
    "with_parameters",
    "without_label",
    "without_samples",
]
