"""What a k-nearest-neighbours classifier has stored, removed again; and how it decides.  Of a pipeline it is the last model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author.editing import label_vector, learner, named, opened, sealed, set_labels
from finetuned.spec.names import few, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

WEIGHTINGS = {"uniform": "uniformWeighting", "inverse": "inverseDistanceWeighting"}
INDEXES = {"linear": "linearIndex", "kd-tree": "singleKdTreeIndex"}

LEAF_SIZE = 30
"""coremltools' own."""


def without_samples(data: bytes, positions: Collection[int]) -> bytes:
    """Return the model without the samples at these positions, the first being 0; ModelError where there is none."""
    message = opened(data, sound=False)
    stored = _neighbors(message)
    count = len(stored.nearestNeighborsIndex.floatSamples)
    wrong = sorted(position for position in positions if not 0 <= position < count)
    if wrong:
        allowed = f"0 to {count - 1} are there" if count else "it has none"
        raise ModelError(f"the model has no samples at {few(wrong)}; {allowed}")
    _keep(stored, set(range(count)).difference(positions))
    return sealed(message, data)


def without_label(data: bytes, label: str) -> bytes:
    """Return the model without the samples of a label, which an int64 one may be written out; ModelError where it has none."""
    message = opened(data, sound=False)
    stored = _neighbors(message)
    labels = [str(each) for each in label_vector(stored)]
    if label not in labels:
        raise ModelError(
            f"the model has no sample labelled {quoted(label)}; it has samples of {named(list(dict.fromkeys(labels)))}"
        )
    _keep(stored, (position for position, each in enumerate(labels) if each != label))
    return sealed(message, data)


def emptied(data: bytes) -> bytes:
    """Return the model without any sample; it answers its default label."""
    message = opened(data, sound=False)
    _keep(_neighbors(message), ())
    return sealed(message, data)


def voting(
    data: bytes,
    *,
    weighting: str = "",
    index: str = "",
    leaf_size: int = 0,
    default: str | int | None = None,
) -> bytes:
    """Return the model deciding otherwise; what is not given stays.  Args are those of `Vote`."""
    message = opened(data, sound=False)
    configure(_neighbors(message), weighting=weighting, index=index, leaf_size=leaf_size, default=default)
    return sealed(message, data)


def configure(
    message: pb.KNearestNeighborsClassifier,
    *,
    weighting: str = "",
    index: str = "",
    leaf_size: int = 0,
    default: str | int | None = None,
) -> None:
    """Set what is given, in place."""
    if weighting:
        getattr(message, _one_of(weighting, WEIGHTINGS, "weighting")).SetInParent()
    if index:
        getattr(message.nearestNeighborsIndex, _one_of(index, INDEXES, "index")).SetInParent()
    stored = message.nearestNeighborsIndex
    if stored.HasField("singleKdTreeIndex"):
        stored.singleKdTreeIndex.leafSize = leaf_size or stored.singleKdTreeIndex.leafSize or LEAF_SIZE
    elif leaf_size:
        raise ModelError("a linear index has no leaves; a kd-tree has")
    if default is not None:
        _set_default(message, default)


def _set_default(message: pb.KNearestNeighborsClassifier, default: str | int) -> None:
    """Set the answer of an empty model; one of whole numbers may be written out."""
    if not message.HasField("int64ClassLabels"):
        message.defaultStringLabel = str(default)
        return
    message.defaultInt64Label = whole(default, "the default label")


def whole(label: str | int, what: str) -> int:
    """Return an int64 label, which may be written out."""
    try:
        number = int(label)
    except ValueError:
        number = 1 << 63
    if not -(1 << 63) <= number < 1 << 63:
        raise ModelError(
            f"{what} {quoted(str(label))} is no whole number of 64 bits, and the model's labels are such"
        )
    return number


def _one_of(word: str, known: dict[str, str], what: str) -> str:
    if word not in known:
        raise ModelError(f"there is no {what} {quoted(word)}; {' and '.join(known)} are there")
    return known[word]


def is_neighbors(message: pb.Model) -> bool:
    """Tell whether what learns in the model is a k-NN classifier."""
    return learner(message).HasField("kNearestNeighborsClassifier")


def _neighbors(message: pb.Model) -> pb.KNearestNeighborsClassifier:
    found = learner(message)
    if not found.HasField("kNearestNeighborsClassifier"):
        raise ModelError(f"a {found.WhichOneof('Type')} stores no samples; a k-NN classifier does")
    return found.kNearestNeighborsClassifier


def _keep(stored: pb.KNearestNeighborsClassifier, positions: Iterable[int]) -> None:
    """Keep the samples at these positions, in their order, with their labels."""
    kept = sorted(positions)
    samples, labels = stored.nearestNeighborsIndex.floatSamples, label_vector(stored)
    chosen = [samples[position] for position in kept]
    index = pb.NearestNeighborsIndex(floatSamples=chosen)
    stored.nearestNeighborsIndex.ClearField("floatSamples")
    stored.nearestNeighborsIndex.floatSamples.extend(index.floatSamples)
    set_labels(stored, (labels[position] for position in kept))
