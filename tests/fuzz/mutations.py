"""Model files with a fault inside that still parse: fields dropped, doubled, swapped, their numbers and bytes made extreme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec import wire
from finetuned.spec.survey import PLANS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from finetuned.spec.survey import Plan

ROOT = "finetuned.coreml.Model"
NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    64,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
BYTES = (b"", b"\x00", b"\xff" * 4, bytes(4), b"\x00\x00\xc0\x7f", b"\x1b[31m", b"\xe2\x80\xae", b"x" * 200)
"""Among them a float that is NaN, and what a terminal would obey."""

Fields = list[tuple[int, bytes]]
"""Tags, and all that follows of each."""


def varint(value: int) -> bytes:
    """Write a number as protobuf does."""
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


def mutated(data: bytes, dice: Random, plan: Plan = PLANS[ROOT]) -> bytes:
    """Return the message with one change, somewhere down in it; it must be a whole protobuf."""
    fields = list(wire.fields(data))
    if not fields:
        return data + _new(plan, dice)
    place = dice.randrange(len(fields))
    field = fields[place]
    before, payload, after = data[: _begin(fields, place)], data[field.start : field.end], data[field.end :]
    if field.kind == wire.BYTES and field.number in plan.messages and dice.random() < DEEPER:
        inner = mutated(payload, dice, PLANS[plan.messages[field.number]])
        return before + _written(field.number, inner) + after
    whole = data[len(before) : field.end]
    return before + dice.choice(EDITS)(field, whole, payload, dice) + after + _now_and_then(plan, dice)


DEEPER = 0.9


def _begin(fields: list[wire.Field], place: int) -> int:
    return fields[place - 1].end if place else 0


def _written(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | wire.BYTES) + varint(len(payload)) + payload


def _now_and_then(plan: Plan, dice: Random) -> bytes:
    return _new(plan, dice) if dice.random() < 1 / 8 else b""


def _new(plan: Plan, dice: Random) -> bytes:
    """Return a field that the message may have, empty or with a number."""
    known = sorted({*plan.messages, *plan.texts, *plan.packed}) or [1]
    number = dice.choice(known)
    if dice.random() < 1 / 2:
        return _written(number, b"")
    return varint(dice.choice([*known, dice.randrange(1, 120)]) << 3) + varint(dice.choice(NUMBERS))


# ── one field ───────────────────────────────────────────────────────────────────────────────────
def _drop(_: wire.Field, __: bytes, ___: bytes, ____: Random) -> bytes:
    return b""


def _double(_: wire.Field, whole: bytes, __: bytes, dice: Random) -> bytes:
    return whole * dice.choice([2, 2, 2, 50])


def _rename(field: wire.Field, whole: bytes, payload: bytes, dice: Random) -> bytes:
    """Let the content be another field's."""
    number = dice.choice([1, 2, 3, 10, 100, 140, 500, dice.randrange(1, 1200)])
    if field.kind == wire.BYTES:
        return _written(number, payload)
    return varint(number << 3 | field.kind) + whole[len(whole) - len(payload) :]


def _extreme(field: wire.Field, whole: bytes, payload: bytes, dice: Random) -> bytes:
    """Put a number or bytes there that nobody expects."""
    if field.kind == wire.VARINT:
        return whole[: len(whole) - len(payload)] + varint(dice.choice(NUMBERS))
    if field.kind == wire.BYTES:
        return _written(field.number, dice.choice(BYTES))
    return whole[: len(whole) - len(payload)] + dice.randbytes(len(payload))


def _cut(field: wire.Field, whole: bytes, payload: bytes, dice: Random) -> bytes:
    if field.kind != wire.BYTES or not payload:
        return whole
    return _written(field.number, payload[: dice.randrange(len(payload))])


def _flip(field: wire.Field, whole: bytes, payload: bytes, dice: Random) -> bytes:
    if field.kind != wire.BYTES or not payload:
        return whole
    changed = bytearray(payload)
    changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
    return _written(field.number, bytes(changed))


EDITS: tuple[Callable[[wire.Field, bytes, bytes, Random], bytes], ...] = (
    *(_drop, _double, _rename),
    *(_extreme, _extreme, _cut, _flip),
)
