"""How large blobs are: followed through the network as far as it is known without running it.

Formulas: NeuralNetwork.proto; a blob is [C, H, W], a vector [C, 1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.spec import windows
from finetuned.spec.model import ArrayType, Convolution, Flatten, ImageType, InnerProduct, Pooling

if TYPE_CHECKING:
    from finetuned.spec.model import FeatureType, Layer, Model, Network

Pair = tuple[int, int]

# What makes a blob of the size of the one that it takes.
KEEPING = frozenset(
    {"activation", "softmax", "clip", "batchnorm", "unary", "lrn", "mvn", "l2normalize", "scale", "bias"}
)
RANK_OF_CHW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A blob's channels, and its (height, width); None where they are not known."""

    channels: int | None = None
    area: Pair | None = None

    @property
    def size(self) -> int | None:
        """How many numbers a sample has in this blob."""
        if self.channels is None or self.area is None:
            return None
        return self.channels * self.area[0] * self.area[1]


def follow(model: Model, network: Network) -> dict[str, Extent]:
    """Return the extent of every blob."""
    known = {feature.name: _of_feature(feature.type) for feature in model.description.inputs}
    for layer in network.layers:
        before = known.get(layer.inputs[0], Extent()) if layer.inputs else Extent()
        for blob in layer.outputs:
            known.setdefault(blob, after(layer, before))
    return known


def _of_feature(kind: FeatureType) -> Extent:
    if isinstance(kind, ImageType):
        return Extent(channels=kind.shape[0], area=(kind.height, kind.width))
    if isinstance(kind, ArrayType) and len(kind.shape) == 1:
        return Extent(channels=kind.shape[0], area=(1, 1))
    if isinstance(kind, ArrayType) and len(kind.shape) == RANK_OF_CHW:
        return Extent(channels=kind.shape[0], area=(kind.shape[1], kind.shape[2]))
    return Extent()


def after(layer: Layer, before: Extent) -> Extent:
    """Return what a layer makes of a blob; an area that is impossible is not known either."""
    match layer.parameters:
        case InnerProduct(output_channels=outputs):
            return Extent(channels=outputs, area=(1, 1))
        case Convolution() as convolution:
            return Extent(
                channels=convolution.output_channels, area=_possible(area(convolution, before.area))
            )
        case Pooling() as pooling:
            return Extent(channels=before.channels, area=_possible(area(pooling, before.area)))
        case Flatten():
            return Extent(channels=before.size, area=(1, 1))
        case _:
            return before if layer.type in KEEPING and len(layer.inputs) == 1 else Extent()


def _possible(found: Pair | None) -> Pair | None:
    return found if found is not None and min(found) >= 1 else None


# ── areas ─────────────────────────────────────────────────────────────────────────────────────
# ── areas ───────────────────────────────────────────────────────────────────────────────────────
def area(parameters: Convolution | Pooling, before: Pair | None) -> Pair | None:
    """Return the height and width that come out, below 1 where the kernel does not fit; None where they are not known."""
    if isinstance(parameters, Pooling) and parameters.global_pooling:
        return (1, 1)
    if before is None:
        return None
    if isinstance(parameters, Convolution) and parameters.deconvolution:
        if parameters.output_shape:
            return (parameters.output_shape[0], parameters.output_shape[1])
        return (windows.spread(parameters, 0, before[0]), windows.spread(parameters, 1, before[1]))
    return (windows.count(parameters, 0, before[0]), windows.count(parameters, 1, before[1]))


def is_beside(parameters: Pooling, before: Pair) -> bool:
    """Tell whether the first or the last window has nothing of the image in it."""
    if parameters.global_pooling or parameters.padding.mode == "same":
        return False
    for axis, size in enumerate(before):
        begin = parameters.padding.amounts[axis][0]
        last = (windows.count(parameters, axis, size) - 1) * parameters.stride[axis] - begin
        if begin >= parameters.kernel[axis] or last >= size:
            return True
    return False


def most_spread(parameters: Convolution, before: Pair) -> Pair:
    """Return the largest output shape: a stride more would leave whole rows or columns to nobody."""
    rows, columns = (
        windows.whole(parameters, axis, size) + parameters.stride[axis] - 1
        for axis, size in enumerate(before)
    )
    return rows, columns
