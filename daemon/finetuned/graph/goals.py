"""What the losses of a model ask of a sample: which training input holds each target, and in what shape it is fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.graph.loss import CROSS_ENTROPY

if TYPE_CHECKING:
    from finetuned.spec.model import Loss, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What one loss asks of a sample.

    `source` is the training input that holds the target; `labels`, in order, are those that stand for class indices;
    `indexed`: the training input holds the indices themselves, as numbers (COREML.md §2.6);
    `shape` is that of a target as it is fed: one number per class for cross entropy, else the prediction's.
    """

    loss: Loss
    source: str
    labels: tuple[str | int, ...]
    shape: tuple[int, ...]
    indexed: bool = False

    @property
    def has_classes(self) -> bool:
        """Tell a class index from numbers."""
        return self.loss.kind == CROSS_ENTROPY


def losses_of(model: Model) -> tuple[Loss, ...]:
    """Return the model's losses; none where it is not updatable."""
    update = model.network.update if model.network else None
    return update.losses if update else ()


def source_of(model: Model, loss: Loss) -> str:
    """Return the training input that is a loss's target: its own, or a classifier's predicted feature."""
    names = {feature.name for feature in model.description.training_inputs}
    predicted = model.description.predicted_feature
    return predicted if loss.target not in names and predicted in names else loss.target


def labels_of(model: Model, loss: Loss) -> tuple[str | int, ...]:
    """Return the labels that stand for a loss's class indices; a classifier's only cross entropy has its labels."""
    if model.network is None or loss.kind != CROSS_ENTROPY:
        return ()
    only = len(losses_of(model)) == 1
    is_label = only or source_of(model, loss) == model.description.predicted_feature
    return model.network.class_labels if is_label else ()


def is_indexed(model: Model, loss: Loss) -> bool:
    """Tell whether a loss's training input holds class indices: it is not the classifier's label."""
    return source_of(model, loss) != model.description.predicted_feature
