"""What the daemon takes of a description: cut where it is only looked at, whole or not at all where it is needed."""

from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from builders import dense_classifier
from fakes import INFO
from finetuned.service.bounds import MOST_BYTES, MOST_LABELS, bounded
from finetuned.service.describe import describe
from finetuned.service.messages import FeatureInfo, LayerInfo, ModelInfo, ParameterInfo
from finetuned.spec import codec

LONG = "x" * 50_000_000


def size(info: ModelInfo) -> int:
    return len(msgspec.json.encode(info))


def test_an_ordinary_model_is_told_whole() -> None:
    info = describe(codec.decode(dense_classifier()))
    assert bounded(info) == info


def test_long_texts_are_cut_and_short_ones_stay() -> None:
    info = replace(INFO, metadata={"shortDescription": LONG, "author": "me", LONG: "key"})
    found = bounded(info)
    assert found.updatable
    assert found.metadata["author"] == "me"
    assert found.metadata["shortDescription"].endswith("… (50000000 characters)")
    assert size(found) < size(INFO) + 10_000


def test_a_thousand_metadata_of_nothing_are_as_few() -> None:
    found = bounded(replace(INFO, metadata={f"key {n}": "" for n in range(100_000)}))
    assert size(found) < size(INFO) + 10_000


def test_the_layers_beyond_some_hundred_are_one_row_that_counts_them() -> None:
    layer = LayerInfo(name="l", type="innerProduct", trainable=False, parameters=6)
    found = bounded(replace(INFO, layers=(layer,) * 99_999 + (replace(layer, trainable=True),)))
    assert len(found.layers) == 201
    rest = LayerInfo(name="99800 more layers", type="", trainable=True, parameters=99_800 * 6)
    assert found.layers[-1] == rest
    assert size(found) < size(INFO) + 20_000


def test_names_are_short_and_tables_of_features_end() -> None:
    feature = FeatureInfo(name="é" * 60_000, type="double")
    info = replace(
        INFO,
        inputs=(feature,) * 10_000,
        outputs=(feature,) * 10_000,
        layers=(LayerInfo(name=LONG, type="gru", trainable=True, parameters=0),),
        losses=({"name": LONG, "input": LONG},),
        reasons=(LONG,) * 5_000,
    )
    found = bounded(info)
    assert found.inputs[-1].name == "9800 more"
    assert found.layers[0].name.endswith("… (50000000 characters)")
    assert size(found) < 600_000


@pytest.mark.parametrize(
    ("surplus", "words"),
    [
        ({"class_labels": tuple(range(MOST_LABELS + 1))}, "it has 50001 labels, and the daemon takes 50000"),
        ({"class_labels": (LONG,)}, f"labels, parameters and inputs are 5.* the daemon takes {MOST_BYTES}"),
        ({"parameters": {"epochs": ParameterInfo(default=1, set=tuple(range(1, 900_000)))}}, "labels, parameters"),
    ],
    ids=["labels", "a label", "allowed values"],
)  # fmt: skip
def test_what_is_needed_whole_has_bounds_beyond_which_a_model_is_not_taken(
    surplus: dict[str, object], words: str
) -> None:

    found = bounded(replace(INFO, **surplus))
    assert not found.updatable
    (why,) = found.reasons
    assert re.search(words, why)
    assert size(found) < 2_000


def test_labels_within_the_bounds_stay_whole() -> None:
    labels = tuple(f"species {n}" for n in range(MOST_LABELS))
    assert bounded(replace(INFO, class_labels=labels)).class_labels == labels
