"""Apple's drawing classifier in a real daemon: nearest neighbours learn labels that nobody declared, and forget them again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from acceptance.house import a_house
from acceptance.test_forgetting import ALL, traces
from brokers import MOSQUITTO
from finetuned.spec import codec
from service.samples import until
from shared import missing, shared

if TYPE_CHECKING:
    from pathlib import Path

    from acceptance.house import House
    from finetuned.spec.neighbors import Neighbors

pytestmark = pytest.mark.timeout(180)

CONFIGURED = """
[models.drawings]
path = "{}"
pixel_scale = 0.0039215686
parameters = {{ numberOfNeighbors = 3 }}
labels = {{ cat = "🐱" }}
"""


def drop(house: House, drawings: str, folder: str, count: int) -> None:
    """Drop the first drawings of a file, as pictures."""
    pixels = np.fromfile(shared("quickdraw_3x1000") / drawings, np.uint8).reshape(-1, 28, 28)
    for number in range(count):
        picture = io.BytesIO()
        Image.fromarray(pixels[number]).save(picture, "PNG")
        house.drop(f"drawings/{folder}/{number}.png", picture.getvalue())


def stored(path: Path) -> Neighbors:
    found = codec.decode(path.read_bytes()).learner.neighbors
    assert found is not None
    return found


async def test_a_label_is_learnt_that_nobody_declared_and_forgotten_with_all_that_held_it(
    tmp_path: Path,
) -> None:
    model = shared("apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel")
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    async with a_house(tmp_path, least=40, more=CONFIGURED.format(model), mqtt=ALL) as house:
        folder = house.state / "models/drawings"
        await house.start()
        drop(house, "cats1000.bin", "cat", 20)
        drop(house, "trains1000.bin", "train", 20)
        first = await house.ear.event("completed", version=1)
        assert (first["promotion"], first["before"]["accuracy"], first["samples"]) == ("promoted", 0.0, 40)
        assert (first["after"]["lossValue"], first["after"]["samples"]) == (None, 8)
        assert first["after"]["accuracy"] >= 0.75
        begin = house.ear.events("trainingBegin")[0]
        assert (begin["epochs"], begin["parameters"]) == (0, {"numberOfNeighbors": 3})
        assert house.ear.events("epochEnd", "miniBatchEnd", "failed") == []
        (front, _) = codec.decode((folder / "base.mlmodel").read_bytes()).models
        assert front.network is not None
        assert front.network.preprocessing[0].scale == pytest.approx(1 / 255)

        drop(house, "rainbows1000.bin", "rain bow", 40)
        second = await house.ear.event("completed", version=2)
        assert second["promotion"] == "promoted"
        assert second["before"]["accuracy"] < second["after"]["accuracy"]
        version = stored(folder / "_/versions/2/model.mlmodel")
        assert {label: version.labels.count(label) for label in version.labels} == {
            "🐱": 16,
            "train": 16,
            "rain bow": 32,
        }
        vectors = version.samples[[label == "rain bow" for label in version.labels]]
        marks = [vector.tobytes() for vector in vectors[:3]]
        assert any(traces(house.state, mark) for mark in marks)

        answer = await house.request("forget", model="drawings", label="rain bow")
        assert (answer["data"]["samples"], answer["data"]["versions"]) == (40, 2)
        await house.kill()
        assert traces(house.state, *marks) == set()
        await house.start()
        await house.ear.event("completed", version=3)
        assert set(stored(folder / "_/current/model.mlmodel").labels) == {"🐱", "train"}
        await until(lambda: not traces(house.state, *marks, b"rain bow"))
        assert await house.stop() == 0
