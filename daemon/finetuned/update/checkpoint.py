"""A checkpoint of an update: what the next mini-batch depends on, as bytes that anyone's tools can look into.

The layout is that of safetensors: the header's length (8 bytes, little-endian), the header (JSON: each array's type,
shape and place, and `__metadata__` of texts), the arrays' numbers, little-endian, without a gap.  Nothing is pickled.

The permutation of an epoch is a function of seed and epoch alone (`NetworkUpdate`), and there is no other randomness; so
the position says where in it the update stands, and neither permutation nor a generator's state is an array in the file.
NumPy keeps its permutations from version to version of its own, no further: the file holds its version beside the seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.errors import CheckpointError, OtherTaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["WEIGHTS", "CheckpointError", "Position", "Snapshot", "decode", "encode", "seed_of"]

Flat = NDArray[np.float32]

FORMAT = "finetuned checkpoint 1"
WEIGHTS = "weights"
OPTIMIZER = "optimizer."

_LENGTH = 8  # bytes of the header's length
_ALIGNMENT = 8  # the numbers begin on a multiple of it, as safetensors wants them to
_LONGEST_HEADER = 1 << 16
_DIGITS = 15  # of a count: more mini-batches than anyone can do
_LARGEST = 1 << 53  # of a place: what JSON holds exactly
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where an update stands, between two events.

    `batch` mini-batches of `epoch` are done, `step` of the whole task; `total` is the epoch's sum of loss × rows so far,
    `last` the loss of the last mini-batch.  After the last mini-batch of an epoch the epoch's end comes next; after that
    the position is (epoch + 1, 0).
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    total: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An update at a position.

    `arrays` are float32 and flat: `weights`, every trained array one after the other, and `optimizer.<name>`, the
    optimizer's state.  `seed` is that of the permutations.
    """

    position: Position
    learning_rate: float
    arrays: Mapping[str, Flat] = field(repr=False)
    seed: int = 0


# ── to bytes ────────────────────────────────────────────────────────────────────────────────────
def encode(snapshot: Snapshot, identity: str) -> bytes:
    """Return the checkpoint's bytes; `identity` is a short text, a digest say, of all that the task's result depends on.

    Raises:
        ValueError: the header would be longer than `decode` reads.
    """
    tensors, end = {}, 0
    for name, array in snapshot.arrays.items():
        tensors[name] = {"dtype": "F32", "shape": [array.size], "data_offsets": [end, end + 4 * array.size]}
        end += 4 * array.size
    texts = {**_metadata(snapshot, identity), "sha256": _digest(snapshot, identity)}
    header = _padded(json.dumps({"__metadata__": texts, **tensors}).encode())
    if len(header) > _LONGEST_HEADER:
        raise ValueError(
            f"a checkpoint's header of {len(header)} bytes is too long; allowed: {_LONGEST_HEADER}"
        )
    numbers = (np.ascontiguousarray(array, dtype="<f4") for array in snapshot.arrays.values())
    return b"".join([len(header).to_bytes(_LENGTH, "little"), header, *(n.tobytes() for n in numbers)])


def _padded(header: bytes) -> bytes:
    return header + b" " * (-(_LENGTH + len(header)) % _ALIGNMENT)


def _metadata(snapshot: Snapshot, identity: str) -> dict[str, str]:
    """Return the texts of the header; floats in hexadecimal come back to the last bit."""
    position = snapshot.position
    return {
        "format": FORMAT,
        "identity": identity,
        "numpy": np.__version__,
        "seed": str(snapshot.seed),
        "learningRate": float(snapshot.learning_rate).hex(),
        "epoch": str(position.epoch),
        "batch": str(position.batch),
        "step": str(position.step),
        "total": float(position.total).hex(),
        "last": float(position.last).hex(),
    }


def _digest(snapshot: Snapshot, identity: str) -> str:
    """Return the SHA-256 of all that the file says, however it is laid out."""
    digest = hashlib.sha256(json.dumps(_metadata(snapshot, identity)).encode())
    for name, array in sorted(snapshot.arrays.items()):
        digest.update(json.dumps([name, array.size]).encode())
        digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


# ── from bytes ──────────────────────────────────────────────────────────────────────────────────
def decode(data: bytes, identity: str) -> Snapshot:
    """Return the snapshot in the bytes; its arrays are views of them, not to be written to.

    Raises:
        OtherTaskError: they are not of the task with this identity, or of other versions of what computes it.
        CheckpointError: they are damaged; the message says what is wrong.
    """
    header, start = _header(data)
    texts = _texts(header)
    found, numpy = _text(texts, "identity"), _text(texts, "numpy")
    if numpy != np.__version__:  # which makes another identity too, but says less
        raise OtherTaskError(f"it was written with NumPy {_short(numpy)}, and this is {np.__version__}")
    if found != identity:
        raise OtherTaskError(f"it is of another task: {_short(found)} instead of {_short(identity)}")
    position = Position(
        epoch=_count(texts, "epoch"),
        batch=_count(texts, "batch"),
        step=_count(texts, "step"),
        total=_number(texts, "total"),
        last=_number(texts, "last"),
    )
    snapshot = Snapshot(
        position=position,
        learning_rate=_number(texts, "learningRate"),
        arrays=_arrays(header, memoryview(data)[start:]),
        seed=_seed(texts),
    )
    if _text(texts, "sha256") != _digest(snapshot, identity):
        raise CheckpointError("it is damaged: its content does not have the SHA-256 that it names")
    return snapshot


def seed_of(data: bytes) -> int:
    """Return the seed of a checkpoint whose identity is not known yet, since the seed is a part of it."""
    return _seed(_texts(_header(data)[0]))


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header and where the numbers begin."""
    size = int.from_bytes(data[:_LENGTH], "little")
    if size > _LONGEST_HEADER:
        raise CheckpointError(f"it begins with no checkpoint's header: {data[:_LENGTH]!r}")
    end = _LENGTH + size
    if len(data) < max(end, _LENGTH + 1):
        raise CheckpointError(f"it is cut off: {len(data)} bytes do not hold its header")
    try:
        header = json.loads(data[_LENGTH:end].decode())
    except (ValueError, RecursionError):
        raise CheckpointError("its header is damaged: it is no JSON") from None
    if not isinstance(header, dict):
        raise CheckpointError("its header is damaged: it is no object")
    return header, end


def _texts(header: dict[str, Any]) -> dict[str, Any]:
    texts = header.get("__metadata__")
    if not isinstance(texts, dict):
        raise CheckpointError("its header is damaged: it has no metadata")
    if (found := texts.get("format")) != FORMAT:
        raise OtherTaskError(f"it is of another format: {_short(found)} instead of {FORMAT!r}")
    return texts


def _text(texts: dict[str, Any], name: str) -> str:
    text = texts.get(name)
    if not isinstance(text, str):
        raise _damaged(name, text)
    return text


def _count(texts: dict[str, Any], name: str) -> int:
    text = _text(texts, name)
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise _damaged(name, text)
    return int(text)


def _seed(texts: dict[str, Any]) -> int:
    text = _text(texts, "seed")
    try:
        seed = int(text)
    except ValueError:
        raise _damaged("seed", text) from None
    if not -(1 << 63) <= seed < 1 << 63:
        raise _damaged("seed", text)
    return seed


def _number(texts: dict[str, Any], name: str) -> float:
    text = _text(texts, name)
    try:
        number = float.fromhex(text)
    except (ValueError, OverflowError):
        raise _damaged(name, text) from None
    if not math.isfinite(number):
        raise _damaged(name, text)
    return number


def _damaged(name: str, value: object) -> CheckpointError:
    return CheckpointError(f"its header is damaged: {name} is {_short(value)}")


def _short(value: object) -> str:
    """Show what a stranger's file says, as ASCII, cut where it is long."""
    text = ascii(value) if isinstance(value, str | None) else f"of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


# ── the arrays ──────────────────────────────────────────────────────────────────────────────────
def _arrays(header: dict[str, Any], numbers: memoryview) -> dict[str, Flat]:
    arrays: dict[str, Flat] = {}
    end = 0
    for name, first, last in sorted(_places(header), key=lambda place: place[1:]):
        if first != end:
            raise CheckpointError(f"its header is damaged: {_short(name)} begins at {first}, not at {end}")
        if last > len(numbers):
            raise CheckpointError(f"it is cut off: {_short(name)} ends at {last} of {len(numbers)} bytes")
        arrays[name], end = _checked(name, numbers[first:last]), last
    if end != len(numbers):
        raise CheckpointError(f"it holds {len(numbers) - end} bytes too many")
    return arrays


def _places(header: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield each array's name and place; its type and shape fit them."""
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        match tensor:
            case {"dtype": "F32", "shape": [int(size)], "data_offsets": [int(first), int(last)]} if (
                0 <= first <= last < _LARGEST and last - first == 4 * size
            ):
                yield name, first, last
            case _:
                raise CheckpointError(f"its header is damaged: {_short(name)} is no flat float32 array")


def _checked(name: str, numbers: memoryview) -> Flat:
    """An optimizer's second moment may well be infinite, a weight never; nothing may be NaN."""
    array = np.frombuffer(numbers, dtype="<f4").astype(np.float32, copy=False)
    if np.isnan(array).any() or (name == WEIGHTS and not np.isfinite(array).all()):
        raise CheckpointError(f"{_short(name)} holds numbers that are infinite or NaN")
    return array
