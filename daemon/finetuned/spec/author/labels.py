"""A trained network's classes: one more, without touching the others, or one fewer.

A new class is a new last row of the last fully connected layer.  Its weights are imprinted (Qi, Brown and Lowe, "Low-Shot
Learning with Imprinted Weights", CVPR 2018): the mean feature of the label's first samples gives the direction, the mean length of
the old rows the scale.  That network compares by cosines and one trained with cross entropy does not: with the old rows' mean
bias the new label would win nearly everywhere.  So the bias is the least with which most of the samples get the new label.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError, SampleError
from finetuned.labels import ALLOWED, is_label
from finetuned.spec.author import neighbors, numbers
from finetuned.spec.author.editing import inside, label_vector, learner, named, opened, sealed, set_labels
from finetuned.spec.author.extractor import front_at
from finetuned.spec.names import few, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableSequence, Sequence

    from numpy.typing import NDArray

    from finetuned.spec import coreml_pb2 as pb
    from finetuned.spec.model import FloatArray

MOST = 0.75
"""So many of its first samples get the new label at once; all of them, and one that is far off would draw in the old classes'."""
MARGIN = 0.1
"""By how much its score is above the best old one there: enough for float32."""

_THROUGH = frozenset({"softmax", "softmaxND", "flatten", "activation"})
"""What may stand between the rows and the probabilities: it takes any number of channels."""
_RANK_OF_CHW = 3
_PER_CHANNEL = frozenset({"PReLU", "parametricSoftplus"})


def with_label(data: bytes, label: str | int, features: FloatArray | None = None) -> bytes:
    """Return the classifier with one more label, the last; the rows of the others stay bit for bit, as float32 numbers.

    Args:
        data: a classifier whose classes are the rows of its last fully connected layer, or a pipeline that ends in one.
        label: the new one; of a model with int64 labels a whole number, which may be written out.
        features: [N, inputs] what enters that layer (`backbone`) of the label's first samples; None: the new row is zeros, and
            its bias the mean of the old ones.

    Raises:
        ModelError: there is such a label already, or its classes come from elsewhere, or what `check` says.
        SampleError: features of another width, or that are not finite.
    """
    message = opened(data)
    model = learner(message)
    if model.HasField("kNearestNeighborsClassifier"):
        raise ModelError("a k-NN classifier takes any label: update it with samples of the new one")
    network, entry = _head(model)
    labels = label_vector(network)
    new = _label(network, label)
    if new in labels:
        raise ModelError(
            f"the model has the label {quoted(str(new))} already, at position {labels.index(new)}"
        )
    weights, bias = numbers.read(entry)
    row, shift = _imprinted(weights, bias, features)
    if bias is None and shift:
        bias = np.zeros(len(weights), np.float32)
    _resize(
        model,
        entry,
        weights=np.vstack([weights, row]),
        bias=None if bias is None else np.append(bias, np.float32(shift)),
    )
    set_labels(network, [*labels, new])
    return sealed(message, data)


def without_label(data: bytes, label: str) -> bytes:
    """Return the classifier without a label: a network without its row, a k-NN classifier without its samples.

    Raises:
        ModelError: there is no such label, or it is a network's last one; its classes come from elsewhere.
    """
    message = opened(data)
    model = learner(message)
    if model.HasField("kNearestNeighborsClassifier"):
        return neighbors.without_label(data, label)
    network, entry = _head(model)
    labels = label_vector(network)
    found = [position for position, each in enumerate(labels) if str(each) == label]
    if not found:
        raise ModelError(f"the model has no label {quoted(label)}; it has {named(labels)}")
    if len(found) > 1:
        raise ModelError(
            f"the label {quoted(label)} is there {len(found)} times, at the positions {few(found)}: which row is meant is not known"
        )
    if len(labels) == 1:
        raise ModelError(f"{quoted(label)} is the only label; a classifier keeps at least one")
    weights, bias = numbers.read(entry)
    kept = np.delete(weights, found[0], axis=0)
    _resize(model, entry, weights=kept, bias=None if bias is None else np.delete(bias, found[0]))
    set_labels(network, [each for position, each in enumerate(labels) if position != found[0]])
    return sealed(message, data)


def with_labels(data: bytes, labels: Sequence[str | int]) -> bytes:
    """Return the classifier with these labels in the place of its own: a head that begins at zero, on the same features.

    At zero every label is as probable as another, and the first gradients tell them apart: a last layer needs no random start.

    Raises:
        ModelError: none or one twice, or as of `with_label`.
    """
    message = opened(data)
    model = learner(message)
    network, entry = _head(model)
    new = [_label(network, each) for each in labels]
    if not new or len(set(new)) < len(new):
        raise ModelError(f"a classifier has at least one label, and each once; found {named(new)}")
    rows = np.zeros((len(new), entry.innerProduct.inputChannels), np.float32)
    _resize(model, entry, weights=rows, bias=np.zeros(len(new), np.float32))
    set_labels(network, new)
    return sealed(message, data)


def _label(network: pb.NeuralNetworkClassifier, label: str | int) -> str | int:
    """Return a new label, of the kind that the others are."""
    if network.HasField("int64ClassLabels"):
        return neighbors.whole(label, "the label")
    text = str(label)
    if not is_label(text):
        raise ModelError(f"{quoted(text)} is no label; allowed: {ALLOWED}")
    return text


# ── the new row ─────────────────────────────────────────────────────────────────────────────────
def _imprinted(
    weights: FloatArray, bias: FloatArray | None, features: FloatArray | None
) -> tuple[NDArray[np.float32], float]:
    """Return the row and its bias."""
    width = weights.shape[1]
    old = np.zeros(len(weights)) if bias is None else bias.astype(np.float64)
    if features is None:
        return np.zeros(width, np.float32), float(old.mean())
    if features.ndim != 2 or features.shape[1] != width or not len(features):  # noqa: PLR2004 - samples, numbers
        raise SampleError(f"features of shape {list(features.shape)} are no samples of {width} numbers")
    rows, seen = weights.astype(np.float64), features.astype(np.float64)
    mean = seen.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if not 0 < length < np.inf:
        raise SampleError("the samples' mean feature is zero or not finite: there is no direction to imprint")
    row = mean / length * np.linalg.norm(rows, axis=1).mean()
    lacking = (seen @ rows.T + old).max(axis=1) - seen @ row
    return row.astype(np.float32), float(np.quantile(lacking, MOST, method="higher") + MARGIN)


# ── the head ────────────────────────────────────────────────────────────────────────────────────
def backbone(data: bytes) -> bytes:
    """Return the network before the layer whose rows are the classes: a model whose only output is what `with_label` takes.

    Raises:
        ModelError: as `with_label`, or nothing stands before that layer, or the network is part of a pipeline.
    """
    message = opened(data)
    if inside(message):
        raise ModelError(
            "the features of a pipeline's network are not computed here; add the label without samples"
        )
    _, entry = _head(message)
    return sealed(front_at(message, entry.input[0], entry.innerProduct.inputChannels), data)


def _head(model: pb.Model) -> tuple[pb.NeuralNetworkClassifier, pb.NeuralNetworkLayer]:
    """Return the classifier and the layer whose rows are its classes."""
    if not model.HasField("neuralNetworkClassifier"):
        raise ModelError(f"a {model.WhichOneof('Type')} has no class labels; a neuralNetworkClassifier has")
    network = model.neuralNetworkClassifier
    blob = network.labelProbabilityLayerName or "".join(network.layers[-1].output[:1])
    by_blob = {each: entry for entry in network.layers for each in entry.output}
    path = []
    while (entry := by_blob.get(blob)) is not None and _passes(entry):
        path.append(blob)
        blob = entry.input[0]
    if entry is None or not entry.HasField("innerProduct"):
        found = (
            f"the layer {quoted(entry.name)} ({entry.WhichOneof('layer')})"
            if entry
            else f"the input {quoted(blob)}"
        )
        raise ModelError(
            f"the classes are made by {found}; labels can be added and removed where a fully connected layer (innerProduct) "
            "makes them, with nothing but softmax, activation and flatten behind it"
        )
    _check_alone(network, entry, {blob, *path})
    labels, rows = len(label_vector(network)), entry.innerProduct.outputChannels
    if labels != rows:
        raise ModelError(f"the classifier has {labels} labels, and {quoted(entry.name)} makes {rows} classes")
    return network, entry


def _passes(entry: pb.NeuralNetworkLayer) -> bool:
    kind = entry.activation.WhichOneof("NonlinearityType")
    return entry.WhichOneof("layer") in _THROUGH and kind not in _PER_CHANNEL and len(entry.input) == 1


def _check_alone(
    network: pb.NeuralNetworkClassifier, head: pb.NeuralNetworkLayer, way: Iterable[str]
) -> None:
    """Refuse a network in which another layer reads what the classes are made of: it would get one number too many."""
    blobs = set(way)
    for entry in network.layers:
        if entry is not head and not blobs.isdisjoint(entry.input) and blobs.isdisjoint(entry.output):
            raise ModelError(
                f"the layer {quoted(entry.name)} reads the classes of {quoted(head.name)}, too, and would get another number of them"
            )


def _resize(
    model: pb.Model, entry: pb.NeuralNetworkLayer, *, weights: FloatArray, bias: FloatArray | None
) -> None:
    """Write the rows, and say their new number wherever the file says the old one."""
    before, after = entry.innerProduct.outputChannels, len(weights)
    numbers.write(entry, weights, bias)
    if bias is not None:
        entry.innerProduct.bias.isUpdatable = entry.isUpdatable
    entry.innerProduct.outputChannels = after
    entry.innerProduct.int8DynamicQuantize = False
    network = model.neuralNetworkClassifier
    made = _made_of(network, entry.output[0])
    losses = [loss.meanSquaredErrorLossLayer for loss in network.updateParams.lossLayers]
    made |= {loss.target for loss in losses if loss.input in made}
    for feature in (*model.description.output, *model.description.trainingInput):
        if feature.name in made:
            _replace(feature.type.multiArrayType.shape, before, after)


def _made_of(network: pb.NeuralNetworkClassifier, blob: str) -> set[str]:
    """Return the blob, and all that layers make of it."""
    found = {blob}
    for entry in network.layers:  # each stands behind those that it reads
        if not found.isdisjoint(entry.input):
            found.update(entry.output)
    return found


def _replace(shape: MutableSequence[int], before: int, after: int) -> None:
    """Say the new number of channels in a shape that has no other axis: [n], [1, n], [n, 1, 1], with ones before it or not."""
    axes = list(shape)
    if prod(axes) != before or before not in axes:
        return
    channels = len(axes) - (_RANK_OF_CHW if len(axes) >= _RANK_OF_CHW else 1)
    shape[axes.index(before) if before > 1 else channels] = after
