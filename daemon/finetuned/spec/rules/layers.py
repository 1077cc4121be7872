"""Rules for layers: wiring, names, and the marks of those that are to be trained."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from finetuned.spec.names import quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.extents import KEEPING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.rules.case import Case

TRAINABLE = frozenset({"innerProduct", "convolution"})
ON_ONE = (
    KEEPING | TRAINABLE | {"flatten", "pooling", "reshape", "permute", "padding", "upsample", "embedding"}
)
"""A convolution that takes its weights from a second blob (with EXACT shapes, unknown to update) is not run."""


def there(case: Case) -> Iterator[Reason]:
    """A network has layers."""
    if not case.network.layers:
        yield Reason(
            rule="layersMissing",
            message="the network has no layers; at least one is needed",
            remedy="export the model again; the file is empty",
        )


def ends(case: Case) -> Iterator[Reason]:
    """A layer that works on one blob has one input and one output."""
    for layer in case.network.layers:
        if layer.type in ON_ONE and (len(layer.inputs), len(layer.outputs)) != (1, 1):
            yield Reason(
                rule="layerEnds",
                layer=layer.name,
                message=f"the layer {quoted(layer.name)} ({layer.type}) has {len(layer.inputs)} inputs and "
                f"{len(layer.outputs)} outputs; one of each is needed",
                remedy="export the model again; the file contradicts itself",
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


def updatable_layers(case: Case) -> Iterator[Reason]:
    """At least one layer is marked, and it must be of a type that can be trained."""
    marked = [layer for layer in case.network.layers if layer.updatable]
    if not marked:
        yield Reason(
            rule="noUpdatableLayer",
            message="the model is marked as updatable, but none of the layers are updatable",
            remedy="mark inner product or convolution layers, with finetuned author updatable",
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
