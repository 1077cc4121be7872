"""The front of a network as a model of its own, which makes features of what the network takes in."""

from __future__ import annotations

from finetuned.errors import ModelError
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author import numbers
from finetuned.spec.author.editing import Body, blob_names, body, free_name, opened, sealed
from finetuned.spec.names import listed, quoted
from finetuned.spec.rules.extents import Extent, follow


def _cut(message: pb.Model, at: str) -> str:
    """Return the blob that the name stands for: a layer's output, a blob, an input; or what the last fully connected layer takes in."""
    network = body(message)
    by_layer = {entry.name: entry.output[0] for entry in network.layers if entry.output}
    made = {blob for entry in network.layers for blob in entry.output}
    if at:
        blob = by_layer.get(at, at)
        if blob not in made | {feature.name for feature in message.description.input}:
            raise ModelError(
                f"the network has no layer {quoted(at)}; the last ones are {listed([*by_layer][::-1])}"
            )
        return blob
    last = [entry for entry in network.layers if entry.HasField("innerProduct") and entry.input]
    if not last:
        raise ModelError(
            "the network has no fully connected layer before which it could be cut; name a layer"
        )
    blob = last[-1].input[0]
    if blob not in made:
        raise ModelError(
            f"the last fully connected layer, {quoted(last[-1].name)}, takes the input {quoted(blob)} as it is: nothing before "
            f"it makes features; name a later layer, or {quoted(blob)} for a k-NN of the input itself"
        )
    return blob


def front(data: bytes, at: str = "", dimensions: int = 0) -> bytes:
    """Return the network up to a layer as a model of its own, not updatable, whose only output are the features.

    Args and errors are those of `nearest`.
    """
    return sealed(front_of(opened(data), at, dimensions), data)


def front_of(message: pb.Model, at: str, dimensions: int) -> pb.Model:
    """Return the message of `front`."""
    return front_at(message, _cut(message, at), dimensions)


def dimensions(data: bytes, at: str = "") -> int:
    """Return how many numbers a sample has in the features; 0 where that is not known without running the network."""
    message = opened(data)
    return _size(message, _cut(message, at))[0]


def front_at(message: pb.Model, blob: str, dimensions: int) -> pb.Model:
    """Return the message of a model that makes the blob, as a vector."""
    network = body(message)
    made = pb.Model(specificationVersion=message.specificationVersion)
    kept = made.neuralNetwork
    kept.MergeFromString(_without_labels(network))
    kept.ClearField("updateParams")
    _drop(kept, _needed(network, blob))
    numbers.unmark(kept.layers)
    size, is_vector = _size(message, blob)
    if not is_vector or not kept.layers:  # an input as it is needs a layer to be an output
        blob = _flatten(kept, blob)
    read = {each for entry in kept.layers for each in entry.input}
    features = [feature for feature in message.description.input if feature.name in read]
    made.description.input.extend(features)
    _keep_preprocessing(kept, {feature.name for feature in features})
    made.description.metadata.CopyFrom(message.description.metadata)
    array = made.description.output.add(name=blob).type.multiArrayType
    array.shape[:] = [dimensions or size or _unknown(blob)]
    array.dataType = pb.ArrayFeatureType.FLOAT32
    return made


def _without_labels(network: Body) -> bytes:
    """Return the network's message as one of a plain network: what a classifier has besides is left out."""
    copy = type(network).FromString(network.SerializeToString())
    if isinstance(copy, pb.NeuralNetworkClassifier):
        for name in ("stringClassLabels", "int64ClassLabels", "labelProbabilityLayerName"):
            copy.ClearField(name)
    return copy.SerializeToString(deterministic=True)


def _needed(network: Body, blob: str) -> set[int]:
    """Return the positions of the layers that a blob depends on."""
    wanted, kept = {blob}, set()
    for position, entry in reversed(list(enumerate(network.layers))):
        if not wanted.isdisjoint(entry.output):
            kept.add(position)
            wanted.update(entry.input)
    return kept


def _drop(network: pb.NeuralNetwork, kept: set[int]) -> None:
    for position in reversed(range(len(network.layers))):
        if position not in kept:
            del network.layers[position]


def _keep_preprocessing(network: pb.NeuralNetwork, inputs: set[str]) -> None:
    """Drop what is done to inputs that are gone; a step without a name is for every image."""
    kept = [step for step in network.preprocessing if step.featureName in {"", *inputs}]
    network.ClearField("preprocessing")
    network.preprocessing.extend(kept)


def _size(message: pb.Model, blob: str) -> tuple[int, bool]:
    """Return how many numbers a sample has in the blob (0: unknown), and whether it is a vector already.

    With EXACT shapes the rank decides what an axis is; there every blob is taken as it is.
    """
    model = codec.decode(message.SerializeToString())
    if model.network and model.network.exact_shapes:
        return 0, True
    extent = follow(model, model.network).get(blob, Extent()) if model.network else Extent()
    return extent.size or 0, extent.area == (1, 1)


def _flatten(network: pb.NeuralNetwork, blob: str) -> str:
    """Let a flatten layer make a vector of the blob."""
    name = free_name(f"{blob}_flat", blob_names(network))
    network.layers.add(name=name, input=[blob], output=[name]).flatten.SetInParent()
    return name


def _unknown(blob: str) -> int:
    raise ModelError(
        f"how many numbers a sample has in {quoted(blob)} is not known without running the network; say its dimensions"
    )
