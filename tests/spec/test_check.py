"""Models without a fault, and real ones, are judged as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builders import dense_classifier, dense_regressor, edited
from finetuned.spec import check, codec
from finetuned.spec.author import ImageInput
from shared import shared
from spec import edits as e
from spec.row import assign

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec import coreml_pb2 as pb


def rules(data: bytes) -> list[str]:
    """Return the names of the broken rules, each once, in the order of the check."""
    return list(dict.fromkeys(reason.rule for reason in check.reasons(codec.decode(data))))


SOUND = [
    dense_classifier(),
    dense_classifier(optimizer="adamOptimizer", hidden=0, labels=[3, 1, 2]),
    dense_classifier(image=ImageInput(width=4, height=3), activation="sigmoid"),
    dense_regressor(outputs=2),
]


@pytest.mark.parametrize("data", SOUND)
def test_a_sound_model_has_no_reason_against_it(data: bytes) -> None:
    assert check.reasons(codec.decode(data)) == ()


# What looks like a fault and is none: Apple's validator lets it through, and nothing is lost by it.
ALLOWED: dict[str, Callable[[pb.Model], object]] = {
    "no momentum": lambda m: e.sgd(m).ClearField("momentum"),
    "a learning rate below zero": lambda m: e.set_range(e.sgd(m).learningRate, -0.5, -1, 1),
    "a range of one value": lambda m: e.set_range(e.sgd(m).learningRate, 0.1, 0.1, 0.1),
    "no range at all": lambda m: e.sgd(m).learningRate.ClearField("AllowedValues"),
    "a seed below zero": lambda m: assign(e.network(m).updateParams.seed, defaultValue=-3),
    "an extra training input": lambda m: m.description.trainingInput.add(name="an extra one"),
    "the target first": lambda m: m.description.trainingInput.insert(0, m.description.trainingInput.pop(1)),
    "no probability layer": lambda m: assign(e.network(m), labelProbabilityLayerName=""),
    "marked weights in a layer that is not": e.unmark,
    "an unmarked quantized layer": e.both(e.quantize_hidden, e.unmark),
    "a frozen layer behind what is not differentiable": e.both(e.use("leakyReLU"), e.unmark),
    "a frozen LSTM": e.both(e.use("uniDirectionalLSTM"), e.unmark),
    "a trained layer that the loss does not need": e.both(e.spare, e.mark_last),
    "the newest version": lambda m: assign(m, specificationVersion=10),
    **{
        f"a gradient through {kind}": e.use(kind)
        for kind in ("ReLU", "sigmoid", "tanh", "flatten", "batchnorm")
    },
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_no_fault_is_none(name: str) -> None:
    assert check.reasons(codec.decode(edited(dense_classifier(), ALLOWED[name]))) == ()


EXPECTED = {
    "mlupdatetask_line/untrained.mlmodel": [],
    "thirdparty_updatable/mangiavacchi_house_trainable.mlmodel": [],
    "thirdparty_updatable/denissimon_s4tf_updatable_model.mlmodel": [],
    "updatable_built/Hands_MobileNetV1_025_updatable.mlmodel": [],
    "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel": [],
    "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel": [],
    "updatable_built/HandskNN_MobileNetV2_int8_updatable.mlmodel": [],
    "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel": [],
    "thirdparty_updatable/postal_UpdatableKNN.mlmodel": [],
    "imagenet_backbone/MobileNetV1_0.25_128.mlmodel": ["isUpdatable"],
    "imagenet_backbone/MobileNetV2_1.0_224_int8.mlmodel": ["isUpdatable"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_models_are_judged_as_they_are(name: str) -> None:
    assert rules(shared(name).read_bytes()) == EXPECTED[name]
