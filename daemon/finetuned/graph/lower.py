"""From Core ML layers to primitives: one small function per layer type, in one table.

Sources of the formulas: NeuralNetwork.proto, and COREML.md §3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph.layers import (
    borders,
    channels,
    convolution,
    dense,
    pointwise,
    pooling,
    reducing,
    shaping,
)
from finetuned.graph.values import SEQUENCE_RANK

if TYPE_CHECKING:
    from finetuned.graph.context import Context, Lowering
    from finetuned.graph.values import Value
    from finetuned.spec.model import Layer

LOWERINGS: dict[str, Lowering] = {
    **dense.LOWERINGS,
    **convolution.LOWERINGS,
    **pooling.LOWERINGS,
    **pointwise.LOWERINGS,
    **channels.LOWERINGS,
    **shaping.LOWERINGS,
    **borders.LOWERINGS,
    **reducing.LOWERINGS,
}

_MANY = 1000
MOST_INPUTS = {
    **dict.fromkeys(("add", "multiply", "average", "max", "min", "concat"), _MANY),
    **dict.fromkeys(("addBroadcastable", "multiplyBroadcastable", "crop"), 2),
}
"""Types that take more than one input; a convolution's second input (its weights) is not supported."""

SEQUENCES = frozenset({"activation", "clip", "concat", "embedding", "flatten", "permute", "reshape", "unary"})
"""Types that take a sequence, [S, C, H, W] with S > 1."""


def lower(context: Context, layers: tuple[Layer, ...]) -> None:
    """Append the layers to the context's graph; `context.blobs` then holds every output.

    Raises:
        ModelError: a layer is of a type that is not supported, or does not fit what arrives.
    """
    for layer in layers:
        rule = LOWERINGS.get(layer.type)
        if rule is None:
            raise ModelError(
                f"layer {layer.name!r} is of type {layer.type}, which finetuned cannot run; it runs {', '.join(sorted(LOWERINGS))}"
            )
        most = MOST_INPUTS.get(layer.type, 1)
        if len(layer.outputs) != 1 or not 1 <= len(layer.inputs) <= most:
            raise ModelError(
                f"layer {layer.name!r} ({layer.type}) has {len(layer.inputs)} inputs and {len(layer.outputs)} outputs"
            )
        if layer.outputs[0] in context.blobs:
            raise ModelError(f"layer {layer.name!r} makes {layer.outputs[0]!r}, which is there already")
        inputs = [context.blob(name, layer) for name in layer.inputs]
        _check_sequences(layer, inputs)
        context.blobs[layer.outputs[0]] = rule(context, layer, inputs)


def _check_sequences(layer: Layer, inputs: list[Value]) -> None:
    for value in inputs:
        if len(value.shape) == SEQUENCE_RANK and layer.type not in SEQUENCES:
            raise ModelError(
                f"layer {layer.name!r} ({layer.type}) gets a sequence, [S, C, H, W] = {list(value.sizes)}; "
                f"finetuned takes sequences of more than one step in {', '.join(sorted(SEQUENCES))} only"
            )
