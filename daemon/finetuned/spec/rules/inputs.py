"""Rules for the training inputs: what a training sample must contain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from finetuned.spec.model import ArrayType
from finetuned.spec.names import few, quoted
from finetuned.spec.rules.case import CROSS_ENTROPY, Case, Reason
from finetuned.spec.rules.interface import in_words
from finetuned.spec.rules.paths import needed_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Feature, Loss


def _reason(message: str, remedy: str = "list the network's inputs and the loss's target") -> Reason:
    return Reason(rule="trainingInputs", message=message, remedy=f"{remedy} in description.trainingInput")


def training_inputs(case: Case) -> Iterator[Reason]:
    """A sample holds at least an input of the network and something more, the target."""
    description = case.model.description
    found = description.training_inputs
    inputs = set(description.inputs)
    shared = [feature for feature in found if feature in inputs]
    if len(found) < 2:  # noqa: PLR2004 - an input and a target
        yield _reason(
            f"the model has {len(found)} training inputs; an updatable neural network must provide "
            "both input and target for the loss function",
        )
    if found and not shared:
        yield _reason("none of the training inputs is an input of the model (same name and type)")
    if found and len(shared) == len(found):
        yield _reason("all training inputs are inputs of the model; the target of the loss is missing")


def needed(case: Case) -> Iterator[Reason]:
    """Every input that the loss depends on is in the sample."""
    names = {feature.name for feature in case.model.description.training_inputs}
    missing = needed_inputs(case) - names if names else set()
    for feature in case.model.description.inputs:
        if feature.name in missing:
            yield _reason(
                f"the loss depends on the input {quoted(feature.name)}, which is not a training input"
            )


def target(case: Case) -> Iterator[Reason]:
    """The target is there: by the loss's name, or for a classifier by that of its prediction."""
    inputs = set(case.model.description.inputs)
    own = {
        feature.name: feature for feature in case.model.description.training_inputs if feature not in inputs
    }
    for loss in case.losses:
        yield from _target(case, loss, own)


def _target(case: Case, loss: Loss, own: dict[str, Feature]) -> Iterator[Reason]:
    description = case.model.description
    if loss.target in own:
        yield from _target_shape(case, loss, own[loss.target])
    elif not case.is_classifier:
        yield _reason(f"the training inputs don't include the loss layer's target: {quoted(loss.target)}")
    elif description.predicted_feature not in own:
        yield _reason(
            f"the training inputs don't include the target of the classifier: {quoted(description.predicted_feature)}",
        )
    elif loss.kind != CROSS_ENTROPY:
        yield _reason(
            f"labels are no target for the loss {loss.kind}; it needs the numbers of {quoted(loss.target)}"
        )
    else:
        yield from _label_type(case, own[description.predicted_feature])


def _label_type(case: Case, feature: Feature) -> Iterator[Reason]:
    outputs = [output for output in case.model.description.outputs if output.name == feature.name]
    if feature.type not in [output.type for output in outputs]:
        expected = in_words(outputs[0]) if outputs else "no such output"
        yield _reason(
            f"the type of the training input {quoted(feature.name)}, {in_words(feature)}, doesn't match the expected type "
            f"of the classifier: {expected}",
            "give label and prediction the same type",
        )


def _target_shape(case: Case, loss: Loss, feature: Feature) -> Iterator[Reason]:
    """A class index is one number; a squared error needs as many as the loss's input."""
    extent = case.extents.get(loss.input)
    width = 1 if loss.kind == CROSS_ENTROPY else extent.size if extent else None
    if not isinstance(feature.type, ArrayType):
        yield _reason(
            f"the target {quoted(feature.name)} is not a MultiArray, and Core ML trains on nothing else",
            "give the target as a MultiArray",
        )
    elif width is not None and math.prod(feature.type.shape) != width:
        yield _reason(
            f"the target {quoted(feature.name)} has the shape {few(feature.type.shape)}; the loss needs {width} numbers",
            "give the target that shape",
        )
