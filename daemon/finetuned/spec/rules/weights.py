"""Rules for what layers hold: as many numbers as they need, all finite, and fit to be trained where they are."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec.kinds import Batchnorm, Bias, Embedding, Scale
from finetuned.spec.model import Convolution, InnerProduct, Weights
from finetuned.spec.names import quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.weights import finite, weight_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer, LayerParameters
    from finetuned.spec.rules.case import Case


def complete(case: Case) -> Iterator[Reason]:
    """Weights are as many as their layer needs, and finite."""
    for layer in case.network.layers:
        for name, stored, shape, axis in _blobs(layer):
            try:
                sound = finite(stored, shape, axis=axis)
            except ModelError as error:
                yield Reason(
                    rule="weights",
                    layer=layer.name,
                    message=f"the {name} of the layer {quoted(layer.name)} cannot be read: {error}",
                    remedy="export the model again; the file contradicts itself",
                )
                continue
            if not sound:
                yield Reason(
                    rule="notFinite",
                    layer=layer.name,
                    message=f"the {name} of the layer {quoted(layer.name)} hold NaN or infinite numbers",
                    remedy="start from a model whose training did not diverge",
                )


def marked(case: Case) -> Iterator[Reason]:
    """Weights and bias of an updatable layer are marked too, and are neither quantised nor missing."""
    for layer in case.network.layers:
        for name, stored, _, _ in _blobs(layer) if layer.updatable else ():
            if not stored.updatable:
                yield Reason(
                    rule="weightsNotMarked",
                    layer=layer.name,
                    message=f"an updatable layer, named {quoted(layer.name)}, has {name} not marked as updatable",
                    remedy="mark weights and bias together with the layer (isUpdatable in WeightParams)",
                )
            if stored.quantization is not None or "rawValue" in stored.encodings:
                yield Reason(
                    rule="quantizedWeights",
                    layer=layer.name,
                    message=f"the updatable layer {quoted(layer.name)} has quantized {name}; "
                    "quantized weights are not supported for update",
                    remedy="quantize the frozen layers only",
                )


def float16(case: Case) -> Iterator[Reason]:
    """No weight of an updatable network is float16: Apple's engine cannot train such a model."""
    for layer in case.network.layers:
        for name, stored, _, _ in _blobs(layer):
            if "float16Value" in stored.encodings:
                yield Reason(
                    rule="float16",
                    layer=layer.name,
                    message=f"the {name} of the layer {quoted(layer.name)} are float16, "
                    "and an updatable network may hold none",
                    remedy="export the network in float32 (quantised frozen layers are fine)",
                )


# ── the numbers of a layer ──────────────────────────────────────────────────────────────────────
def _blobs(layer: Layer) -> Iterator[tuple[str, Weights, tuple[int, ...] | None, int]]:
    """Yield what a layer's file entry holds: (name, weights, the shape they need where it is known, the channels' axis)."""
    parameters = layer.parameters
    if not isinstance(parameters, InnerProduct | Convolution):
        for each in fields(parameters):
            value = getattr(parameters, each.name)
            if isinstance(value, Weights):
                yield each.name, value, _shape(parameters, each.name), 0
        return
    transposed = isinstance(parameters, Convolution) and parameters.deconvolution
    # A convolution with a second input gets its weights from there.
    if isinstance(parameters, InnerProduct) or len(layer.inputs) == 1:
        yield "weights", parameters.weights, weight_shape(parameters), int(transposed)
    if parameters.bias is not None:
        yield "bias", parameters.bias, (parameters.output_channels,), 0


def _shape(parameters: LayerParameters, name: str) -> tuple[int, ...] | None:
    """Return the shape of the numbers of a layer that is never trained."""
    match parameters:
        case Batchnorm(channels=channels):
            return (channels,)
        case Scale(shape=shape, bias_shape=bias_shape):
            return shape if name == "scale" else bias_shape
        case Bias(shape=shape):
            return shape
        case Embedding(words=words, output_channels=outputs):
            return (outputs, words) if name == "weights" else (outputs,)
        case _:
            return None
