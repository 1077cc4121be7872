from __future__ import annotations

import importlib.util
import struct
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finetuned.edge import demo_data
from finetuned.errors import SampleError
from finetuned.policy.split import Item, split
from finetuned.service.messages import InputSpec
from finetuned.spec import check, codec
from finetuned.spec.model import InnerProduct
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from finetuned_plugins.pictures import Pictures
from shared import oracle

if TYPE_CHECKING:
    from finetuned.spec.model import FloatArray

TOOL = Path(__file__).parents[2] / "tools" / "demo_material.py"
WANT = InputSpec(name="image", shape=(1, 16, 16), color="GRAYSCALE")
LABELS = "0123456789"


def tool() -> Any:  # noqa: ANN401 - a script loaded by its path has no type
    """Return the script as a module; its set needs scikit-learn."""
    oracle("sklearn")
    spec = importlib.util.spec_from_file_location("demo_material", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def samples(folder: Path) -> dict[str, Any]:
    pictures = demo_data.pictures(folder)
    decoded = b"".join(Pictures().decode(picture.path.read_bytes(), WANT) for picture in pictures)
    images = np.frombuffer(decoded, dtype=np.uint8).reshape(-1, *WANT.shape)
    return {"image": images, "label": [picture.label for picture in pictures]}


def accuracy(task: UpdateTask, data: dict[str, Any]) -> float:
    measured = task.model.evaluate(data).accuracy
    assert measured is not None
    return measured


def unpacked(png: bytes) -> bytes:
    """Return a PNG of ours with its pixels inflated: zlib and zlib-ng pack the same pixels differently."""
    (length,) = struct.unpack(">I", png[33:37])
    return png[:33] + zlib.decompress(png[41 : 41 + length]) + png[-12:]


def weights(model: bytes) -> list[FloatArray]:
    network = codec.decode(model).network
    assert network is not None
    dense = [layer.parameters for layer in network.layers if isinstance(layer.parameters, InnerProduct)]
    return [codec.array(each.weights, (each.output_channels, each.input_channels)) for each in dense]


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────
def test_there_are_ten_drops_and_thirty_test_pictures_of_each_digit() -> None:
    for folder, each in ((demo_data.DROPS, 10), (demo_data.TEST, 30)):
        labels = [picture.label for picture in demo_data.pictures(folder)]
        assert labels == [label for label in LABELS for _ in range(each)]


def test_everything_together_is_below_500_kb() -> None:
    files = [
        path for path in demo_data.FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 500_000


def test_no_two_pictures_are_the_same() -> None:
    paths = [*demo_data.FOLDER.glob("*/*/*.png")]
    assert len({sha256(path.read_bytes()).digest() for path in paths}) == len(paths) == 400


def test_the_base_model_is_updatable() -> None:
    model = codec.decode(demo_data.MODEL.read_bytes())
    assert check.reasons(model) == ()


def test_a_truncated_picture_is_refused_as_damaged() -> None:
    for picture in demo_data.pictures(demo_data.DROPS):
        with pytest.raises(SampleError, match="the picture is damaged"):
            Pictures().decode(demo_data.truncated(picture.path.read_bytes()), WANT)


def test_a_hundred_drops_make_the_base_good_with_the_models_own_parameters() -> None:
    drops, test = samples(demo_data.DROPS), samples(demo_data.TEST)
    task = UpdateTask(demo_data.MODEL.read_bytes(), drops)
    before = accuracy(task, test)
    task.resume()
    assert before < 0.2
    assert accuracy(task, test) >= 0.88


def test_the_drops_suffice_when_a_fifth_of_each_is_held_out() -> None:
    drops, test = samples(demo_data.DROPS), samples(demo_data.TEST)
    items = [
        Item(digest=sha256(picture.path.read_bytes()).hexdigest(), label=picture.label)
        for picture in demo_data.pictures(demo_data.DROPS)
    ]
    out = split(items, 0.2)
    kept = [index for index, item in enumerate(items) if item.digest not in out]
    fewer = {"image": drops["image"][kept], "label": [drops["label"][index] for index in kept]}
    task = UpdateTask(demo_data.MODEL.read_bytes(), fewer)
    task.resume()
    assert len(kept) == 80
    assert accuracy(task, test) >= 0.85


# ── where it comes from ─────────────────────────────────────────────────────────────────────────
def test_every_digit_of_the_set_is_in_exactly_one_part() -> None:
    module = tool()
    digits = module.load()
    parts = module.divide(digits.labels)
    everywhere = np.concatenate([parts.drops, parts.test, parts.base])
    assert sorted(everywhere) == list(range(1797))
    # The same image under two indices would be on both sides all the same.
    assert len({image.tobytes() for image in digits.images}) == 1797


def test_writing_the_pictures_again_gives_the_shipped_ones(tmp_path: Path) -> None:
    module = tool()
    digits = module.load()
    module.write_pictures(tmp_path, digits, module.divide(digits.labels))
    written = {path.relative_to(tmp_path): unpacked(path.read_bytes()) for path in tmp_path.glob("*/*/*.png")}
    shipped = demo_data.FOLDER.glob("*/*/*.png")
    assert written == {path.relative_to(demo_data.FOLDER): unpacked(path.read_bytes()) for path in shipped}


def test_a_picture_is_its_digit_turned_left_and_enlarged() -> None:
    module = tool()
    digits = module.load()
    for picture in demo_data.pictures(demo_data.TEST):
        index = int(picture.path.stem)
        want = InputSpec(name="image", shape=(1, 64, 64), color="GRAYSCALE")
        pixels = np.frombuffer(Pictures().decode(picture.path.read_bytes(), want), np.uint8).reshape(64, 64)
        upright = np.rot90(pixels, -1)[::8, ::8]
        assert np.array_equal(upright, digits.images[index])
        assert picture.label == str(digits.labels[index])


def test_training_the_base_again_gives_the_shipped_model() -> None:
    module = tool()
    digits = module.load()
    trained = module.base_model(digits, module.divide(digits.labels))
    shipped = demo_data.MODEL.read_bytes()
    for again, once in zip(weights(trained), weights(shipped), strict=True):
        assert np.allclose(again, once, rtol=0, atol=1e-4)
    test = samples(demo_data.TEST)
    again, once = (Predictor(codec.decode(model)).probabilities(test) for model in (trained, shipped))
    assert np.allclose(again, once, rtol=0, atol=1e-4)


def test_the_base_reads_upright_digits_that_it_has_not_seen() -> None:
    module = tool()
    digits = module.load()
    parts = module.divide(digits.labels)
    found = module.figures(demo_data.MODEL.read_bytes(), digits, parts)
    assert found["the base, upright"] >= 0.95
