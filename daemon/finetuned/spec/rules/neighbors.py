"""Rules for k-nearest neighbours (COREML.md §4): samples and labels, the index, and what a new sample must contain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from finetuned.spec.model import ArrayType, ScalarType
from finetuned.spec.names import few, listed, quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.interface import in_words, label_kind
from finetuned.spec.rules.parameters import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Feature, Model
    from finetuned.spec.neighbors import Neighbors

AGAIN = "build the model again, with coremltools' KNearestNeighborsClassifierBuilder"


def samples(_: Model, found: Neighbors) -> Iterator[Reason]:
    """There is a label for each sample, and every sample has as many numbers as there are dimensions."""
    count, labels = len(found.lengths), len(found.labels)
    if found.dimensions < 1:
        yield Reason(
            rule="dimensions",
            message=f"numberOfDimensions is {found.dimensions}; a positive number is needed",
            remedy=AGAIN,
        )
    if labels and not count:
        yield _samples(f"the classifier has no data points, and {labels} labels")
    elif labels != count:
        yield _samples(f"the classifier has {labels} labels for {count} samples; each sample has one")
    wrong = np.flatnonzero(found.lengths != found.dimensions)
    if len(wrong):
        first = int(wrong[0])
        yield _samples(
            f"{len(wrong)} of the {count} samples have another length than numberOfDimensions ({found.dimensions}): "
            f"sample {first} has {found.lengths[first]} numbers"
        )


def _samples(message: str) -> Reason:
    return Reason(rule="samples", message=message, remedy=AGAIN)


def finite(_: Model, found: Neighbors) -> Iterator[Reason]:
    """No stored sample is NaN or infinite: it would be nobody's neighbour."""
    wrong = int(np.count_nonzero(~np.isfinite(found.numbers)))
    if wrong:
        yield Reason(
            rule="notFinite",
            message=f"{wrong} of the {found.numbers.size} stored numbers are NaN or infinite",
            remedy="start from a model without them, or from an empty one",
        )


def index(_: Model, found: Neighbors) -> Iterator[Reason]:
    """An index, a distance and a weighting are chosen."""
    if not found.index:
        yield _choice(
            "no index type is specified; linearIndex and singleKdTreeIndex are allowed", "choose an index"
        )
    if found.index == "singleKdTreeIndex" and found.leaf_size <= 0:
        yield _choice(
            f"the k-d tree's leafSize is {found.leaf_size}; it must be positive", "set leafSize, say to 30"
        )
    if not found.distance:
        yield _choice("no distance function is set; squaredEuclideanDistance is the one there is", "set it")
    if not found.weighting:
        yield _choice(
            "no weighting scheme is set; uniformWeighting and inverseDistanceWeighting are allowed",
            "choose one",
        )


def _choice(message: str, remedy: str) -> Reason:
    return Reason(rule="index", message=message, remedy=remedy)


def number_of_neighbors(_: Model, found: Neighbors) -> Iterator[Reason]:
    """How many neighbours vote is positive, and within its range or set."""
    if found.number_of_neighbors is None:
        yield Reason(
            rule="parameterMissing",
            message="numberOfNeighbors is missing; how many neighbours vote must be said",
            remedy="give numberOfNeighbors a default and a range or a set of allowed values",
        )
        return
    for message in complaints("numberOfNeighbors", found.number_of_neighbors):
        yield Reason(
            rule="parameterValue",
            message=message,
            remedy="correct the default or the allowed values of numberOfNeighbors",
        )


def labels(_: Model, found: Neighbors) -> Iterator[Reason]:
    """A model without labels answers with its default label, which is of the labels' type."""
    default = found.default_label
    if not found.labels and default is None:
        yield _label("the classifier has neither class labels nor a default label", "give it a default label")
    kind = "string" if isinstance(default, str) else "int64"
    if default is not None and found.label_kind and kind != found.label_kind:
        yield _label(
            f"the class labels are of type {found.label_kind}, the default label is of type {kind}",
            "give both the same type",
        )


def _label(message: str, remedy: str) -> Reason:
    return Reason(rule="labels", message=message, remedy=remedy)


def input_shape(model: Model, found: Neighbors) -> Iterator[Reason]:
    """The one input is an array of as many numbers as there are dimensions."""
    inputs = model.description.inputs
    if len(inputs) > 1:
        yield _shape(f"the classifier has {len(inputs)} inputs; it takes one")
    for feature in inputs[:1]:
        if not isinstance(feature.type, ArrayType):
            yield _shape(
                f"the input {quoted(feature.name)} is of the type {in_words(feature)}; a MultiArray is needed"
            )
        elif math.prod(feature.type.shape) != found.dimensions:
            yield _shape(
                f"the input {quoted(feature.name)} has the shape {few(feature.type.shape)}, "
                f"and numberOfDimensions is {found.dimensions}"
            )


def _shape(message: str) -> Reason:
    return Reason(
        rule="featureShape",
        message=message,
        remedy="give the classifier one MultiArray of numberOfDimensions numbers",
    )


def training_inputs(model: Model, _: Neighbors) -> Iterator[Reason]:
    """A sample holds the input and the label."""
    description = model.description
    kind = label_kind(model)
    there = {feature.name: feature for feature in description.training_inputs}
    for feature in description.inputs[:1]:
        if there.get(feature.name, feature).type != feature.type:
            yield _training(f"the training input {quoted(feature.name)} is of another type than the input")
        if feature.name not in there:
            yield _training(
                f"the training inputs don't include the input {quoted(feature.name)}: {_those(there)}"
            )
    label = description.predicted_feature
    if label and label not in there:
        yield _training(f"the training inputs don't include the label {quoted(label)}: {_those(there)}")
    elif label and kind and there[label].type != ScalarType(kind=kind):
        yield _training(
            f"the training input {quoted(label)} is of the type {in_words(there[label])}, and the labels are {kind}"
        )


def _those(there: dict[str, Feature]) -> str:
    return f"they are {listed(list(there))}" if there else "there are none"


def _training(message: str) -> Reason:
    return Reason(
        rule="trainingInputs",
        message=message,
        remedy="list the input and the predicted feature, with their types, in description.trainingInput",
    )
