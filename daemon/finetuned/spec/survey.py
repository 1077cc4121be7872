"""A look over a file's bytes before they are parsed: what would cost much more than it is, or is no protobuf, is refused.

Two bytes can stand for a message that takes hundreds once it is parsed.  So everything is counted first, at
the cost of one pass over the structure (weights are stepped over), and what is wrong is told with its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from finetuned.errors import ModelError
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

MOST_SAMPLES = 1_000_000
"""Of nearest neighbours."""
MOST_FIELDS = MOST_SAMPLES + 200_000
"""Of all messages together, but for the samples: these have their own number, and a label each that counts.  A packed list
counts its bytes.  The greatest networks have some ten thousand."""
MOST_DEPTH = 64
LONGEST_TEXT = 1 << 16
"""Of a name or a label, in bytes; texts about the model may be longer."""

MOST = {
    "FloatVector": MOST_SAMPLES,
    "NeuralNetworkLayer": 100_000,
    "FeatureDescription": 10_000,
    "LossLayer": 1_000,
    "Model": 1_000,
}
FREE_TEXT = frozenset({"Metadata", "UserDefinedEntry", "FeatureDescription"})

SAMPLE, SAMPLE_FIELDS = "FloatVector", 2
"""A sample is a message of one field."""

CONTINUED = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What matters of a message type: which fields hold messages, texts, or packed numbers."""

    name: str
    longest_text: float
    messages: dict[int, str]
    texts: frozenset[int]
    packed: frozenset[int]


def _plan(descriptor: Descriptor) -> Plan:
    fields = descriptor.fields
    return Plan(
        name=descriptor.name,
        longest_text=float("inf") if descriptor.name in FREE_TEXT else LONGEST_TEXT,
        messages={field.number: field.message_type.full_name for field in fields if field.message_type},
        texts=frozenset(field.number for field in fields if field.type == field.TYPE_STRING),
        packed=frozenset(field.number for field in fields if _is_packed(field)),
    )


def _is_packed(field: FieldDescriptor) -> bool:
    return field.is_repeated and field.type not in {
        field.TYPE_STRING,
        field.TYPE_BYTES,
        field.TYPE_MESSAGE,
    }


def _descriptors(descriptor: Descriptor, seen: dict[str, Descriptor]) -> Mapping[str, Descriptor]:
    if descriptor.full_name not in seen:
        seen[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type:
                _descriptors(field.message_type, seen)
    return seen


PLANS: Mapping[str, Plan] = {
    name: _plan(found) for name, found in _descriptors(cast("Descriptor", pb.Model.DESCRIPTOR), {}).items()
}


def survey(data: bytes) -> None:
    """Go through all messages once.

    Raises:
        ModelError: the bytes are no protobuf, end too early, hold a text that is none, nest too deeply, or hold more
            than finetuned reads.
    """
    root = PLANS[pb.Model.DESCRIPTOR.full_name]
    counts = dict.fromkeys(MOST, 0)
    stack = [(root, _fields(data, 0, len(data)))]
    total = 0
    while stack:
        plan, rest = stack[-1]
        for number, start, end in rest:
            total += 1
            if number in plan.messages:
                inner = PLANS[plan.messages[number]]
                _count(inner, counts)
                total -= SAMPLE_FIELDS if inner.name == SAMPLE else 0
                stack.append((inner, _fields(data, start, end)))
                break
            if number in plan.texts:
                _check_text(data, start, end, plan)
            elif number in plan.packed:
                total += end - start
        else:
            stack.pop()
        if len(stack) > MOST_DEPTH:
            raise ModelError(f"messages are nested more than {MOST_DEPTH} deep at byte {start}")
        if total > MOST_FIELDS:
            raise ModelError(f"it holds more than {MOST_FIELDS} fields")


def _count(plan: Plan, counts: dict[str, int]) -> None:
    if plan.name in counts:
        counts[plan.name] += 1
        if counts[plan.name] > MOST[plan.name]:
            raise ModelError(f"it holds more than {MOST[plan.name]} messages of type {plan.name}")


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, end) of what is no plain number: `wire.fields`, for millions of them.

    Plain numbers are yielded as 0, since they count.
    """
    while at < end:
        first, tag = at, data[at]
        at += 1
        if tag >= CONTINUED:
            tag, at = wire.varint(data, first, end)
        if tag & 7 == wire.BYTES and tag > 7 and at < end:  # noqa: PLR2004 - the wire type's bits
            length, at = (data[at], at + 1) if data[at] < CONTINUED else wire.varint(data, at, end)
            if length > end - at:
                wire.field(data, first, end)  # it tells what is wrong
            yield tag >> 3, at, at + length
            at += length
        elif tag & 7 == wire.VARINT and tag > 7 and at < end and data[at] < CONTINUED:  # noqa: PLR2004 - as above
            at += 1
            yield 0, at, at
        else:
            at = wire.field(data, first, end).end
            yield 0, at, at


def _check_text(data: bytes, start: int, end: int, plan: Plan) -> None:
    if end - start > plan.longest_text:
        raise ModelError(
            f"a text of {end - start} bytes stands at byte {start}; {LONGEST_TEXT} are the most for a name"
        )
    try:
        data[start:end].decode()
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the text at byte {start} (in {plan.name}) is not UTF-8: {data[start : min(end, start + 20)]!r}"
        ) from error
