"""What Core ML can update and this version of finetuned cannot yet: one table.

A row that is taken out is a feature that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.spec.names import quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.paths import passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Model
    from finetuned.spec.rules.case import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`role` is where the type stands: `model`, or `passed` by a gradient."""

    role: str
    type: str


NOT_YET = (
    Row(role="model", type="kNearestNeighborsClassifier"),
    Row(role="model", type="pipeline"),
    Row(role="model", type="pipelineClassifier"),
    Row(role="model", type="pipelineRegressor"),
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
    """A layer is passed by the gradient, whose gradient is not there yet."""
    for layer in passed(case):
        if _is_not_yet("passed", layer.type):
            yield Reason(
                rule="layerLater",
                layer=layer.name,
                message=f"the layer {quoted(layer.name)} is of type {layer.type}: Core ML's format lets a gradient pass it, "
                "this version of finetuned has none for it",
                remedy="train layers after it only",
            )
