from __future__ import annotations

from typing import Any

import pytest

import builders
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import metadata
from finetuned.spec.rules.departures import REFUSED

KEY = metadata.BEYOND_COREML
TEXTS = {KEY: "it leaves"}


def described(**fields: str) -> bytes:
    """Return a model with these user-defined texts, and an author."""

    def describe(message: pb.Model) -> None:
        message.description.metadata.author = "somebody"
        message.description.metadata.userDefined.update(fields)

    return builders.edited(builders.dense_classifier(), describe)


def texts(data: bytes) -> dict[str, str]:
    return dict(pb.Model.FromString(data).description.metadata.userDefined)


def without_metadata(data: bytes) -> bytes:
    return builders.edited(data, lambda message: message.description.ClearField("metadata"))


@pytest.mark.parametrize("data", [described(), described(a="b"), builders.dense_classifier()])
def test_a_text_is_added_and_nothing_else_changes(data: bytes) -> None:
    found = metadata.annotated(data, TEXTS)
    assert texts(found) == {**texts(data), **TEXTS}
    assert without_metadata(found) == without_metadata(data)
    assert (
        pb.Model.FromString(found).description.metadata.author
        == pb.Model.FromString(data).description.metadata.author
    )


@pytest.mark.parametrize("length", [0, 1, 50, 100, 127, 128, 20_000])
def test_a_text_of_any_length_is_read_as_it_was_written(length: int) -> None:
    assert texts(metadata.annotated(described(a="b"), {KEY: "ß" * length}))[KEY] == "ß" * length


def test_a_text_of_the_same_key_is_replaced_and_one_that_says_the_same_stays() -> None:
    once = metadata.annotated(described(a="b"), TEXTS)
    assert metadata.annotated(once, TEXTS) == once
    assert texts(metadata.annotated(once, {KEY: "otherwise"})) == {"a": "b", KEY: "otherwise"}


def test_every_byte_before_and_after_the_description_stays() -> None:
    data = described()
    found = metadata.annotated(data, TEXTS)
    tail = pb.Model.FromString(data).neuralNetworkClassifier.SerializeToString()
    assert data.endswith(tail)
    assert found.endswith(tail)
    assert found[:2] == data[:2]  # the specification version


def test_what_this_version_does_not_know_survives() -> None:
    unknown = b"\xfa\x3f\x03new"  # field 1023
    data = described()
    assert metadata.annotated(data + unknown, TEXTS) == metadata.annotated(data, TEXTS) + unknown


def test_a_model_without_a_description_gets_one() -> None:
    data = pb.Model(specificationVersion=4).SerializeToString()
    assert metadata.annotated(data, TEXTS).startswith(data)
    assert texts(metadata.annotated(data, TEXTS)) == TEXTS


def test_the_warning_says_once_what_apple_will_do_and_each_departure() -> None:
    departures = [f"{what}: {REFUSED}" for what in ("the layer 'a'", "2 losses")]
    assert metadata.warning(departures) == {KEY: f"{REFUSED}: the layer 'a'; 2 losses"}


def test_coremltools_reads_the_text_beside_what_was_there(apple: Any) -> None:  # noqa: ANN401
    found = apple.Model.FromString(metadata.annotated(described(a="b"), TEXTS))
    assert dict(found.description.metadata.userDefined) == {"a": "b", **TEXTS}
    assert found.description.metadata.author == "somebody"
    found.description.ClearField("metadata")
    assert found == apple.Model.FromString(without_metadata(described()))
