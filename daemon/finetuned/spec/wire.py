"""Where a nested field lies in the bytes of a protobuf message, without decoding the message.

The codec overwrites weights in place by these spans, so that everything else in a model file stays as it
is.  Nothing here trusts the bytes: lengths are checked against what is there, and a path is only as deep
as the caller made it.  Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: its number, its wire type, where it begins, and where its payload starts and ends."""

    number: int
    kind: int
    begin: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step down: field `number`, the `index`-th of a repeated one, or (None) the only one."""

    name: str
    number: int
    index: int | None = None


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a varint at `at`; return its value and the position after it."""
    value = 0
    for count, byte in enumerate(data[at : min(end, at + LONGEST_VARINT)]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + count + 1
    raise ModelError(f"not a whole protobuf: the number at byte {at} has no end")


def encoded(value: int) -> bytes:
    """Return a number, 0 or more, as a varint."""
    groups = []
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte, and the eighth says that more follow
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def headed(number: int, payload: bytes) -> bytes:
    """Return a field of bytes: its tag, its length, its payload."""
    return encoded(number << 3 | BYTES) + encoded(len(payload)) + payload


def fields(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """Yield the fields of the message in data[start:end], in the order of the file."""
    end = len(data) if end is None else end
    while start < end:
        found = field(data, start, end)
        yield found
        start = found.end


def field(data: bytes, at: int, end: int) -> Field:
    """Read the field at `at`."""
    tag, start = varint(data, at, end)
    number, kind = tag >> 3, tag & 7
    if number == 0:
        raise ModelError(f"not a protobuf: byte {at} starts a field without a number")
    if kind == BYTES:
        length, start = varint(data, start, end)
    elif kind == VARINT:
        length = varint(data, start, end)[1] - start
    elif kind in WIDTHS:
        length = WIDTHS[kind]
    else:
        raise ModelError(f"not a protobuf that Core ML writes: byte {at} starts a field of wire type {kind}")
    if length > end - start:
        raise ModelError(
            f"truncated: field {number} at byte {at} needs {length} bytes, {end - start} are there",
        )
    return Field(number=number, kind=kind, begin=at, start=start, end=start + length)


def find(data: bytes, path: Sequence[Step]) -> tuple[int, int]:
    """Return where the payload at the end of `path` starts and ends.

    A singular field that occurs twice is refused: protobuf merges the two, so no single span holds it.
    """
    start, end = 0, len(data)
    for step in path:
        field = _found(data, start, end, step)
        start, end = field.start, field.end
    return start, end


def _found(data: bytes, start: int, end: int, step: Step) -> Field:
    return _choose([f for f in fields(data, start, end) if f.number == step.number], step)


def _choose(found: list[Field], step: Step) -> Field:
    if step.index is None and len(found) > 1:
        raise ModelError(
            f"the file holds {step.name!r} {len(found)} times where the format has it once; "
            "rewrite it with coremltools (load and save) and try again",
        )
    index = step.index or 0
    if index >= len(found) or found[index].kind != BYTES:
        raise ModelError(f"the file holds no {step.name!r} where it should be")
    return found[index]


def splice(data: bytes, path: Sequence[Step], parts: Sequence[bytes | memoryview]) -> bytes:
    """Return a copy of `data` with `parts`, one after the other, as the payload at the end of `path`.

    The fields on the way get their new lengths; every other byte stays.  What is refused is refused as by `find`.
    """
    around: list[tuple[bytes, bytes]] = []
    start, end = 0, len(data)
    for step in path:
        field = _found(data, start, end, step)
        length_at = varint(data, field.begin, end)[1]
        around.append((data[start:length_at], data[field.end : end]))
        start, end = field.start, field.end
    pieces: list[bytes | memoryview] = list(parts)
    size = sum(map(len, pieces))
    for head, tail in reversed(around):
        length = encoded(size)
        pieces = [head, length, *pieces, tail]
        size += len(head) + len(length) + len(tail)
    return b"".join(pieces)


def patch(data: bytes, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a copy of `data` in which each (position, bytes) piece is overwritten; the length stays."""
    copy = bytearray(data)
    for position, piece in pieces:
        if position < 0 or position + len(piece) > len(copy):
            raise ModelError(f"{len(piece)} bytes at {position} do not fit into {len(copy)} bytes")
        copy[position : position + len(piece)] = piece
    return bytes(copy)
