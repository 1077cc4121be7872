"""What coremltools' converter writes, in the layers that Core ML can train: from PyTorch or Keras to an updatable model.

The converter writes `reshapeStatic` where a network flattens its channels, and `softmaxND` at its end.  Both are layers of
iOS 13 that no gradient passes; `flatten` and `softmax` compute the same numbers, and one does.
"""

from __future__ import annotations

from typing import Any

from finetuned import ModelError

# coremltools' messages have no types.
Message = Any

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
BY_CHANNEL = frozenset({"activation", "innerProduct", "softmax", "unary"})
"""They do with the channels of [N, C, 1, 1] what they do with the rows of [N, C]."""
ROW = 2  # axes
LAST = (1, -1)  # the channels' axis of [N, C]


def trainable(spec: Message) -> bytes:
    """Return a converted network as a `.mlmodel` of layers that Core ML can train, where it has such; `spec` is changed.

    A row of numbers, [1, C], becomes an array of C channels, as Core ML's older layers want it.

    Args:
        spec: what `coremltools.convert(…, convert_to="neuralnetwork").get_spec()` gives.

    Raises:
        ModelError: it is no neural network, or a layer does with flattened numbers what `flatten` has no shape for.
    """
    kind = spec.WhichOneof("Type")
    if kind not in NETWORKS:
        raise ModelError(f"a {kind} has no layers to train; convert with convert_to='neuralnetwork'")
    network = getattr(spec, kind)
    rows = [each for each in spec.description.input if _is_row(each)]
    if rows:
        network.arrayInputShapeMapping = 0  # RANK5_ARRAY_MAPPING
    flat = {each.name for each in rows}
    for layer in network.layers:
        _rewrite(layer, flat)
    for each in (*rows, *(each for each in spec.description.output if each.name in flat and _is_row(each))):
        del each.type.multiArrayType.shape[0]
    data: bytes = spec.SerializeToString(deterministic=True)
    return data


def _is_row(feature: Message) -> bool:
    shape = feature.type.multiArrayType.shape
    return len(shape) == ROW and shape[0] == 1


def _rewrite(layer: Message, flat: set[str]) -> None:
    """Write one layer as an older one, and add to `flat` what it makes of a row: the names of blobs of [1, C]."""
    kind = layer.WhichOneof("layer")
    takes_row = bool(flat.intersection(layer.input))
    if kind == "reshapeStatic" and not takes_row:
        _flatten(layer)
    elif kind == "softmaxND" and takes_row and layer.softmaxND.axis in LAST:
        layer.softmax.SetInParent()
    elif not takes_row:
        return
    elif kind not in BY_CHANNEL:
        raise ModelError(
            f"the layer {layer.name!r} ({kind}) takes numbers that were flattened, and Core ML has no older layer for it; "
            "let the network end with linear layers, activations and one softmax behind the flattening"
        )
    flat.update(layer.output)


def _flatten(layer: Message) -> None:
    shape = list(layer.reshapeStatic.targetShape)
    if len(shape) != ROW or shape[0] != 1:
        raise ModelError(
            f"the layer {layer.name!r} reshapes to {shape}; only [1, C] can be written as flatten"
        )
    layer.flatten.SetInParent()
