"""The case that the rules judge, and the reasons that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.spec.model import Layer, Loss, Model, Network, Update
from finetuned.spec.rules.extents import Extent, follow

if TYPE_CHECKING:
    from collections.abc import Mapping

CROSS_ENTROPY = "categoricalCrossEntropyLossLayer"
SQUARED_ERROR = "meanSquaredErrorLossLayer"
LOSSES = (CROSS_ENTROPY, SQUARED_ERROR)
CLASSIFIER = "neuralNetworkClassifier"
NETWORKS = frozenset({"neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a model cannot be updated: what was found and what is allowed, and what to do about it."""

    rule: str
    message: str
    remedy: str
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model whose network may be updatable, with what several rules look up.

    `producers` maps a blob to the (first) layer that makes it; `losses` are those of a known type, where their
    number is allowed: one, or any beyond Core ML.
    """

    model: Model
    network: Network
    update: Update
    losses: tuple[Loss, ...]
    beyond_coreml: bool
    producers: Mapping[str, Layer] = field(repr=False)
    extents: Mapping[str, Extent] = field(repr=False)

    @property
    def is_classifier(self) -> bool:
        """Tell whether labels stand for class indices."""
        return self.model.kind == CLASSIFIER


def case(model: Model, network: Network, *, beyond_coreml: bool = False) -> Case:
    """Return the case of a network; missing update parameters are judged as empty ones."""
    update = network.update or Update(losses=(), optimizer="", parameters={})
    known = tuple(loss for loss in update.losses if loss.kind in LOSSES)
    allowed = beyond_coreml or len(update.losses) == 1
    producers: dict[str, Layer] = {}
    for layer in network.layers:
        for blob in layer.outputs:
            producers.setdefault(blob, layer)
    return Case(
        model=model,
        network=network,
        update=update,
        losses=known if allowed else (),
        beyond_coreml=beyond_coreml,
        producers=producers,
        extents=follow(model, network),
    )
