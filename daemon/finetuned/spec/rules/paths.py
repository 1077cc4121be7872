"""The way of the gradient: from the loss back towards the inputs, through layers that let it pass.

No layer that merges blobs is differentiable in Core ML, so the way is a straight chain; what lies beyond its
first other layer cannot be trained.  (Apple's search condemns a layer for an unrelated branch, too; here
every layer is judged by its own way to the loss.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.spec.model import Activation
from finetuned.spec.rules.case import CROSS_ENTROPY, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer
    from finetuned.spec.rules.case import Case

DIFFERENTIABLE = frozenset(
    {"convolution", "innerProduct", "uniDirectionalLSTM", "flatten", "pooling", "batchnorm"},
)
DIFFERENTIABLE_ACTIVATIONS = frozenset({"ReLU", "sigmoid", "tanh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """`chain`: layers that the gradient reaches, last first; `beyond`: those behind the `blocker`."""

    chain: tuple[Layer, ...]
    blocker: Layer | None
    beyond: tuple[Layer, ...]


def passes(layer: Layer) -> bool:
    """Tell whether Core ML sends a gradient through this layer."""
    if isinstance(layer.parameters, Activation):
        return layer.parameters.type in DIFFERENTIABLE_ACTIVATIONS
    # A convolution that takes its weights from a blob merges two branches.
    merges = len(layer.inputs) != 1 and layer.type != "uniDirectionalLSTM"
    return layer.type in DIFFERENTIABLE and not merges


def path(case: Case) -> Path:
    """Return the way from the only loss; empty when there is none."""
    layer = _first(case)
    chain: dict[int, Layer] = {}
    while layer is not None and passes(layer) and id(layer) not in chain:
        chain[id(layer)] = layer
        layer = case.producers.get(layer.inputs[0]) if layer.inputs else None
    blocker = layer if layer is not None and not passes(layer) else None
    return Path(chain=tuple(chain.values()), blocker=blocker, beyond=tuple(_upstream(case, blocker)))


def _first(case: Case) -> Layer | None:
    """Return the layer that the gradient meets first: cross entropy takes its softmax along."""
    if case.loss is None:
        return None
    layer = case.producers.get(case.loss.input)
    if layer is not None and case.loss.kind == CROSS_ENTROPY and layer.type == "softmax":
        return case.producers.get(layer.inputs[0]) if layer.inputs else None
    return layer


def _upstream(case: Case, start: Layer | None) -> Iterator[Layer]:
    """Yield the layers at or before `start`."""
    waiting = [start] if start is not None else []
    seen: set[int] = set()
    while waiting:
        layer = waiting.pop()
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            waiting += [case.producers[blob] for blob in layer.inputs if blob in case.producers]


def needed_inputs(case: Case) -> set[str]:
    """Return the blobs that the loss depends on and no layer makes."""
    start = case.producers.get(case.loss.input) if case.loss is not None else None
    return {blob for layer in _upstream(case, start) for blob in layer.inputs if blob not in case.producers}


# ── rules ───────────────────────────────────────────────────────────────────────────────────────
def backpropagation(case: Case) -> Iterator[Reason]:
    """Between a trained layer and the loss every layer lets the gradient pass."""
    way = path(case)
    for layer in way.beyond:
        if layer.updatable and layer is not way.blocker and way.blocker is not None:
            yield Reason(
                rule="backpropagation",
                layer=layer.name,
                message=f"there is a layer ({way.blocker.name!r}, {_kind(way.blocker)}), which does not support "
                f"backpropagation, between the updatable marked layer {layer.name!r} and the loss function",
                remedy=f"unmark {layer.name!r}, or train layers after {way.blocker.name!r} only",
            )


def reached(case: Case) -> Iterator[Reason]:
    """Some updatable layer is on the way: otherwise an update would change nothing."""
    marked = [layer for layer in case.network.layers if layer.updatable]
    way = path(case)
    on_the_way = any(layer.updatable for layer in (*way.chain, *way.beyond))
    if marked and case.loss is not None and not on_the_way:
        yield Reason(
            rule="lossNotReached",
            layer=marked[0].name,
            message=f"no updatable layer leads to the loss {case.loss.name!r}: an update would change nothing",
            remedy="put the loss after the layers to train",
        )


def _kind(layer: Layer) -> str:
    if isinstance(layer.parameters, Activation):
        return layer.parameters.type
    return layer.type
