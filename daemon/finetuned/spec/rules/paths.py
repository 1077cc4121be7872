"""The way of the gradient: from the losses back towards the inputs, through layers that let it pass.

No layer that merges blobs is differentiable in Core ML, so there the way is a straight chain; beyond Core ML it
is whatever the layers of `BEYOND` make.  A trained layer must reach its losses by differentiable ways only: with one
of two ways blocked its gradient would be wrong, not smaller.  (Apple's search condemns a layer for an unrelated
branch, too; here every layer is judged by its own ways to the losses.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.spec.model import Activation
from finetuned.spec.names import quoted
from finetuned.spec.rules.case import CROSS_ENTROPY, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer, Loss
    from finetuned.spec.rules.case import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Differentiable:
    """What a gradient may pass: types of layers, kinds of `activation`, and which of the types may have several inputs."""

    layers: frozenset[str]
    activations: frozenset[str]
    merging: frozenset[str]

    def passes(self, layer: Layer) -> bool:
        """Tell whether a gradient passes this layer; a convolution that takes its weights from a blob merges two."""
        if len(layer.inputs) != 1 and layer.type not in self.merging:
            return False
        if isinstance(layer.parameters, Activation):
            return layer.parameters.type in self.activations
        return layer.type in self.layers


CORE_ML = Differentiable(
    layers=frozenset(
        {"convolution", "innerProduct", "uniDirectionalLSTM", "flatten", "pooling", "batchnorm"}
    ),
    activations=frozenset({"ReLU", "sigmoid", "tanh"}),
    merging=frozenset({"uniDirectionalLSTM"}),  # its states are inputs; it joins no branches
)
"""Apple's `isLayerSupportedForBackprop` (COREML.md §2.3)."""

MERGING = frozenset({"add", "addBroadcastable", "concat", "multiply", "multiplyBroadcastable"})

BEYOND = Differentiable(
    layers=CORE_ML.layers
    | MERGING
    | {"bias", "clip", "padding", "permute", "reshape", "scale", "softmax", "upsample"},
    activations=CORE_ML.activations | {"ELU", "PReLU", "leakyReLU", "linear", "scaledTanh", "softplus"},
    merging=CORE_ML.merging | MERGING,
)
"""What Apple's validator refuses although the arithmetic allows it; trained only where the user asks for it."""


def differentiable(case: Case) -> Differentiable:
    """Return the set that the case is judged by."""
    return BEYOND if case.beyond_coreml else CORE_ML


# ── the way ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A layer that a loss depends on; `blocker` is a layer between the two that lets no gradient pass."""

    layer: Layer
    blocker: Layer | None


def way(case: Case) -> tuple[Station, ...]:
    """Return every layer that a loss depends on, last first.

    One pass over the layers from the last to the first: what reads a blob that is made later has no way there.
    """
    allowed = differentiable(case)
    arrived: dict[int, Layer | None] = {id(layer): None for layer in _starts(case)}
    stations: list[Station] = []
    for layer in reversed(case.network.layers):
        if id(layer) not in arrived:
            continue
        blocker = arrived[id(layer)]
        stations.append(Station(layer=layer, blocker=blocker))
        after = blocker or (None if allowed.passes(layer) else layer)
        for producer in _producers(case, layer):
            arrived[id(producer)] = arrived.get(id(producer)) or after
    return tuple(stations)


def _starts(case: Case) -> Iterator[Layer]:
    """Yield the layers that the gradients meet first: cross entropy takes its softmax along."""
    for loss in case.losses:
        layer = case.producers.get(loss.input)
        if layer is not None:
            yield from _producers(case, layer) if is_fused(layer, loss) else (layer,)


def is_fused(layer: Layer, loss: Loss) -> bool:
    """Tell whether the layer is the softmax that cross entropy takes along."""
    return loss.kind == CROSS_ENTROPY and layer.type == "softmax"


def _producers(case: Case, layer: Layer) -> Iterator[Layer]:
    return (case.producers[blob] for blob in layer.inputs if blob in case.producers)


def passed(case: Case) -> tuple[Layer, ...]:
    """Return the layers that a gradient must pass, last first: those between a trained layer and a loss."""
    moved: set[str] = set()
    behind: set[int] = set()
    for layer in case.network.layers:
        if not moved.isdisjoint(layer.inputs):
            behind.add(id(layer))
        if layer.updatable or id(layer) in behind:
            moved.update(layer.outputs)
    return tuple(station.layer for station in way(case) if id(station.layer) in behind)


def needed_inputs(case: Case) -> set[str]:
    """Return the blobs that the losses depend on and no layer makes."""
    wanted = {loss.input for loss in case.losses}
    for layer in reversed(case.network.layers):
        if not wanted.isdisjoint(layer.outputs):
            wanted.update(layer.inputs)
    return wanted - set(case.producers)


# ── rules ───────────────────────────────────────────────────────────────────────────────────────
def backpropagation(case: Case) -> Iterator[Reason]:
    """Between a trained layer and the loss every layer lets the gradient pass."""
    for station in way(case):
        layer, blocker = station.layer, station.blocker
        if layer.updatable and blocker is not None:
            yield Reason(
                rule="backpropagation",
                layer=layer.name,
                message=f"there is a layer ({quoted(blocker.name)}, {kind(blocker)}), which does not support "
                f"backpropagation, between the updatable marked layer {quoted(layer.name)} and the loss function",
                remedy=f"unmark {quoted(layer.name)}, or train layers after {quoted(blocker.name)} only",
            )


def reached(case: Case) -> Iterator[Reason]:
    """Some updatable layer is on the way: otherwise an update would change nothing."""
    marked = [layer for layer in case.network.layers if layer.updatable]
    if marked and case.losses and not any(station.layer.updatable for station in way(case)):
        yield Reason(
            rule="lossNotReached",
            layer=marked[0].name,
            message=f"no updatable layer leads to the loss {quoted(case.losses[0].name)}: an update would change nothing",
            remedy="put the loss after the layers to train",
        )


def kind(layer: Layer) -> str:
    """Return what a layer does, by Apple's name."""
    return layer.parameters.type if isinstance(layer.parameters, Activation) else layer.type
