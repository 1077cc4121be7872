"""Rules for the file as a whole: its version, its type, its inputs and outputs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from finetuned.spec.model import ArrayType, Feature, ImageType, OtherType
from finetuned.spec.rules.case import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Model

NEWEST_VERSION = 10
UPDATABLE_VERSION = 4
NETWORKS = frozenset({"neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"})
PIPELINES = frozenset({"pipeline", "pipelineClassifier", "pipelineRegressor"})
UPDATABLE_KINDS = NETWORKS | PIPELINES | {"kNearestNeighborsClassifier"}

# Kinds that people try, and what can be done instead.
INSTEAD = {
    "mlProgram": "convert the model with coremltools and convert_to='neuralnetwork'; an ML Program is never updatable",
    "linkedModel": "use the model that it links to",
    "visionFeaturePrint": "its weights are a part of Apple's systems and not in the file; use a network of your own",
}


def specification_version(model: Model) -> Iterator[Reason]:
    """The version may not be newer than what is known."""
    if not 1 <= model.specification_version <= NEWEST_VERSION:
        yield Reason(
            rule="specificationVersion",
            message=f"the specification version is {model.specification_version}; 1 to {NEWEST_VERSION} are known",
            remedy="save the model for an older system, or get a newer finetuned",
        )


def features(model: Model) -> Iterator[Reason]:
    """Inputs, outputs and training inputs have names of their own; inputs have a type that can be fed."""
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
                    message=f"{count} {what}s are named {name!r}; names are needed, each of its own",
                    remedy=f"rename the {what}s",
                )
    yield from (reason for feature in description.inputs for reason in _feature_type(feature))


def _feature_type(feature: Feature) -> Iterator[Reason]:
    kind = feature.type
    sizes: tuple[int, ...] = (1,)
    if isinstance(kind, ImageType):
        sizes = (kind.width, kind.height)
    elif isinstance(kind, ArrayType):
        sizes = kind.shape
    elif isinstance(kind, OtherType):
        yield Reason(
            rule="featureType",
            message=f"the input {feature.name!r} is of type {kind.kind}, which finetuned does not read",
            remedy="use an image, a MultiArray or a number",
        )
    if not sizes or min(sizes) < 1:
        yield Reason(
            rule="featureShape",
            message=f"the input {feature.name!r} has the size {list(sizes)}; fixed positive sizes are needed",
            remedy="give the input a fixed shape",
        )


def marked(model: Model) -> Iterator[Reason]:
    """The model itself must be marked as updatable."""
    if model.kind in UPDATABLE_KINDS and not model.updatable:
        yield Reason(
            rule="isUpdatable",
            message="the model is not marked as updatable (isUpdatable is false)",
            remedy="mark the layers to train with coremltools' NeuralNetworkBuilder.make_updatable, "
            "and give it a loss, an optimizer and epochs",
        )


def updatable_version(model: Model) -> Iterator[Reason]:
    """Updating came with version 4."""
    if model.updatable and model.specification_version < UPDATABLE_VERSION:
        yield Reason(
            rule="updatableVersion",
            message=f"the specification version is {model.specification_version}; "
            f"for an updatable model it must be {UPDATABLE_VERSION} or above",
            remedy=f"set specificationVersion to {UPDATABLE_VERSION}",
        )


def model_type(model: Model) -> Iterator[Reason]:
    """Only networks, nearest neighbours and pipelines may be updatable."""
    if model.kind not in UPDATABLE_KINDS:
        yield Reason(
            rule="modelType",
            message=f"a model of type {model.kind} is not supported for on-device update; "
            f"{', '.join(sorted(UPDATABLE_KINDS))} are",
            remedy=INSTEAD.get(model.kind, "use a neural network or a k-nearest-neighbours classifier"),
        )
