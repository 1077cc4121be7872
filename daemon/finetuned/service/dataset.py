"""DATA as the commands take it: a folder of label folders, or one `.npz`, `.csv` or `.jsonl` file.

Files of a folder go through the same fenced decoder as those of the inbox.  DATA may be larger than memory: it comes in
parts of a few samples.  Only commands and scripts read DATA, never the daemon; NumPy is imported when it is needed.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from finetuned.errors import SampleError
from finetuned.service import tables
from finetuned.service.messages import Undecodable
from finetuned.service.names import LABELS
from finetuned.service.places import Intake, is_unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from os import PathLike

    import numpy as np
    from numpy.typing import NDArray

    from finetuned.service.messages import InputSpec

SHOWN = 20  # labels in a message


class Decoding(Protocol):
    """What is needed of `Decoders`."""

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes | Undecodable:
        """Return the raw array, or why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Samples: all of DATA, or a part of it.

    `inputs` by feature name: uint8 [N, C, H, W] for images, float32 [N, *shape] for arrays.  `targets` is a list of N
    labels for a classifier, else float32 [N, …].  `names` says where each sample came from; `rejected` holds the files
    that could not be decoded, with the reason.
    """

    inputs: dict[str, NDArray[Any]]
    targets: list[str] | NDArray[np.float32]
    names: list[str]
    rejected: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.names)


async def parts(  # noqa: PLR0913 - what a model wants has these parts, and each is named at the call
    path: str | PathLike[str],
    inputs: Sequence[InputSpec],
    *,
    target: str,
    labels: Sequence[str],
    mapping: Mapping[str, str],
    decoders: Decoding,
    progress: Callable[[int, int], None] | None = None,
    new_labels: str = "",
) -> AsyncIterator[Dataset]:
    """Yield DATA in parts, each small enough for memory; the last may hold nothing but what was rejected.

    Args:
        path: the folder or file.
        inputs: what the model takes.
        target: the training input's name, under which tables hold the target.
        labels: the model's labels; none for a regressor.
        mapping: folder name, or label in a table, → the model's label.
        decoders: decode the files of a folder.
        progress: told (done, total) after each file of a folder.
        new_labels: the kind of labels that the model takes beside its own (`string`, `int64`); "": none.

    Raises:
        SampleError: DATA does not fit the model; the message says what is expected.
        HostError: there is no decoder.
    """
    path = Path(path)
    wanted = tables.Wanted(
        inputs=tuple(inputs),
        target=target,
        labels=tuple(labels),
        mapping=mapping,
        new_labels=new_labels,
    )
    if await asyncio.to_thread(path.is_dir):
        async for part in _folder(path, wanted, decoders, progress or (lambda _done, _total: None)):
            yield part
        return
    rows = tables.parts(path, wanted)
    while (table := await asyncio.to_thread(next, rows, None)) is not None:
        yield Dataset(inputs=table.inputs, targets=table.targets, names=table.names)


async def whole(found: AsyncIterator[Dataset]) -> Dataset:
    """Return all parts as one; the inputs that are too many for memory are mapped from a file without a name."""
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    from finetuned.rows import Gathering  # noqa: PLC0415

    inputs: dict[str, Gathering] = {}
    targets: list[Any] = []
    names: list[str] = []
    rejected: dict[str, str] = {}
    async for part in found:
        for name, array in part.inputs.items():
            inputs.setdefault(name, Gathering(array.shape[1:], array.dtype.type)).add(array)
        targets.append(part.targets)
        names += part.names
        rejected |= part.rejected
    numbers = any(isinstance(each, np.ndarray) for each in targets)
    return Dataset(
        inputs={name: gathering.mapped() for name, gathering in inputs.items()},
        targets=np.concatenate(targets) if numbers else [label for each in targets for label in each],
        names=names,
        rejected=rejected,
    )


async def _folder(
    root: Path, wanted: tables.Wanted, decoders: Decoding, progress: Callable[[int, int], None]
) -> AsyncIterator[Dataset]:
    """Decode every file of every label's folder, in the order of their names."""
    want = _only_input(root, wanted)
    files = await asyncio.to_thread(lambda: list(_labelled(root, wanted, want)))
    part, some = _Part(want), False
    for done, (name, label) in enumerate(files, 1):
        # The decoder follows no link; those in one's own DATA are meant.
        raw = await decoders.decode((root / name).resolve(), PurePath(name).name, want)
        progress(done, len(files))
        part.take(name, label, raw)
        if part.is_full:
            yield part.dataset()
            part, some = _Part(want), True
    if not (some or part.names):
        raise SampleError(f"{root} holds nothing that can be used{_first_of(part.rejected)}")
    yield part.dataset()


class _Part:
    """A few samples of a folder."""

    def __init__(self, want: InputSpec) -> None:
        self.names: list[str] = []
        self.rejected: dict[str, str] = {}
        self._want = want
        self._labels: list[str] = []
        self._raws: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Say whether these are enough for one part."""
        return sum(map(len, self._raws)) >= tables.AT_ONCE

    def take(self, name: str, label: str, raw: bytes | Undecodable) -> None:
        """Take what came of a file."""
        if isinstance(raw, Undecodable):
            self.rejected[name] = raw.reason
            return
        self.names.append(name)
        self._labels.append(label)
        self._raws.append(raw)

    def dataset(self) -> Dataset:
        """Return the samples."""
        import numpy as np  # noqa: PLC0415 - the daemon imports this room

        shape = (len(self.names), *self._want.shape)
        array = np.frombuffer(b"".join(self._raws), self._want.dtype).reshape(shape)
        return Dataset(
            inputs={self._want.name: array}, targets=self._labels, names=self.names, rejected=self.rejected
        )


def _only_input(root: Path, wanted: tables.Wanted) -> InputSpec:
    """Return the one input that files can fill; `SampleError` where a folder cannot hold the model's samples."""
    if not wanted.is_labelled:
        raise SampleError(
            f"{root} is a folder, but the model has no class labels; give it one .npz, .csv or .jsonl"
        )
    if len(wanted.inputs) != 1:
        names = ", ".join(spec.name for spec in wanted.inputs)
        raise SampleError(
            f"{root} is a folder, but the model has several inputs ({names}); give it one .npz or .jsonl"
        )
    return wanted.inputs[0]


def _labelled(root: Path, wanted: tables.Wanted, want: InputSpec) -> Iterator[tuple[str, str]]:
    """Yield each file's path below the root, and its label."""
    intake = Intake(want=want, labels=wanted.labels, mapping=wanted.mapping, new_labels=wanted.new_labels)
    folders = sorted(
        folder for folder in root.iterdir() if folder.is_dir() and not is_unfinished(folder.name)
    )
    if not folders:
        raise SampleError(f"{root} holds no folders; DATA is a folder of label folders ({_allowed(wanted)})")
    known = {folder: intake.label_of(folder.name) for folder in folders}
    if unknown := [folder.name for folder, label in known.items() if label is None]:
        raise SampleError(
            f"{root} has folders that are no labels of the model: {_shown(unknown)}; its labels are "
            f"{_allowed(wanted)}; map them with --label {unknown[0]}={tables.example(wanted)}"
        )
    for folder, label in known.items():
        for name in _files(folder, folder.name):
            yield name, label or ""


def _files(folder: Path, name: str) -> Iterator[str]:
    """Yield the files in and below a folder of that name, in the order of theirs."""
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not is_unfinished(entry.name)), key=lambda e: e.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(folder / entry.name, f"{name}/{entry.name}")
        elif entry.is_file():
            yield f"{name}/{entry.name}"


def _first_of(rejected: dict[str, str]) -> str:
    return next(
        (f"; {name}: {reason}" for name, reason in rejected.items()), "; there are no files in its folders"
    )


def _allowed(wanted: tables.Wanted) -> str:
    """Say which labels there are, or may be."""
    return LABELS.get(wanted.new_labels) or _shown(wanted.labels)


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
