"""Labelled data for one model, from a folder or a file: what the commands and scripts train and measure on."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.errors import SampleError
from finetuned.graph.goals import is_indexed, labels_of, losses_of, source_of
from finetuned.rows import Gathering
from finetuned.service import dataset
from finetuned.service.decoder import Decoders
from finetuned.service.describe import known_labels, new_labels, sample_inputs, target_of
from finetuned.service.messages import InputSpec
from finetuned.spec import codec
from finetuned.spec.model import ArrayType
from finetuned.update.features import Encoded, add_features

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from os import PathLike

    from finetuned.service.dataset import Dataset
    from finetuned.spec.model import Model
    from finetuned.update.updater import Updater

    Progress = Callable[[int, int], None]


def load_samples(
    path: str | PathLike[str], model: Model | bytes, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return training data by feature name, as `UpdateTask` takes them; what is too much for memory is mapped from a file.

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
    progress: Progress | None = None,
    *,
    trains: bool = True,
) -> Dataset:
    """Read and decode data for `model`; what cannot be decoded is listed in `rejected`.

    `trains`: with the targets of all its losses; otherwise with the one that it is measured by.
    """
    further = _further_targets(path, model) if trains else ()
    async with Decoders() as decoders:
        return await dataset.whole(_parts(path, model, labels, decoders, progress, further))


@dataclass(slots=True, kw_only=True)
class Prepared:
    """Data as an update wants them: `labels` counts a classifier's samples, `rejected` says why files were left out."""

    data: Encoded
    labels: Counter[str]
    rejected: dict[str, str]


async def prepare(
    path: str | PathLike[str],
    update: Updater,
    labels: Mapping[str, str],
    progress: Progress | None = None,
) -> Prepared:
    """Read, decode and encode data for `update`, part by part: a part's features are computed while the next is decoded."""
    encoding = _Encoding(update)
    further = _further_targets(path, update.model)
    async with Decoders() as decoders:
        computing = asyncio.create_task(asyncio.to_thread(lambda: None))
        try:
            async for part in _parts(path, update.model, labels, decoders, progress, further):
                await computing
                computing = asyncio.create_task(asyncio.to_thread(encoding.add, part))
            await computing
        finally:
            await asyncio.gather(computing, return_exceptions=True)
    return encoding.prepared()


class _Encoding:
    """Parts of data on their way to what the trained chain wants."""

    def __init__(self, update: Updater) -> None:
        self._update = update
        self._features = Gathering(update.feature_shape)
        self._targets: Gathering | None = None
        self._labels = Counter[str]()
        self._rejected: dict[str, str] = {}

    def add(self, part: Dataset) -> None:
        self._rejected |= part.rejected
        if not part.names:
            return
        update = self._update
        arrays = {**part.inputs, target_of(update.model): part.targets}
        before = 0 if self._targets is None else len(self._targets)
        targets = update.targets_of(arrays, first=before)[:]
        if self._targets is None:
            self._targets = Gathering(targets.shape[1:], targets.dtype.type)
        self._targets.add(targets)
        if isinstance(part.targets, list):
            self._labels.update(part.targets)
        add_features(self._features, update, part.inputs)

    def prepared(self) -> Prepared:
        targets = self._targets or Gathering(())
        data = Encoded(features=self._features.rows(), targets=targets.rows())
        return Prepared(data=data, labels=self._labels, rejected=self._rejected)


def _parts(  # noqa: PLR0913, PLR0917 - what `dataset.parts` takes, out of a model
    path: str | PathLike[str],
    model: Model,
    labels: Mapping[str, str],
    decoders: Decoders,
    progress: Progress | None,
    further: tuple[InputSpec, ...],
) -> AsyncIterator[Dataset]:
    return dataset.parts(
        path,
        (*sample_inputs(model), *further),
        target=target_of(model),
        labels=list(map(str, _labels(path, model))),
        new_labels=new_labels(model),
        mapping=labels,
        decoders=decoders,
        progress=progress,
    )


def _labels(path: str | PathLike[str], model: Model) -> tuple[str | int, ...]:
    """Return the labels that the target is one of; none where it holds numbers, which a folder never does."""
    learner = model.learner
    found = losses_of(learner)
    several = len(found) > 1
    if several and not any(labels_of(learner, loss) for loss in found):
        return ()
    if len(found) == 1 and is_indexed(learner, found[0]) and not Path(path).is_dir():
        return ()
    return known_labels(model)


def _further_targets(path: str | PathLike[str], model: Model) -> tuple[InputSpec, ...]:
    """Return the targets of several losses beside the one of `target_of`: they are read as inputs are."""
    found = losses_of(model.learner)
    wanted = (
        {source_of(model.learner, loss) for loss in found} - {target_of(model)} if len(found) > 1 else set()
    )
    if wanted and Path(path).is_dir():
        names = ", ".join(sorted({target_of(model), *wanted}))
        raise SampleError(
            f"{path} is a folder, which tells one target, and the model has several ({names}); give it one .npz, .csv or .jsonl"
        )
    return tuple(
        InputSpec(name=feature.name, shape=feature.type.shape)
        for feature in model.description.training_inputs
        if feature.name in wanted and isinstance(feature.type, ArrayType)
    )
