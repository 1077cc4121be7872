"""What Core ML can update and this version of finetuned cannot yet: one table.

A row that is taken out is a feature that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.paths import path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer, Model
    from finetuned.spec.rules.case import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`role` is where the type stands: `model`, `trained` (an updatable layer), or `passed` by a gradient."""

    role: str
    type: str


NOT_YET = (
    Row(role="model", type="kNearestNeighborsClassifier"),
    Row(role="model", type="pipeline"),
    Row(role="model", type="pipelineClassifier"),
    Row(role="model", type="pipelineRegressor"),
    Row(role="trained", type="convolution"),
    Row(role="passed", type="convolution"),
    Row(role="passed", type="pooling"),
    Row(role="passed", type="batchnorm"),
    Row(role="passed", type="uniDirectionalLSTM"),
)


def _is_not_yet(role: str, name: str) -> bool:
    return Row(role=role, type=name) in NOT_YET


def model_type(model: Model) -> Iterator[Reason]:
    """The model is updatable, by a later version."""
    if _is_not_yet("model", model.kind):
        yield Reason(
            rule="modelTypeLater",
            message=f"this version of finetuned trains neural networks; {model.kind} is planned, not there",
            remedy="use a neural network, or wait for a version that does it",
        )


def layers(case: Case) -> Iterator[Reason]:
    """A layer is trained, or passed by the gradient, whose gradient is not there yet."""
    chain = path(case).chain
    for layer in case.network.layers:
        if layer.updatable and _is_not_yet("trained", layer.type):
            yield _reason(layer, "trains inner product layers", "unmark it: it then stays as it is")
    trained = [position for position, layer in enumerate(chain) if layer.updatable]
    # The gradient passes every layer up to the one that is farthest from the loss and trained.
    for layer in chain[: max(trained, default=0)]:
        already_told = layer.updatable and _is_not_yet("trained", layer.type)
        if not already_told and _is_not_yet("passed", layer.type):
            yield _reason(layer, "has no gradient for it yet", "train layers after it only")


def _reason(layer: Layer, what: str, remedy: str) -> Reason:
    return Reason(
        rule="layerLater",
        layer=layer.name,
        message=f"the layer {layer.name!r} is of type {layer.type}: Core ML can train through it, "
        f"this version of finetuned {what}",
        remedy=f"{remedy}; or wait for a version that does it",
    )
