"""A k-nearest-neighbours classifier: from the message to values, and other samples into its bytes.

Nothing is judged on the way in: `check` complains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import updates, wire
from finetuned.spec.weights import packed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from finetuned.parameters import Parameter
    from finetuned.spec.model import FloatArray

    Labels = Sequence[str | int]


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

    @property
    def samples(self) -> FloatArray:
        """The samples of a sound model, [n, dimensions]."""
        return self.numbers.reshape(-1, self.dimensions)

    @property
    def kind(self) -> str:
        """The type of the labels, `string` or `int64`: that of the stored ones, or else of the default label."""
        return self.label_kind or ("int64" if isinstance(self.default_label, int) else "string")


def neighbors(message: pb.KNearestNeighborsClassifier) -> Neighbors:
    """Return the classifier's values; ModelError when a sample's bytes are not float32 numbers."""
    index = message.nearestNeighborsIndex
    numbers, lengths = _samples(index)
    default = message.WhichOneof("DefaultClassLabel")
    labels = message.WhichOneof("ClassLabels")
    return Neighbors(
        dimensions=index.numberOfDimensions,
        numbers=numbers,
        lengths=lengths,
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


def _samples(index: pb.NearestNeighborsIndex) -> tuple[FloatArray, NDArray[np.int64]]:
    """Copy the samples one by one into one memory: the message has them all already."""
    lengths = np.empty(len(index.floatSamples), np.int64)
    numbers = bytearray()
    for place, sample in enumerate(index.floatSamples):
        data = _sample(sample)
        lengths[place] = len(data) // 4
        numbers += data
    found = np.frombuffer(numbers, "<f4")
    found.flags.writeable = False
    return found, lengths


def _sample(message: pb.FloatVector) -> bytes:
    """Return a sample's bytes: there may be a million of them, so a sound one is not looked at for what it should not hold."""
    sound = len(message.vector) % 4 == 0 and (message.vector or not message.ByteSize())
    return message.vector if sound else packed(message, "vector")


LABEL_KINDS = {"stringClassLabels": "string", "int64ClassLabels": "int64"}


# ── other samples ───────────────────────────────────────────────────────────────────────────────
def with_samples(
    data: bytes, span: tuple[int, int], samples: FloatArray, labels: Labels, *, kind: str
) -> list[bytes | memoryview]:
    """Return a classifier's message with other samples and their labels, in pieces.

    Args:
        data: the bytes of a `.mlmodel`.
        span: where the message starts and ends in them.
        samples: float32 [n, d].
        labels: one a sample, texts or numbers as `kind` says.
        kind: `string` or `int64`.

    Raises:
        ModelError: the message has no index, or several.
    """
    fields = list(wire.fields(data, *span))
    indexes = [field for field in fields if field.number == _INDEX and field.kind == wire.BYTES]
    if len(indexes) != 1:
        raise ModelError(
            f"the file holds 'nearestNeighborsIndex' {len(indexes)} times where the format has it once; "
            "rewrite it with coremltools (load and save) and try again"
        )
    index = _joined(
        [
            (field.number, memoryview(data)[field.begin : field.end])
            for field in _beside_samples(data, indexes[0].start, indexes[0].end)
        ],
        _SAMPLES,
        [_records(samples)],
    )
    head = wire.encoded(_INDEX << 3 | wire.BYTES) + wire.encoded(sum(map(len, index)))
    rest = [
        (field.number, memoryview(data)[field.begin : field.end])
        for field in fields
        if field.number not in {_INDEX, *_LABELS.values()}
    ]
    number = _LABELS[kind]
    return [head, *index, *_joined(rest, number, [wire.headed(number, _vector(labels, kind))])]


_MESSAGE = pb.KNearestNeighborsClassifier
_INDEX = _MESSAGE.NEARESTNEIGHBORSINDEX_FIELD_NUMBER
_SAMPLES = pb.NearestNeighborsIndex.FLOATSAMPLES_FIELD_NUMBER
_LABELS = {
    "string": _MESSAGE.STRINGCLASSLABELS_FIELD_NUMBER,
    "int64": _MESSAGE.INT64CLASSLABELS_FIELD_NUMBER,
}


def _beside_samples(data: bytes, at: int, end: int) -> Iterator[wire.Field]:
    """Yield the fields of an index but for its samples: of those there may be a million, and they are alike."""
    while at < end:
        field = wire.field(data, at, end)
        if field.number == _SAMPLES:
            at = _after_alike(data, field, end)
        else:
            yield field
            at = field.end


def _after_alike(data: bytes, field: wire.Field, end: int) -> int:
    """Return where those end that follow a field with its tag and its length; looked at twice as many at a time."""
    size, head = field.end - field.begin, data[field.begin : field.start]
    at, step = field.end, 1
    while count := min(step, (end - at) // size):
        rows = np.frombuffer(data, np.uint8, count * size, at).reshape(count, size)
        alike = (rows[:, : len(head)] == np.frombuffer(head, np.uint8)).all(axis=1)
        if not alike.all():
            return at + int(alike.argmin()) * size
        at, step = at + count * size, 2 * step
    return at


def _joined(
    fields: Sequence[tuple[int, memoryview]], number: int, new: Sequence[bytes | memoryview]
) -> list[bytes | memoryview]:
    """Return the fields with new ones where those of that number stand: before the first of a higher one."""
    place = next((at for at, (other, _) in enumerate(fields) if other > number), len(fields))
    kept = [part for _, part in fields]
    return [*kept[:place], *new, *kept[place:]]


def _records(samples: FloatArray) -> bytes | memoryview:
    """Return the samples as fields of the index, all of them at once."""
    if not len(samples):
        return b""
    rows = np.ascontiguousarray(samples, "<f4")
    size = rows.shape[1] * 4
    inner = wire.encoded(pb.FloatVector.VECTOR_FIELD_NUMBER << 3 | wire.BYTES) + wire.encoded(size)
    outer = wire.encoded(_SAMPLES << 3 | wire.BYTES) + wire.encoded(len(inner) + size)
    head = np.frombuffer(outer + inner, np.uint8)
    records = np.empty((len(rows), len(head) + size), np.uint8)
    records[:, : len(head)] = head
    records[:, len(head) :] = rows.view(np.uint8)
    return records.data.cast("B")


def _vector(labels: Labels, kind: str) -> bytes:
    """Return a StringVector or an Int64Vector; each label is encoded once, there are few."""
    write = _text if kind == "string" else _varint
    known = {label: write(label) for label in dict.fromkeys(labels)}
    joined = b"".join(map(known.__getitem__, labels))
    return joined if kind == "string" or not joined else wire.headed(_NUMBERS, joined)


_TEXTS = pb.StringVector.VECTOR_FIELD_NUMBER
_NUMBERS = pb.Int64Vector.VECTOR_FIELD_NUMBER


def _text(label: str | int) -> bytes:
    return wire.headed(_TEXTS, str(label).encode())


def _varint(label: str | int) -> bytes:
    """A negative number is written as if it had 64 bits."""
    return wire.encoded(int(label) % (1 << 64))
