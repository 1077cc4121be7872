"""Spans of nested fields, from bytes that nobody vouches for."""

from __future__ import annotations

import pytest

from finetuned.errors import ModelError
from finetuned.spec import wire
from finetuned.spec.wire import Field, Step

# message { 1: 300, 2: "ab", 3: fixed32, 4: fixed64, 2: "c" }
MESSAGE = bytes.fromhex("08ac02 12026162 1d00000000 210000000000000000 120163")


def test_fields_are_found_with_their_payloads() -> None:
    assert list(wire.fields(MESSAGE)) == [
        Field(number=1, kind=wire.VARINT, begin=0, start=1, end=3),
        Field(number=2, kind=wire.BYTES, begin=3, start=5, end=7),
        Field(number=3, kind=wire.FIXED32, begin=7, start=8, end=12),
        Field(number=4, kind=wire.FIXED64, begin=12, start=13, end=21),
        Field(number=2, kind=wire.BYTES, begin=21, start=23, end=24),
    ]


def test_a_repeated_field_is_found_by_its_index() -> None:
    assert wire.find(MESSAGE, [Step(name="names", number=2, index=1)]) == (23, 24)


def test_a_path_goes_down_into_nested_messages() -> None:
    nested = bytes([0x0A, len(MESSAGE), *MESSAGE])
    path = [Step(name="inner", number=1), Step(name="names", number=2, index=0)]
    assert nested[slice(*wire.find(nested, path))] == b"ab"


def test_a_singular_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="'weights' 2 times where the format has it once"):
        wire.find(MESSAGE, [Step(name="weights", number=2)])


@pytest.mark.parametrize(
    "step", [Step(name="x", number=9), Step(name="x", number=2, index=2), Step(name="x", number=1)]
)
def test_a_field_that_is_not_there_is_an_error(step: Step) -> None:
    with pytest.raises(ModelError, match="holds no 'x'"):
        wire.find(MESSAGE, [step])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("12", "has no end"),  # a tag without a length
        ("1205ab", "needs 5 bytes, 1 are there"),
        ("12ffffffffffffffffff01", "needs 18446744073709551615 bytes"),
        ("08ffffffffffffffffffff", "has no end"),  # a number of more than ten bytes
        ("1d0000", "needs 4 bytes, 2 are there"),
        ("0001", "without a number"),
        ("0b", "wire type 3"),  # a group
    ],
)
def test_broken_bytes_are_refused(data: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        list(wire.fields(bytes.fromhex(data)))


def test_a_patch_changes_only_its_bytes() -> None:
    assert wire.patch(b"0123456789", [(2, b"ab"), (7, b"c")]) == b"01ab456c89"


def test_a_patch_never_grows_the_file() -> None:
    with pytest.raises(ModelError, match="do not fit"):
        wire.patch(b"0123", [(3, b"ab")])
