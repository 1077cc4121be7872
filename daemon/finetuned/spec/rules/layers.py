"""Rules for single layers: wiring, weights, and the marks of those that are to be trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec.kinds import Batchnorm, Bias, Embedding, Scale
from finetuned.spec.model import Convolution, InnerProduct, Pooling, Weights
from finetuned.spec.names import quoted
from finetuned.spec.rules import extents
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.extents import Extent
from finetuned.spec.rules.interface import MOST_NUMBERS
from finetuned.spec.weights import finite, weight_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer, LayerParameters
    from finetuned.spec.rules.case import Case

TRAINABLE = frozenset({"innerProduct", "convolution"})


def there(case: Case) -> Iterator[Reason]:
    """A network has layers."""
    if not case.network.layers:
        yield Reason(
            rule="layersMissing",
            message="the network has no layers; at least one is needed",
            remedy="export the model again; the file is empty",
        )


def wiring(case: Case) -> Iterator[Reason]:
    """Every blob is made once, before it is used."""
    known = {feature.name for feature in case.model.description.inputs}
    for layer in case.network.layers:
        for blob in layer.inputs:
            if blob not in known:
                yield Reason(
                    rule="blobMissing",
                    layer=layer.name,
                    message=f"the layer {quoted(layer.name)} takes {quoted(blob)}, which no input or earlier layer makes",
                    remedy="put the layer that makes it before this one",
                )
        for blob in layer.outputs:
            if blob in known:
                yield Reason(
                    rule="blobMadeTwice",
                    layer=layer.name,
                    message=f"the layer {quoted(layer.name)} makes {quoted(blob)}, which is an input or made before",
                    remedy="give the output a name of its own",
                )
            known.add(blob)


def outputs(case: Case) -> Iterator[Reason]:
    """What the description promises, and a classifier's probabilities, are made by layers."""
    promised = [feature.name for feature in case.model.description.outputs]
    if case.is_classifier:
        promised = [case.network.probability_layer] if case.network.probability_layer else []
    for blob in promised:
        if blob not in case.producers:
            yield Reason(
                rule="outputMissing",
                message=f"no layer makes the output {quoted(blob)}",
                remedy="name an output after the blob that a layer makes",
            )


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


def weights(case: Case) -> Iterator[Reason]:
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
            case Convolution(deconvolution=True, kernel_channels=inputs, groups=count) if inputs % count:
                yield _channel_reason(layer, f"cannot share {inputs} input channels among {count} groups")


def areas(case: Case) -> Iterator[Reason]:
    """A kernel fits on what arrives, a deconvolution's output shape is one that it can make, and no blob is beyond bounds."""
    if case.network.exact_shapes:
        return
    for layer in case.network.layers:
        before = case.extents.get(layer.inputs[0], Extent()) if layer.inputs else Extent()
        for what in _area_faults(layer, before):
            yield Reason(
                rule="area",
                layer=layer.name,
                message=f"the layer {quoted(layer.name)} ({layer.type}) {what}",
                remedy="correct its kernel, stride, padding or output shape, or give the input another size",
            )


def _area_faults(layer: Layer, before: Extent) -> Iterator[str]:
    parameters, after = layer.parameters, extents.after(layer, before)
    if after.size is not None and after.size > MOST_NUMBERS:
        yield f"makes {after.size} numbers of a sample; {MOST_NUMBERS} are the most that finetuned runs"
    if not isinstance(parameters, Convolution | Pooling) or before.area is None:
        return
    made = extents.area(parameters, before.area)
    if made is not None and min(made) < 1:
        yield f"does not fit: its kernel reaches over {_spans(parameters)}, and what arrives is {_times(before.area)}"
    elif isinstance(parameters, Pooling) and extents.is_beside(parameters, before.area):
        yield "has a window that lies in the padding altogether; the format does not say what comes out"
    if isinstance(parameters, Convolution) and parameters.deconvolution and parameters.output_shape:
        most = extents.most_spread(parameters, before.area)
        if any(wanted > limit for wanted, limit in zip(parameters.output_shape, most, strict=True)):
            yield (
                f"cannot make its output shape {_times(parameters.output_shape)} of {_times(before.area)}: "
                f"{_times(most)} is the most"
            )


def _spans(parameters: Convolution | Pooling) -> str:
    return _times((extents.span(parameters, 0), extents.span(parameters, 1)))


def _times(pair: tuple[int, ...]) -> str:
    return f"{pair[0]} × {pair[1]}"


def _channel_reason(layer: Layer, what: str) -> Reason:
    return Reason(
        rule="channels",
        layer=layer.name,
        message=f"the layer {quoted(layer.name)} {what}",
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
                message=f"the layer named {quoted(layer.name)} is marked as updatable, however it is not supported: "
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


def names(case: Case) -> Iterator[Reason]:
    """Layers and the loss have different names: names are the keys of parameters."""
    everything = [layer.name for layer in case.network.layers] + [loss.name for loss in case.update.losses]
    for name, count in Counter(everything).items():
        if count > 1:
            yield Reason(
                rule="nameCollision",
                layer=name,
                message=f"the updatable model has a name collision for {quoted(name)}: {count} layers or losses share it",
                remedy="give every layer and the loss a name of its own",
            )
