"""Trained weights on their way from the model's file into the memory of an update, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec import codec
from finetuned.spec.model import Convolution, InnerProduct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from finetuned.spec.model import Layer
    from finetuned.update.memory import Arena


def load(arena: Arena, layers: Iterable[Layer]) -> None:
    """Fill the arena with the weights of the layers that are trained."""
    for layer in layers:
        if layer.updatable and isinstance(layer.parameters, InnerProduct | Convolution):
            _put(arena, layer.name, layer.parameters)


def _put(arena: Arena, name: str, parameters: InnerProduct | Convolution) -> None:
    weights = arena.arrays[f"{name}.weights"]
    weights[...] = codec.array(parameters.weights, weights.shape)
    if parameters.bias is not None:
        biases = arena.arrays[f"{name}.biases"]
        biases[...] = codec.array(parameters.bias, biases.shape)


def copied(arena: Arena, layers: Iterable[str]) -> dict[str, codec.LayerWeights]:
    """Return copies of what the arena holds, by layer."""
    arrays = arena.arrays
    return {
        name: codec.LayerWeights(
            weights=arrays[f"{name}.weights"].copy(),
            bias=arrays[f"{name}.biases"].copy() if f"{name}.biases" in arrays else None,
        )
        for name in layers
    }
