"""Rules for single layers: wiring, weights, and the marks of those that are to be trained."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.spec.model import Convolution, InnerProduct
from finetuned.spec.rules.case import Reason
from finetuned.spec.weights import array, weight_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer, Weights
    from finetuned.spec.rules.case import Case

TRAINABLE = frozenset({"innerProduct", "convolution"})


def wiring(case: Case) -> Iterator[Reason]:
    """Every blob is made once, before it is used."""
    known = {feature.name for feature in case.model.description.inputs}
    for layer in case.network.layers:
        for blob in layer.inputs:
            if blob not in known:
                yield Reason(
                    rule="blobMissing",
                    layer=layer.name,
                    message=f"the layer {layer.name!r} takes {blob!r}, which no input or earlier layer makes",
                    remedy="put the layer that makes it before this one",
                )
        for blob in layer.outputs:
            if blob in known:
                yield Reason(
                    rule="blobMadeTwice",
                    layer=layer.name,
                    message=f"the layer {layer.name!r} makes {blob!r}, which is an input or made before",
                    remedy="give the output a name of its own",
                )
            known.add(blob)


def _blobs(layer: Layer) -> Iterator[tuple[str, Weights, tuple[int, ...], int]]:
    """Yield what a layer's file entry holds: (name, weights, the shape they need, the channels' axis)."""
    parameters = layer.parameters
    if not isinstance(parameters, InnerProduct | Convolution):
        return
    transposed = isinstance(parameters, Convolution) and parameters.deconvolution
    # A convolution with a second input gets its weights from there.
    if isinstance(parameters, InnerProduct) or len(layer.inputs) == 1:
        yield "weights", parameters.weights, weight_shape(parameters), int(transposed)
    if parameters.bias is not None:
        yield "bias", parameters.bias, (parameters.output_channels,), 0


def weights(case: Case) -> Iterator[Reason]:
    """Weights are as many as their layer needs, and finite."""
    for layer in case.network.layers:
        for name, stored, shape, axis in _blobs(layer):
            try:
                finite = bool(np.isfinite(array(stored, shape, axis=axis)).all())
            except ModelError as error:
                yield Reason(
                    rule="weights",
                    layer=layer.name,
                    message=f"the {name} of the layer {layer.name!r} cannot be read: {error}",
                    remedy="export the model again; the file contradicts itself",
                )
                continue
            if not finite:
                yield Reason(
                    rule="notFinite",
                    layer=layer.name,
                    message=f"the {name} of the layer {layer.name!r} hold NaN or infinite numbers",
                    remedy="start from a model whose training did not diverge",
                )


def channels(case: Case) -> Iterator[Reason]:
    """A layer takes as many channels as the one before it makes."""
    if case.network.exact_shapes:
        return  # there the channel axis depends on the rank, which the compiler knows
    for layer in case.network.layers:
        before = case.extents.get(layer.inputs[0]) if layer.inputs else None
        match layer.parameters:
            case InnerProduct(input_channels=needed):
                found = before.size if before else None
            case Convolution(deconvolution=False, groups=groups, kernel_channels=each):
                needed, found = groups * each, before.channels if before else None
            case Convolution(kernel_channels=needed):
                found = before.channels if before else None
            case _:
                continue
        if found is not None and found != needed:
            yield _channel_reason(layer, f"takes {needed} channels, and gets {found}")


def groups(case: Case) -> Iterator[Reason]:
    """A convolution's groups share its channels evenly."""
    for layer in case.network.layers:
        match layer.parameters:
            case Convolution(output_channels=outputs, groups=count) if outputs % count:
                yield _channel_reason(layer, f"cannot share {outputs} output channels among {count} groups")


def _channel_reason(layer: Layer, what: str) -> Reason:
    return Reason(
        rule="channels",
        layer=layer.name,
        message=f"the layer {layer.name!r} {what}",
        remedy="export the model again; the file contradicts itself",
    )


# ── marks ───────────────────────────────────────────────────────────────────────────────────────
def updatable_layers(case: Case) -> Iterator[Reason]:
    """At least one layer is marked, and it must be of a type that can be trained."""
    marked = [layer for layer in case.network.layers if layer.updatable]
    if not marked:
        yield Reason(
            rule="noUpdatableLayer",
            message="the model is marked as updatable, but none of the layers are updatable",
            remedy="mark inner product or convolution layers with coremltools' make_updatable",
        )
    for layer in marked:
        if layer.type not in TRAINABLE:
            yield Reason(
                rule="layerType",
                layer=layer.name,
                message=f"the layer named {layer.name!r} is marked as updatable, however it is not supported: "
                f"its type, {layer.type}, is neither convolution nor inner-product",
                remedy="mark inner product or convolution layers only",
            )


def marked_weights(case: Case) -> Iterator[Reason]:
    """Weights and bias of an updatable layer are marked too, and are neither quantised nor missing."""
    for layer in case.network.layers:
        for name, stored, _, _ in _blobs(layer) if layer.updatable else ():
            if not stored.updatable:
                yield Reason(
                    rule="weightsNotMarked",
                    layer=layer.name,
                    message=f"an updatable layer, named {layer.name!r}, has {name} not marked as updatable",
                    remedy="mark weights and bias together with the layer (isUpdatable in WeightParams)",
                )
            if stored.quantization is not None or "rawValue" in stored.encodings:
                yield Reason(
                    rule="quantizedWeights",
                    layer=layer.name,
                    message=f"the updatable layer {layer.name!r} has quantized {name}; "
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
                    message=f"the {name} of the layer {layer.name!r} are float16, "
                    "and an updatable network may hold none",
                    remedy="export the network in float32 (quantised frozen layers are fine)",
                )


def names(case: Case) -> Iterator[Reason]:
    """Layers and the loss have different names: names are the keys of parameters."""
    everything = [layer.name for layer in case.network.layers] + [loss.name for loss in case.update.losses]
    for name, count in Counter(everything).items():
        if count > 1:
            yield Reason(
                rule="nameCollision",
                layer=name,
                message=f"the updatable model has a name collision for {name!r}: {count} layers or losses share it",
                remedy="give every layer and the loss a name of its own",
            )
