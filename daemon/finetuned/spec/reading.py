"""What several readers of layers share: sizes that are checked, pairs with a default, borders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from finetuned.spec import coreml_pb2 as pb

LARGEST_SIZE = (1 << 31) - 1

Borders = tuple[tuple[int, int], tuple[int, int]]


def pair(values: Sequence[int], default: int, name: str) -> tuple[int, int]:
    """Return (height, width), both positive."""
    if not values:
        return (default, default)
    if len(values) != 2 or not all(1 <= value <= LARGEST_SIZE for value in values):  # noqa: PLR2004 - height, width
        raise ModelError(f"{name} is {list(values)}; two positive numbers (height, width) are allowed")
    return (int(values[0]), int(values[1]))


def size(value: int, name: str) -> int:
    """Return a positive number."""
    if not 1 <= value <= LARGEST_SIZE:
        raise ModelError(f"{name} is {value}; a positive number is needed")
    return int(value)


def sizes(values: Sequence[int], counts: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return a shape of one of the allowed ranks."""
    if len(values) not in counts or not all(1 <= value <= LARGEST_SIZE for value in values):
        ranks = " or ".join(map(str, counts))
        raise ModelError(f"{name} is {list(values)}; {ranks} positive numbers are allowed")
    return tuple(int(value) for value in values)


def borders(message: pb.BorderAmounts, name: str) -> Borders:
    """Return ((top, bottom), (left, right)), noughts where nothing is said."""
    amounts = message.borderAmounts
    if not amounts:
        return ((0, 0), (0, 0))
    if len(amounts) != 2:  # noqa: PLR2004 - height, width
        raise ModelError(f"{name} has {len(amounts)} border amounts; two (height, width) are allowed")
    rows, columns = ((int(edge.startEdgeSize), int(edge.endEdgeSize)) for edge in amounts)
    if max(*rows, *columns) > LARGEST_SIZE:
        raise ModelError(f"{name} of {(rows, columns)} is out of any range")
    return rows, columns


def named(message: Message, number: int, enum: str, what: str) -> str:
    """Return the name of an enum's value; ModelError where it has none."""
    values = message.DESCRIPTOR.enum_types_by_name[enum].values_by_number
    if number not in values:
        raise ModelError(
            f"{what} {number} is unknown; {', '.join(v.name for v in values.values())} are allowed"
        )
    return str(values[number].name)
