"""The case that the rules judge, and the reasons that they give."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.spec.model import (
    Activation,
    ArrayType,
    Clip,
    Convolution,
    FeatureType,
    Flatten,
    ImageType,
    InnerProduct,
    Layer,
    Loss,
    Model,
    Network,
    Pooling,
    Softmax,
    Update,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CROSS_ENTROPY = "categoricalCrossEntropyLossLayer"
SQUARED_ERROR = "meanSquaredErrorLossLayer"
LOSSES = (CROSS_ENTROPY, SQUARED_ERROR)
CLASSIFIER = "neuralNetworkClassifier"
RANK_OF_CHW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a model cannot be updated: what was found and what is allowed, and what to do about it."""

    rule: str
    message: str
    remedy: str
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large a blob is, as far as it is known without running shapes: its channels, all its numbers."""

    channels: int | None = None
    size: int | None = None


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
        extents=_extents(model, network),
    )


# ── extents ─────────────────────────────────────────────────────────────────────────────────────
def _extents(model: Model, network: Network) -> dict[str, Extent]:
    """Follow channel counts through the network as far as they do not depend on kernels and strides."""
    known = {feature.name: _extent_of_feature(feature.type) for feature in model.description.inputs}
    for layer in network.layers:
        before = known.get(layer.inputs[0], Extent()) if layer.inputs else Extent()
        for blob in layer.outputs:
            known.setdefault(blob, _extent_after(layer, before))
    return known


def _extent_of_feature(kind: FeatureType) -> Extent:
    if isinstance(kind, ImageType):
        return Extent(channels=kind.shape[0], size=math.prod(kind.shape))
    if isinstance(kind, ArrayType) and len(kind.shape) in {1, RANK_OF_CHW}:
        return Extent(channels=kind.shape[0], size=math.prod(kind.shape))
    return Extent()


def _extent_after(layer: Layer, before: Extent) -> Extent:
    match layer.parameters:
        case InnerProduct(output_channels=outputs):
            return Extent(channels=outputs, size=outputs)
        case Convolution(output_channels=outputs):
            return Extent(channels=outputs)
        case Pooling(global_pooling=everywhere):
            return Extent(channels=before.channels, size=before.channels if everywhere else None)
        case Flatten():
            return Extent(channels=before.size, size=before.size)
        case Activation() | Softmax() | Clip():
            return before
        case _:
            return Extent()
