from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import builders
import networks as n
from finetuned.errors import SampleError
from finetuned.service import tables, training_data
from finetuned.spec import author, codec
from finetuned.spec.model import Color
from finetuned.update.features import encoded
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from service.samples import npy, numbered

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = builders.dense_classifier(
    image=author.ImageInput(width=6, height=4, color=Color.rgb), train_hidden=False
)


def updating(data: bytes) -> NetworkUpdate:
    model = codec.decode(data)
    return NetworkUpdate(model, resolve(update_of(model), {}, seed=0))


def folder(root: Path, **files: bytes) -> Path:
    """Write files; the name `a_1` is a/1."""
    for name, content in files.items():
        path = root / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


async def test_data_prepared_part_by_part_are_those_read_as_a_whole_and_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"{'abc'[number % 3]}_{number}.png": numbered(number) for number in range(7)}
    root, update = folder(tmp_path, **names, c_z=b"nonsense"), updating(PICTURES)
    monkeypatch.setattr(tables, "AT_ONCE", 100)
    found = await training_data.prepare(root, update, {})
    data = await training_data.read(root, update.model, {})
    wanted = encoded(update, {**data.inputs, "label": data.targets})
    np.testing.assert_array_equal(found.data.features[:], wanted.features[:])
    np.testing.assert_array_equal(found.data.targets[:], wanted.targets[:])
    assert found.labels == {"a": 3, "b": 2, "c": 2}
    assert list(found.rejected) == list(data.rejected) == ["c/z"]


async def test_numbers_are_prepared_with_their_targets(tmp_path: Path) -> None:
    x, y = n.numbers(300, 4), n.numbers(300, 1, seed=1)
    np.savez(tmp_path / "data.npz", features=x, output_true=y)
    found = await training_data.prepare(tmp_path / "data.npz", updating(builders.dense_regressor()), {})
    np.testing.assert_array_equal(found.data.features[:], x)
    np.testing.assert_array_equal(found.data.targets[:], y)
    assert not found.labels


async def test_what_is_wrong_with_a_part_is_told_though_the_next_is_being_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "AT_ONCE", 1)
    root = folder(tmp_path, a_1=npy([1, 2, 3, 4]), b_2=npy([1, 2, 3, 4]))
    update = updating(builders.dense_classifier())

    def refuse(_: object) -> None:
        raise SampleError("it is no good")

    monkeypatch.setattr(update, "features_of", refuse)
    with pytest.raises(SampleError, match="it is no good"):
        await training_data.prepare(root, update, {})
