"""Labelled data for one model, from a folder or a file: what the commands and scripts train and measure on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from finetuned.errors import ModelError
from finetuned.service import dataset
from finetuned.service.decoder import Decoders
from finetuned.service.describe import sample_inputs
from finetuned.spec import codec
from finetuned.update.features import target_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike

    from finetuned.service.dataset import Dataset
    from finetuned.spec.model import Model


def load_samples(
    path: str | PathLike[str], model: Model | bytes, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return training data by feature name, as `UpdateTask` takes them.

    Args:
        path: a folder of label folders, or one .npz, .csv or .jsonl.
        model: the model that the data are for, or the bytes of its file.
        labels: folder name → the model's label, where they differ.

    Raises:
        SampleError: the data do not fit the model; the message says what is expected.
    """
    decoded = codec.decode(model) if isinstance(model, bytes) else model
    data = asyncio.run(read(path, decoded, labels or {}))
    return {**data.inputs, target_of(decoded): data.targets}


async def read(
    path: str | PathLike[str],
    model: Model,
    labels: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read and decode data for `model`; what cannot be decoded is listed in `rejected`."""
    network = model.network
    async with Decoders() as decoders:
        return await dataset.read(
            path,
            sample_inputs(model),
            target=target_of(model),
            labels=[str(label) for label in network.class_labels] if network else [],
            mapping=labels,
            decoders=decoders,
            progress=progress,
        )


def target_of(model: Model) -> str:
    """Return what the target is called: by the loss, or of a model that has none by its one label or output."""
    try:
        return target_name(model)
    except ModelError:
        outputs = [feature.name for feature in model.description.outputs]
        return model.description.predicted_feature or (outputs[0] if len(outputs) == 1 else "")
