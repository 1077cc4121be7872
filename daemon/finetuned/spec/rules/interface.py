"""Rules for inputs, outputs and training inputs: `ModelDescription`."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from finetuned.spec.model import ArrayType, DictionaryType, Feature, ImageType, OtherType, ScalarType
from finetuned.spec.names import few, listed, quoted
from finetuned.spec.rules.case import CLASSIFIER, NETWORKS, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Model

CLASSIFIERS = frozenset({CLASSIFIER, "kNearestNeighborsClassifier"})
REGRESSOR = "neuralNetworkRegressor"
DTYPES = ("DOUBLE", "FLOAT32", "INT32", "FLOAT16")
MOST_NUMBERS = 1 << 28
"""An input as large as a gigabyte of float32 is no input of a device."""


def there(model: Model) -> Iterator[Reason]:
    """A model has an input and an output."""
    for what, entries in (("input", model.description.inputs), ("output", model.description.outputs)):
        if not entries:
            yield Reason(
                rule="featureMissing",
                message=f"the model has no {what}; at least one is needed",
                remedy=f"describe the {what}s of the model",
            )


def names(model: Model) -> Iterator[Reason]:
    """Inputs, outputs and training inputs have names of their own."""
    description = model.description
    lists = {
        "input": description.inputs,
        "output": description.outputs,
        "training input": description.training_inputs,
    }
    for what, entries in lists.items():
        counts = Counter(feature.name for feature in entries)
        for name, count in counts.items():
            if count > 1 or not name:
                yield Reason(
                    rule="featureName",
                    message=f"{count} {what}s are named {quoted(name)}; names are needed, each of its own",
                    remedy=f"rename the {what}s",
                )


def types(model: Model) -> Iterator[Reason]:
    """Inputs have a type that can be fed, and a size; outputs have a type."""
    for feature in model.description.inputs:
        yield from _input(feature)
    for feature in model.description.outputs:
        if isinstance(feature.type, OtherType):
            yield _type(feature, "output", f"is of type {feature.type.kind}, which finetuned does not read")
        elif isinstance(feature.type, ArrayType) and feature.type.dtype not in DTYPES:
            yield _type(feature, "output", f"holds {feature.type.dtype}; {', '.join(DTYPES)} are allowed")


def _input(feature: Feature) -> Iterator[Reason]:
    kind = feature.type
    sizes: tuple[int, ...] = (1,)
    if isinstance(kind, ImageType):
        sizes = (kind.width, kind.height)
    elif isinstance(kind, ArrayType):
        sizes = kind.shape
        if kind.dtype not in DTYPES:
            yield _type(feature, "input", f"holds {kind.dtype}; {', '.join(DTYPES)} are allowed")
    elif isinstance(kind, OtherType):
        yield _type(feature, "input", f"is of type {kind.kind}, which finetuned does not read")
    if not sizes or min(sizes) < 1 or math.prod(sizes) > MOST_NUMBERS:
        yield Reason(
            rule="featureShape",
            message=f"the input {quoted(feature.name)} has the size {few(sizes)}; fixed positive sizes "
            f"of {MOST_NUMBERS} numbers at most are needed",
            remedy="give the input a fixed shape",
        )


def _type(feature: Feature, what: str, found: str) -> Reason:
    return Reason(
        rule="featureType",
        message=f"the {what} {quoted(feature.name)} {found}",
        remedy="use an image, a MultiArray of a known number type, or a number"
        if what == "input"
        else "give the output a type",
    )


def optional(model: Model) -> Iterator[Reason]:
    """No output is optional; of inputs, some of a network's may be."""
    inputs, outputs = model.description.inputs, model.description.outputs
    for feature in outputs:
        if feature.optional:
            yield _optional(f"the output {quoted(feature.name)} is optional, which outputs cannot be")
    if model.kind in NETWORKS and inputs and all(feature.optional for feature in inputs):
        yield _optional("all inputs are optional; at least one feature for a neural network must not be")
    if model.neighbors is not None:
        for feature in inputs:
            if feature.optional:
                yield _optional(
                    f"the input {quoted(feature.name)} is optional, which this type of model does not allow"
                )


def _optional(message: str) -> Reason:
    return Reason(rule="optional", message=message, remedy="set isOptional to false")


# ── predictions ─────────────────────────────────────────────────────────────────────────────────
def predictions(model: Model) -> Iterator[Reason]:
    """A classifier names the output of its label and its type, a regressor that of its number."""
    if model.kind not in CLASSIFIERS | {REGRESSOR}:
        return
    description = model.description
    if not description.predicted_feature:
        yield _prediction(
            "the model names no predictedFeatureName", "name the output that holds the prediction"
        )
        return
    outputs = {feature.name: feature for feature in reversed(description.outputs)}
    if description.predicted_feature not in outputs:
        yield _prediction(
            f"the predicted feature {quoted(description.predicted_feature)} is no output; "
            f"the outputs are {listed(list(outputs))}",
            "list it among the outputs",
        )
    else:
        yield from _predicted_type(model, outputs[description.predicted_feature])
    yield from _probabilities(description.predicted_probabilities, outputs)


def _predicted_type(model: Model, output: Feature) -> Iterator[Reason]:
    if model.kind == REGRESSOR:
        fits = isinstance(output.type, ArrayType) or output.type == ScalarType(kind="double")
        needed = "a double or a MultiArray"
    else:
        needed = label_kind(model)
        fits = output.type == ScalarType(kind=needed) or not needed
    if not fits:
        yield _prediction(
            f"the predicted feature {quoted(output.name)} is of the type {in_words(output)}; {needed} is needed",
            "give the output the type of the labels"
            if model.kind != REGRESSOR
            else "give the output that type",
        )


def label_kind(model: Model) -> str:
    """Return `string` or `int64`, as the labels (or the default label) are, "" where there is none."""
    neighbors, network = model.neighbors, model.network
    if neighbors is not None and neighbors.label_kind:
        return neighbors.label_kind
    labels: tuple[str | int | None, ...] = network.class_labels[:1] if network else ()
    labels = (neighbors.default_label,) if neighbors else labels
    return next(
        ("string" if isinstance(label, str) else "int64" for label in labels if label is not None), ""
    )


def _probabilities(name: str, outputs: dict[str, Feature]) -> Iterator[Reason]:
    """Probabilities, where they are named, are a dictionary; a MultiArray is tolerated."""
    if name and name not in outputs:
        yield _prediction(
            f"the predicted probabilities {quoted(name)} are no output", "list them among the outputs"
        )
    elif name and not isinstance(outputs[name].type, DictionaryType | ArrayType):
        yield _prediction(
            f"the predicted probabilities {quoted(name)} are of the type {in_words(outputs[name])}; a dictionary is needed",
            "make the output a dictionary from label to double",
        )


def _prediction(message: str, remedy: str) -> Reason:
    return Reason(rule="predictedFeature", message=message, remedy=remedy)


def in_words(feature: Feature) -> str:
    """Return a feature's type in a few words."""
    match feature.type:
        case ImageType(width=width, height=height, color=color):
            return f"image {width} × {height} {color}"
        case ArrayType(shape=shape, dtype=dtype):
            return f"MultiArray {few(shape)} of {dtype}"
        case DictionaryType(key=key):
            return f"dictionary from {key}"
        case ScalarType(kind=kind) | OtherType(kind=kind):
            return kind
