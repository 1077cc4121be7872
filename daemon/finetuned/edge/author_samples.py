"""The first samples of a label, for `finetuned author add-label`: files of a folder, or one file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.edge import console
from finetuned.errors import ModelError, SampleError
from finetuned.service import tables
from finetuned.service.decoder import Decoders
from finetuned.service.describe import sample_inputs
from finetuned.service.messages import Undecodable

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.service.messages import InputSpec
    from finetuned.spec.model import Model

MOST = 256
"""More samples hardly move a mean."""


def first_samples(data: Path, model: Model, label: str) -> tuple[dict[str, Any], Path]:
    """Return samples of one label by input name, as `Predictor.outputs` takes them, and where they were found.

    A folder holds files of one sample each (or, as DATA does, a folder of the label's name that holds them); a table holds
    samples of this label alone, whatever it says of their labels.

    Raises:
        SampleError: there is no such place, there is none in it, or none that can be decoded.
        ModelError: the model takes what no file holds.
    """
    if not data.exists():
        raise SampleError(f"--samples {data}: there is no such file or folder")
    specs = sample_inputs(model)
    if not specs:
        raise ModelError("the model has no input that a file could hold")
    if data.is_file() and data.suffix.lower() in tables.READERS and not specs[0].color:
        return _table(data, specs), data
    if len(specs) > 1:
        raise SampleError(
            f"the model has {len(specs)} inputs: give it one .npz, .csv or .jsonl with all of them"
        )
    place = _place(data, label)
    paths = sorted(_files(place))[:MOST]
    if not paths:
        raise SampleError(f"{place} holds no files")
    return {specs[0].name: asyncio.run(_decoded(paths, specs[0]))}, place


def _place(data: Path, label: str) -> Path:
    """Return the label's folder in DATA; a label may be anything, and only one that is a plain name can name a folder."""
    there = data.iterdir() if data.is_dir() else ()
    return next((each for each in there if each.name == label and each.is_dir()), data)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return [each for each in place.iterdir() if each.is_file() and not each.name.startswith(".")]


async def _decoded(paths: list[Path], spec: InputSpec) -> Any:  # noqa: ANN401 - an array of either type
    rows, reasons = [], []
    async with Decoders() as decoders:
        for path in paths:
            raw = await decoders.decode(path.resolve(), path.name, spec)
            if isinstance(raw, Undecodable):
                reasons.append(f"{path.name}: {raw.reason}")
            else:
                rows.append(np.frombuffer(raw, spec.dtype).reshape(spec.shape))
    if not rows:
        raise SampleError(f"none of {len(paths)} files can be decoded; {reasons[0]}")
    for reason in reasons:
        console.say(("left out:", "yellow"), f" {reason}")
    return np.stack(rows)


def _table(path: Path, specs: tuple[InputSpec, ...]) -> dict[str, Any]:
    """Return the first rows of a table; no target is wanted, so an input's numbers stand for it."""
    wanted = tables.Wanted(inputs=specs, target=specs[0].name, labels=(), mapping={})
    parts = [table.inputs for table in tables.parts(path, wanted)]
    if not parts:
        raise SampleError(f"{path} holds no samples")
    return {spec.name: np.concatenate([part[spec.name] for part in parts])[:MOST] for spec in specs}
