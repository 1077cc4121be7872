"""Models without a fault, and real ones, are judged as they are."""

from __future__ import annotations

import pytest

from builders import dense_classifier, dense_regressor, edited
from finetuned.spec import check, codec
from finetuned.spec.author import ImageInput
from shared import shared
from spec import edits as e


def rules(data: bytes) -> list[str]:
    """Return the names of the broken rules, each once, in the order of the check."""
    return list(dict.fromkeys(reason.rule for reason in check.reasons(codec.decode(data))))


@pytest.mark.parametrize("data", [
    dense_classifier(),
    dense_classifier(optimizer="adamOptimizer", hidden=0, labels=[3, 1, 2]),
    dense_classifier(image=ImageInput(width=4, height=3), activation="sigmoid"),
    dense_regressor(outputs=2),
    edited(dense_classifier(), lambda m: e.sgd(m).ClearField("momentum")),
    edited(dense_classifier(train_hidden=False), e.use("leakyReLU")),
    edited(dense_classifier(), lambda m: m.description.trainingInput.add(name="an extra one")),
])  # fmt: skip
def test_a_sound_model_has_no_reason_against_it(data: bytes) -> None:
    assert check.reasons(codec.decode(data)) == ()


EXPECTED = {
    "mlupdatetask_line/untrained.mlmodel": [],
    "thirdparty_updatable/mangiavacchi_house_trainable.mlmodel": [],
    "thirdparty_updatable/denissimon_s4tf_updatable_model.mlmodel": [],
    "updatable_built/Hands_MobileNetV1_025_updatable.mlmodel": [],
    "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel": [],
    "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel": [],
    "updatable_built/HandskNN_MobileNetV2_int8_updatable.mlmodel": ["modelTypeLater"],
    "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel": ["modelTypeLater"],
    "thirdparty_updatable/postal_UpdatableKNN.mlmodel": ["modelTypeLater"],
    "imagenet_backbone/MobileNetV1_0.25_128.mlmodel": ["isUpdatable"],
    "imagenet_backbone/MobileNetV2_1.0_224_int8.mlmodel": ["isUpdatable"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_models_are_judged_as_they_are(name: str) -> None:
    assert rules(shared(name).read_bytes()) == EXPECTED[name]
