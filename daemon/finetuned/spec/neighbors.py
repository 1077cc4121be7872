"""A k-nearest-neighbours classifier: from the message to values.  Nothing is judged here: `check` complains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetuned.spec import updates
from finetuned.spec.weights import packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetuned.parameters import Parameter
    from finetuned.spec import coreml_pb2 as pb
    from finetuned.spec.model import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """`KNearestNeighborsClassifier`.

    `numbers` are all samples one after the other, `lengths` how many numbers each has (all `dimensions`, in a sound
    model).  `index`, `distance` and `weighting` are Apple's names, "" where the file has none; `label` is one a sample,
    `default_label` the answer of an empty model.
    """

    dimensions: int
    numbers: FloatArray
    lengths: NDArray[np.int64]
    labels: tuple[str, ...] | tuple[int, ...]
    label_kind: str
    default_label: str | int | None
    number_of_neighbors: Parameter | None
    index: str
    leaf_size: int
    distance: str
    weighting: str


def neighbors(message: pb.KNearestNeighborsClassifier) -> Neighbors:
    """Return the classifier's values; ModelError when a sample's bytes are not float32 numbers."""
    index = message.nearestNeighborsIndex
    samples = [_sample(sample) for sample in index.floatSamples]
    default = message.WhichOneof("DefaultClassLabel")
    labels = message.WhichOneof("ClassLabels")
    return Neighbors(
        dimensions=index.numberOfDimensions,
        numbers=np.frombuffer(b"".join(samples), "<f4"),
        lengths=np.array([len(sample) // 4 for sample in samples], np.int64),
        labels=tuple(getattr(message, labels).vector) if labels else (),
        label_kind=LABEL_KINDS.get(labels or "", ""),
        default_label=getattr(message, default) if default else None,
        number_of_neighbors=updates.number(message.numberOfNeighbors)
        if message.HasField("numberOfNeighbors")
        else None,
        index=index.WhichOneof("IndexType") or "",
        leaf_size=index.singleKdTreeIndex.leafSize,
        distance=index.WhichOneof("DistanceFunction") or "",
        weighting=message.WhichOneof("WeightingScheme") or "",
    )


def _sample(message: pb.FloatVector) -> bytes:
    """Return a sample's bytes: there may be a million of them, so a sound one is not looked at for what it should not hold."""
    sound = len(message.vector) % 4 == 0 and (message.vector or not message.ByteSize())
    return message.vector if sound else packed(message, "vector")


LABEL_KINDS = {"stringClassLabels": "string", "int64ClassLabels": "int64"}
