"""DATA as the commands take it: a folder of label folders, or one `.npz`, `.csv` or `.jsonl` file.

Files of a folder go through the same fenced decoder as those of the inbox.  Only commands and scripts read DATA, never
the daemon; NumPy is imported when it is needed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from finetuned.errors import SampleError
from finetuned.service import tables
from finetuned.service.messages import Undecodable
from finetuned.service.places import Intake, is_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Samples in memory.

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


async def read(  # noqa: PLR0913 - what a model wants has these parts, and each is named at the call
    path: str | PathLike[str],
    inputs: Sequence[InputSpec],
    *,
    target: str,
    labels: Sequence[str],
    mapping: Mapping[str, str],
    decoders: Decoding,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read all of DATA.

    Args:
        path: the folder or file.
        inputs: what the model takes.
        target: the training input's name, under which tables hold the target.
        labels: the model's labels; none for a regressor.
        mapping: folder name, or label in a table, → the model's label.
        decoders: decode the files of a folder.
        progress: told (done, total) after each file of a folder.

    Raises:
        SampleError: DATA does not fit the model; the message says what is expected.
        HostError: there is no decoder.
    """
    path = Path(path)
    wanted = tables.Wanted(inputs=tuple(inputs), target=target, labels=tuple(labels), mapping=mapping)
    if await asyncio.to_thread(path.is_dir):
        return await _read_folder(path, wanted, decoders, progress or (lambda _done, _total: None))
    table = await asyncio.to_thread(tables.read, path, wanted)
    return Dataset(inputs=table.inputs, targets=table.targets, names=table.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    name: str
    label: str


async def _read_folder(
    root: Path, wanted: tables.Wanted, decoders: Decoding, progress: Callable[[int, int], None]
) -> Dataset:
    """Decode every file of every label's folder, in the order of their names."""
    want = _only_input(root, wanted)
    files = await asyncio.to_thread(lambda: list(_files(root, wanted, want)))
    good: list[tuple[_File, bytes]] = []
    rejected: dict[str, str] = {}
    for done, file in enumerate(files, 1):
        raw = await decoders.decode(file.path, file.path.name, want)
        if isinstance(raw, Undecodable):
            rejected[file.name] = raw.reason
        else:
            good.append((file, raw))
        progress(done, len(files))
    if not good:
        raise SampleError(f"{root} holds nothing that can be used{_first_of(rejected)}")
    return Dataset(
        inputs={want.name: _stacked([raw for _, raw in good], want)},
        targets=[file.label for file, _ in good],
        names=[file.name for file, _ in good],
        rejected=rejected,
    )


def _only_input(root: Path, wanted: tables.Wanted) -> InputSpec:
    """Return the one input that files can fill; `SampleError` where a folder cannot hold the model's samples."""
    if not wanted.labels:
        raise SampleError(
            f"{root} is a folder, but the model has no class labels; give it one .npz, .csv or .jsonl"
        )
    if len(wanted.inputs) != 1:
        names = ", ".join(spec.name for spec in wanted.inputs)
        raise SampleError(
            f"{root} is a folder, but the model has several inputs ({names}); give it one .npz or .jsonl"
        )
    return wanted.inputs[0]


def _files(root: Path, wanted: tables.Wanted, want: InputSpec) -> Iterator[_File]:
    intake = Intake(want=want, labels=wanted.labels, mapping=wanted.mapping)
    folders = sorted(
        folder for folder in root.iterdir() if folder.is_dir() and not is_unfinished(folder.name)
    )
    if not folders:
        raise SampleError(
            f"{root} holds no folders; DATA is a folder of label folders ({_shown(wanted.labels)})"
        )
    known = {folder: intake.label_of(folder.name) for folder in folders}
    if unknown := [folder.name for folder, label in known.items() if label is None]:
        raise SampleError(
            f"{root} has folders that are no labels of the model: {', '.join(unknown)}; its labels are "
            f"{_shown(wanted.labels)}; map them with --label {unknown[0]}={wanted.labels[0]}"
        )
    for folder, label in known.items():
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and not any(map(is_unfinished, relative.parts)):
                # The decoder follows no link; those in one's own DATA are meant.
                yield _File(path=path.resolve(), name=str(relative), label=label or "")


def _stacked(raws: list[bytes], want: InputSpec) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    return np.frombuffer(b"".join(raws), want.dtype).reshape(len(raws), *want.shape)


def _first_of(rejected: dict[str, str]) -> str:
    return next(
        (f"; {name}: {reason}" for name, reason in rejected.items()), "; there are no files in its folders"
    )


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
