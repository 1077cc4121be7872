"""Where training cuts a network: what is frozen and runs once per sample, and the region that runs at every step.

The region is every layer that depends on a trained one and on which a loss depends.  Core ML lets gradients pass along a
straight chain only (COREML.md §2.3): there the region is the chain from the first trained layer to the loss, and one blob
enters it.  Beyond Core ML it may branch and merge, end in several losses, and be entered by several blobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph import loss as losses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finetuned.spec.model import Layer, Loss, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The frozen layers, the region, those of it that are trained, and the losses.

    `blobs` are what the region and the losses read of what is frozen, in the order in which they are read first.
    """

    blobs: tuple[str, ...]
    frozen: tuple[Layer, ...]
    region: tuple[Layer, ...]
    trained: tuple[str, ...]
    losses: tuple[Loss, ...]


def find_cut(network: Network) -> Cut:
    """Find the region between the first trained layers and the losses.

    Raises:
        ModelError: there is no loss, or no updatable layer on the way to one (`spec.check` tells all such reasons).
    """
    if network.update is None or not network.update.losses:
        raise ModelError("the model has no loss layer to train with")
    found = network.update.losses
    ends = [losses.prediction_blob(network, loss) for loss in found]
    region, made = _region(needed(network.layers, ends))
    if not region:
        raise ModelError(f"no updatable layer lies on the way to the loss {found[0].name!r}")
    read = [*(blob for layer in region for blob in layer.inputs), *ends]
    blobs = tuple(dict.fromkeys(blob for blob in read if blob not in made))
    if not blobs:
        raise ModelError(f"layer {region[0].name!r} has no input")
    return Cut(
        blobs=blobs,
        frozen=needed(network.layers, blobs),
        region=region,
        trained=tuple(layer.name for layer in region if layer.updatable),
        losses=found,
    )


def _region(way: Iterable[Layer]) -> tuple[tuple[Layer, ...], set[str]]:
    """Return the layers of `way` that change in training, and the blobs that they make."""
    region, made = [], set[str]()
    for layer in way:
        if layer.updatable or not made.isdisjoint(layer.inputs):
            region.append(layer)
            made.update(layer.outputs)
    return tuple(region), made


def needed(layers: tuple[Layer, ...], blobs: Iterable[str]) -> tuple[Layer, ...]:
    """Return the layers that the blobs depend on, in order."""
    wanted, kept = set(blobs), []
    for layer in reversed(layers):
        if wanted.intersection(layer.outputs):
            kept.append(layer)
            wanted.update(layer.inputs)
    return tuple(reversed(kept))
