"""Files that somebody damaged, or made to do damage: they are refused or judged, and nothing else happens."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hostile
from builders import dense_classifier, edited
from finetuned.errors import ModelError
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from fuzz.mutations import mutated
from fuzz.survival import endure, small_models
from shared import shared

MODELS = small_models()
FLIP = st.tuples(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
REAL = (
    "mlupdatetask_line/untrained.mlmodel",
    "thirdparty_updatable/postal_UpdatableKNN.mlmodel",
    "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel",
)


# ── any bytes ───────────────────────────────────────────────────────────────────────────────────
@settings(deadline=None)
@given(model=st.sampled_from(MODELS), kept=st.integers(min_value=0, max_value=1000))
def test_a_truncated_model_is_a_model_error_at_worst(model: bytes, kept: int) -> None:
    endure(model[:kept])


@settings(max_examples=300, deadline=None)
@given(model=st.sampled_from(MODELS), flips=st.lists(FLIP, min_size=1, max_size=4))
def test_flipped_bytes_are_a_model_error_at_worst(model: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(model)
    for place, bits in flips:
        damaged[place % len(damaged)] ^= bits
    endure(bytes(damaged))


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_model_error_at_worst(data: bytes) -> None:
    endure(data)


@settings(max_examples=300, deadline=None)
@given(model=st.sampled_from(MODELS), seed=st.integers(min_value=0, max_value=1 << 30))
def test_fields_that_are_dropped_doubled_or_extreme_are_a_model_error_at_worst(
    model: bytes, seed: int
) -> None:
    endure(mutated(model, Random(seed)))  # noqa: S311 - no secret


@pytest.mark.parametrize("name", REAL)
def test_real_models_with_a_fault_inside_are_a_model_error_at_worst(name: str) -> None:
    data = shared(name).read_bytes()
    for seed in range(30):
        endure(mutated(data, Random(seed)))  # noqa: S311 - no secret


# ── made on purpose ─────────────────────────────────────────────────────────────────────────────
def test_hostile_files_are_refused_each_with_its_fault_and_take_little_memory() -> None:
    """In a process of its own: memory that was once asked for is not seen again."""
    done = subprocess.run([sys.executable, hostile.__file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row for row in found["said"] if row["fault"] not in row["said"]] == []
    assert all(row["said"].isprintable() and len(row["said"]) < 4000 for row in found["said"])
    assert found["mb"] < hostile.MOST_MB


def test_a_network_of_many_layers_is_judged_layer_by_layer() -> None:
    model = codec.decode(hostile.long_network(10_000))
    assert model.network is not None
    assert len(model.network.layers) == 10_004
    assert check.reasons(model) == ()


def test_a_rule_that_is_broken_in_every_layer_is_told_a_hundred_times() -> None:
    def spoil(model: pb.Model) -> None:
        for _ in range(5000):
            model.neuralNetworkClassifier.layers.add(isUpdatable=True)

    found = check.reasons(codec.decode(edited(dense_classifier(), spoil)))
    told = [reason.message for reason in found if reason.rule == "layerType"]
    assert len(told) == 101
    assert told[-1] == "the rule 'layerType' is broken in more places than the 100 that are told"


# ── what may be printed ─────────────────────────────────────────────────────────────────────────
TERMINAL = "\x1b[31mred\x07\u202e"


def rename_everything(model: pb.Model, name: str) -> None:
    """Put this into every name, and break the model in many ways."""
    network = model.neuralNetworkClassifier
    for layer in network.layers:
        layer.name = name
        layer.input[0] = name
        layer.output[0] = name
    loss = network.updateParams.lossLayers[0]
    loss.name = loss.categoricalCrossEntropyLossLayer.input = name
    loss.categoricalCrossEntropyLossLayer.target = name
    network.labelProbabilityLayerName = name
    for feature in (*model.description.input, *model.description.output, *model.description.trainingInput):
        feature.name = name
    model.description.predictedFeatureName = name


@pytest.mark.parametrize("name", [TERMINAL, "x" * 60_000, "\n\r\t", ""])
def test_what_is_said_of_names_may_be_printed_and_is_short(name: str) -> None:
    model = codec.decode(edited(dense_classifier(), lambda m: rename_everything(m, name)))
    found = check.reasons(model)
    assert len(found) > 5
    for reason in found:
        assert reason.message.isprintable()
        assert len(reason.message) < 1000


def test_a_refusal_that_quotes_the_file_is_short() -> None:
    def spoil(model: pb.Model) -> None:
        model.neuralNetworkClassifier.layers[0].convolution.kernelSize.extend([7] * 100_000)

    with pytest.raises(ModelError) as refused:
        codec.decode(edited(dense_classifier(), spoil))
    assert len(str(refused.value)) < 2100
