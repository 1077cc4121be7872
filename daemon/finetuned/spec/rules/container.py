"""Rules for the file as a whole: its version, its type, its mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec.rules.case import NETWORKS, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Model

NEWEST_VERSION = 10
UPDATABLE_VERSION = 4
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
            remedy="save the model for an older system, or get a newer finetuned"
            if model.specification_version > NEWEST_VERSION
            else f"set specificationVersion to {UPDATABLE_VERSION}",
        )


def marked(model: Model) -> Iterator[Reason]:
    """The model itself must be marked as updatable."""
    if model.kind in UPDATABLE_KINDS and not model.updatable:
        yield Reason(
            rule="isUpdatable",
            message="the model is not marked as updatable (isUpdatable is false)",
            remedy="mark the layers to train, and give it a loss, an optimizer and epochs: "
            "finetuned author updatable does it"
            if model.kind in NETWORKS
            else "set isUpdatable (in a pipeline: of its last model, too)",
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
            message=f"a model of type {model.kind or 'unknown'} is not supported for on-device update; "
            f"{', '.join(sorted(UPDATABLE_KINDS))} are",
            remedy=INSTEAD.get(model.kind, "use a neural network or a k-nearest-neighbours classifier"),
        )
