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
    """One field: its number, its wire type, and where its payload starts and ends."""

    number: int
    kind: int
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
    return Field(number=number, kind=kind, start=start, end=start + length)


def find(data: bytes, path: Sequence[Step]) -> tuple[int, int]:
    """Return where the payload at the end of `path` starts and ends.

    A singular field that occurs twice is refused: protobuf merges the two, so no single span holds it.
    """
    start, end = 0, len(data)
    for step in path:
        field = _choose([f for f in fields(data, start, end) if f.number == step.number], step)
        start, end = field.start, field.end
    return start, end


def _choose(found: list[Field], step: Step) -> Field:
    if step.index is None and len(found) > 1:
        raise ModelError(
            f"the file holds {step.name!r} {len(found)} times where the format has it once; "
            "rewrite it with coremltools (load and save) and try again",
        )
    index = step.index or 0
    if index >= len(found) or found[index].kind != BYTES:
        raise ModelError(f"the file holds no {step.name!r} where its weights should be")
    return found[index]


def patch(data: bytes, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a copy of `data` in which each (position, bytes) piece is overwritten; the length stays."""
    copy = bytearray(data)
    for position, piece in pieces:
        if position < 0 or position + len(piece) > len(copy):
            raise ModelError(f"{len(piece)} bytes at {position} do not fit into {len(copy)} bytes")
        copy[position : position + len(piece)] = piece
    return bytes(copy)
