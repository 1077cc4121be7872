from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finetuned.service.messages import InputSpec
from finetuned.spec import codec
from finetuned.spec.model import ImageType, InnerProduct, Model
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from finetuned_plugins.pictures import Pictures
from shared import shared

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {"rock": "✊", "paper": "✋", "scissors": "✌️"}


def loaded(name: str) -> Model:
    """Return a model of the shared data."""
    return codec.decode(shared(name).read_bytes())


def picture(path: Path, size: int) -> Any:  # noqa: ANN401 - an array
    """Return a picture as the bundled decoder gives it, uint8 [3, size, size]."""
    want = InputSpec(name="image", shape=(3, size, size), color="RGB")
    return np.frombuffer(Pictures().decode(path.read_bytes(), want), np.uint8).reshape(want.shape)


def width(model: Model) -> int:
    image = model.description.inputs[0].type
    assert isinstance(image, ImageType)
    return image.width


# ── backbones ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "net", "key"),
    [
        ("MobileNetV1_0.25_128", "MobileNetV1_0.25_128", "numpy_float_top3"),
        ("MobileNetV1_0.25_128_int8", "MobileNetV1_0.25_128", "numpy_float_top3_int8"),
        ("MobileNetV2_1.0_224_int8", "MobileNetV2_1.0_224", "numpy_float_top3_int8"),
    ],
)
def test_a_backbone_sees_in_the_six_pictures_what_litert_sees(name: str, net: str, key: str) -> None:
    golden = json.loads(shared("imagenet_backbone/golden_imagenet.json").read_text())[net]
    model = loaded(f"imagenet_backbone/{name}.mlmodel")
    pictures = [shared(f"imagenet_backbone/images/{file}") for file in golden]
    x = np.stack([picture(path, width(model)) for path in pictures])
    answers = list(Predictor(model).classify({"image": x}))
    assert len(answers) == 6
    for (label, probabilities), wanted in zip(answers, golden.values(), strict=True):
        assert label == wanted["litert_uint8_top3"][0][0]
        for other, probability in wanted[key]:
            assert probabilities[other] == pytest.approx(probability, abs=0.01)


# ── hands ───────────────────────────────────────────────────────────────────────────────────────
@cache
def hands(split: str, size: int) -> dict[str, Any]:
    """Return the pictures of a split and their labels."""
    root = shared("rock_paper_scissors") / split
    files = sorted(path for path in root.glob("*/*") if path.is_file())
    return {
        "image": np.stack([picture(path, size) for path in files]),
        "label": [LABELS[path.parent.name] for path in files],
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "right"), [("Hands_MobileNetV2_int8_updatable", 12), ("Hands_MobileNetV1_025_updatable", 8)]
)
def test_a_few_pictures_of_hands_teach_a_frozen_backbone_for_any_seed(
    name: str, right: int, seed: int
) -> None:
    model = loaded(f"updatable_built/{name}.mlmodel")
    target = model.description.predicted_feature
    train, test = (hands(split, width(model)) for split in ("train", "test"))
    task = UpdateTask(
        model,
        {"image": train["image"], target: train["label"]},
        parameters={"epochs": 30, "learningRate": 0.01, "miniBatchSize": 8},
        seed=seed,
    )
    task.resume()
    found = task.model.evaluate({"image": test["image"], target: test["label"]})
    assert found.samples == 15
    assert found.accuracy is not None
    hits = round(found.accuracy * 15)
    assert hits == right if right == 12 else hits >= right


# ── Apple's own engine ──────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seed", range(6))
def test_the_line_ends_where_apples_engine_ended(seed: int) -> None:
    """S4TF_CoreML_Test: y = 2 x + 1.5 with noise, and by mistake one array as both input and target.

    Apple's engine left W = 0x3f7fffff and b = 1.786e-7 (PROVENANCE.md); its shuffle is unknown, and matters to b's last
    bits only.
    """
    model = loaded("mlupdatetask_line/untrained.mlmodel")
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, 100)
    y = (2 * np.arange(100) / 100 + 1.5 + noise).astype(np.float32).reshape(100, 1)
    task = UpdateTask(model, {"dense_input": y, "output_true": y}, seed=seed)
    task.resume()
    updated = codec.decode(task.model.encode()).network
    assert updated is not None
    line = updated.layers[0].parameters
    assert isinstance(line, InnerProduct)
    assert line.bias is not None
    assert codec.array(line.weights, (1,)).view(np.uint32) == [0x3F7FFFFF]
    (b,) = codec.array(line.bias, (1,))
    assert 1.7e-7 < b < 1.8e-7
