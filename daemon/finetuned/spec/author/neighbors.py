"""What a k-nearest-neighbours classifier has stored, removed again; and how it decides.  Of a pipeline it is the last model."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.parameters import label_of
from finetuned.spec import codec
from finetuned.spec.author.editing import decoded, judged, learner, named, opened, sealed
from finetuned.spec.names import few, quoted, shortened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from finetuned.spec import coreml_pb2 as pb
    from finetuned.spec.model import Model
    from finetuned.spec.neighbors import Neighbors

WEIGHTINGS = {"uniform": "uniformWeighting", "inverse": "inverseDistanceWeighting"}
INDEXES = {"linear": "linearIndex", "kd-tree": "singleKdTreeIndex"}

LEAF_SIZE = 30
"""coremltools' own."""
MOST_IN_A_LEAF = (1 << 31) - 1
"""What the format's 32 bits hold."""


def without_samples(data: bytes, positions: Collection[int]) -> bytes:
    """Return the model without the samples at these positions, the first being 0; ModelError where there is none."""
    model, stored = _stored(data)
    count = len(stored.labels)
    wrong = sorted(position for position in positions if not 0 <= position < count)
    if wrong:
        allowed = f"0 to {count - 1} are there" if count else "it has none"
        raise ModelError(f"the model has no samples at {few(wrong)}; {allowed}")
    kept = np.ones(count, bool)
    kept[list(positions)] = False
    return _kept(model, stored, kept)


def without_label(data: bytes, label: str) -> bytes:
    """Return the model without the samples of a label (of an int64 one, written out); ModelError where it has none."""
    model, stored = _stored(data)
    kept = np.array([str(each) != label for each in stored.labels], bool)
    if kept.all():
        there = named(list(dict.fromkeys(stored.labels)))
        raise ModelError(f"the model has no sample labelled {quoted(label)}; it has samples of {there}")
    return _kept(model, stored, kept)


def emptied(data: bytes) -> bytes:
    """Return the model without any sample; it answers its default label."""
    model, stored = _stored(data)
    return _kept(model, stored, np.zeros(len(stored.labels), bool))


def _stored(data: bytes) -> tuple[Model, Neighbors]:
    """Return the model, and what the k-NN classifier that learns in it has stored."""
    model = decoded(data)
    found = model.learner.neighbors
    if found is None:
        raise ModelError(f"a {model.learner.kind} stores no samples; a k-NN classifier does")
    return model, found


def _kept(model: Model, stored: Neighbors, kept: NDArray[np.bool_]) -> bytes:
    """Return the model with these samples alone, in their order, with their labels."""
    every: Sequence[str | int] = stored.labels
    labels = list(compress(every, kept))
    samples = stored.numbers.reshape(-1, stored.dimensions)[kept]
    return judged(codec.encode_neighbors(model, samples, labels), model.data)


# ── how it votes ────────────────────────────────────────────────────────────────────────────────
def voting(
    data: bytes,
    *,
    weighting: str = "",
    index: str = "",
    leaf_size: int = 0,
    default: str | int | None = None,
) -> bytes:
    """Return the model deciding otherwise; what is not given stays.  Args are those of `Vote`."""
    message = opened(data, sound=False)  # what is missing may be what is given
    found = learner(message)
    if not found.HasField("kNearestNeighborsClassifier"):
        raise ModelError(f"a {found.WhichOneof('Type')} does not vote; a k-NN classifier does")
    configure(
        found.kNearestNeighborsClassifier,
        weighting=weighting,
        index=index,
        leaf_size=leaf_size,
        default=default,
    )
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
    if not 0 <= leaf_size <= MOST_IN_A_LEAF:
        raise ModelError(
            f"leaves of {shortened(str(leaf_size))} samples cannot be; 1 to {MOST_IN_A_LEAF} are allowed, and 0 for the usual"
        )
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
    number = label_of(label)
    if number is None:
        raise ModelError(
            f"{what} {quoted(str(label))} is no whole number of 64 bits, and the model's labels are such"
        )
    return number


def _one_of(word: str, known: dict[str, str], what: str) -> str:
    if word not in known:
        raise ModelError(f"there is no {what} {quoted(word)}; {' and '.join(known)} are there")
    return known[word]
