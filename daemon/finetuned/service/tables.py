"""DATA in one file: `.npz` (arrays by feature name), `.csv` (`x`, `v[0] v[1] …`) and `.jsonl` (one object per sample).

The target stands under the training input's name.  Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.errors import SampleError
from finetuned.service.archives import opened
from finetuned.service.names import LABELS, new_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from finetuned.service.messages import InputSpec

BYTE = 255
AT_ONCE, MOST = 1 << 16, 256
"""So many bytes, and so many samples, make a part."""
SHOWN, LONGEST = 20, 200
"""So many labels are told, and so many characters of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a model wants of a table; `mapping` is a label of the table → the model's.

    `new_labels` is the kind of those that it takes beside its own, "" where it takes none.
    """

    inputs: tuple[InputSpec, ...]
    target: str
    labels: tuple[str, ...]
    mapping: Mapping[str, str]
    new_labels: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether the target is a label, and not numbers."""
        return bool(self.labels or self.new_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Samples of a table, some or all; see `dataset.Dataset`."""

    inputs: dict[str, NDArray[Any]]
    targets: list[str] | NDArray[np.float32]
    names: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One sample: numbers (or lists of them) by feature name, its target, and where it stands."""

    where: str
    values: Mapping[str, object]
    target: object


def parts(path: Path, wanted: Wanted) -> Iterator[Table]:
    """Yield the table in parts of a few samples; `SampleError` says what does not fit, and where."""
    reader = READERS.get(path.suffix.lower())
    found = False
    try:
        path.stat()
        if reader is None:
            known = ", ".join(READERS)
            raise SampleError(f"{path} is neither a folder nor one of {known}")
        for table in reader(path, wanted):
            found = True
            yield table
    except OSError as error:
        raise SampleError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SampleError(f"{path} is no UTF-8 text") from error
    if not found:
        raise SampleError(f"{path} holds no samples")


def _step(wanted: Wanted) -> int:
    """Return how many samples make a part."""
    size = sum(math.prod(spec.shape) for spec in wanted.inputs) * 4
    return max(1, min(MOST, AT_ONCE // max(size, 1)))


# ── .npz ────────────────────────────────────────────────────────────────────────────────────────
def _read_npz(path: Path, wanted: Wanted) -> Iterator[Table]:
    names = [*(spec.name for spec in wanted.inputs), wanted.target]
    with opened(path) as archive:
        _check_names(path, dict.fromkeys(archive.names), names)
        columns = {name: archive.column(name) for name in names}
        for spec in wanted.inputs:
            found = columns[spec.name]
            _check_fit(found.dtype, found.shape, spec, (found.count, *spec.shape), str(path))
        counts = {name: column.count for name, column in columns.items()}
        if len(set(counts.values())) != 1:
            raise SampleError(f"{path}: the first axes (samples) differ: {counts}")
        count, step = counts[wanted.target], _step(wanted)
        for start in range(0, count, step):
            some = range(start, min(start + step, count))
            rows = {name: column.read(len(some)) for name, column in columns.items()}
            where = [f"{path.name}[{index}]" for index in some]
            inputs = {
                spec.name: _fitted(rows[spec.name], spec, (len(some), *spec.shape), str(path))
                for spec in wanted.inputs
            }
            yield Table(inputs=inputs, targets=_targets(rows[wanted.target], wanted, where), names=where)


# ── tables of rows ──────────────────────────────────────────────────────────────────────────────
def _read_csv(path: Path, wanted: Wanted) -> Iterator[Table]:
    return _from_rows(_csv_rows(path, wanted), wanted)


def _read_jsonl(path: Path, wanted: Wanted) -> Iterator[Table]:
    return _from_rows(_jsonl_rows(path, wanted), wanted)


READERS: dict[str, Callable[[Path, Wanted], Iterator[Table]]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}


def _from_rows(rows: Iterator[_Row], wanted: Wanted) -> Iterator[Table]:
    """Turn rows into arrays, each number checked where it stands."""
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    while some := list(islice(rows, _step(wanted))):
        inputs = {
            spec.name: np.stack(
                [_fitted(_array(row, spec.name), spec, spec.shape, row.where) for row in some]
            )
            for spec in wanted.inputs
        }
        names = [row.where for row in some]
        yield Table(inputs=inputs, targets=_targets([row.target for row in some], wanted, names), names=names)


def _csv_rows(path: Path, wanted: Wanted) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            places = {
                spec.name: _columns(path, header, spec.name, math.prod(spec.shape)) for spec in wanted.inputs
            }
            target = _columns(path, header, wanted.target, None)
            for cells in reader:
                where = f"{path.name}:{reader.line_num}"
                if len(cells) != len(header):
                    raise SampleError(f"{where}: {len(cells)} cells, but the header has {len(header)}")
                values = {
                    name: [_number(cells[i], where, header[i]) for i in at] for name, at in places.items()
                }
                yield _Row(
                    where=where, values=values, target=_csv_target([cells[i] for i in target], wanted, where)
                )
        except csv.Error as error:
            raise SampleError(f"{path.name}:{reader.line_num}: {error}") from error


def _columns(path: Path, header: list[str], name: str, count: int | None) -> list[int]:
    """Return where a feature's columns are: `name`, or `name[0]`, `name[1]` …, as many as there are or must be."""
    places = {column.strip(): index for index, column in enumerate(header)}
    if name in places and count in {1, None}:
        return [places[name]]
    found = [places[f"{name}[{index}]"] for index in range(len(header)) if f"{name}[{index}]" in places]
    if not found or (count is not None and len(found) != count):
        expected = f"{name}[0] to {name}[{count - 1}]" if count and count > 1 else name
        raise SampleError(f"{path.name}: the header has no {expected}; it {_said(header)}")
    return found


def _said(header: list[str]) -> str:
    """Say which columns there are; of a sample that stands in the header's place nothing is told."""
    if any(_is_number(cell) for cell in header):
        return "holds numbers, where names are expected"
    return f"has {', '.join(header[:10]) or 'nothing'}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _csv_target(cells: list[str], wanted: Wanted, where: str) -> object:
    if wanted.is_labelled:
        return cells[0]
    return [_number(cell, where, wanted.target) for cell in cells]


def _number(cell: str, where: str, column: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise SampleError(f"{where}: the column {column} holds no number") from None


def _jsonl_rows(path: Path, wanted: Wanted) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                values = decoder.decode(line)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise SampleError(f"{where} is no JSON object: {error}") from error
            _check_names(where, values, [*(spec.name for spec in wanted.inputs), wanted.target])
            yield _Row(where=where, values=values, target=values[wanted.target])


# ── values ──────────────────────────────────────────────────────────────────────────────────────
def _check_names(where: object, there: Mapping[str, object], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise SampleError(
            f"{where} has no {' and no '.join(missing)}; it has {', '.join(there) or 'nothing'}"
        )


def _array(row: _Row, name: str) -> NDArray[Any]:
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    try:
        return np.asarray(row.values[name])
    except (ValueError, OverflowError) as error:
        raise SampleError(f"{row.where}: {name} is no array of numbers of one shape") from error


def _fitted(array: NDArray[Any], spec: InputSpec, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """Return `array` as the input wants it; axes of length 1 may be missing, and a sample may be flat."""
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    _check_fit(array.dtype, array.shape, spec, shape, where)
    with np.errstate(over="ignore"):  # what is too large for a float32 is infinite below
        numbers = array.reshape(shape).astype(np.float32)
    if not np.isfinite(numbers).all():
        raise SampleError(f"{where}: {spec.name} holds numbers that are not finite")
    if not spec.color:
        return numbers
    if ((numbers < 0) | (numbers > BYTE) | (numbers != np.floor(numbers))).any():
        raise SampleError(f"{where}: {spec.name} is an image; its pixels are whole numbers from 0 to {BYTE}")
    return numbers.astype(np.uint8)


def _check_fit(
    dtype: np.dtype[Any], found: tuple[int, ...], spec: InputSpec, shape: tuple[int, ...], where: str
) -> None:
    if dtype.kind not in "biuf":
        raise SampleError(f"{where}: {spec.name} holds {dtype}, which are no real numbers")
    flat = (*shape[: len(shape) - len(spec.shape)], math.prod(spec.shape))
    if _squeezed(found) not in (_squeezed(shape), _squeezed(flat)):
        raise SampleError(f"{where}: {spec.name} has shape {list(found)}, {list(shape)} is expected")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _targets(values: Any, wanted: Wanted, names: list[str]) -> list[str] | NDArray[np.float32]:  # noqa: ANN401 - whatever stands in the file
    """Return the labels of a classifier, or the numbers of anything else."""
    import numpy as np  # noqa: PLC0415 - the daemon imports this room

    if wanted.is_labelled:
        return [_label(value, wanted, where) for value, where in zip(values, names, strict=True)]
    try:
        with np.errstate(over="ignore"):
            targets = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise SampleError(f"the target {wanted.target} is not numbers of one shape") from error
    if not np.isfinite(targets).all():
        raise SampleError(f"the target {wanted.target} holds numbers that are not finite")
    return targets


def _label(value: Any, wanted: Wanted, where: str) -> str:  # noqa: ANN401 - whatever stands in the file
    """Return the model's label for a value; a whole number may be written as 3, 3.0 or "3"."""
    while getattr(value, "ndim", 0) == 1 or isinstance(value, list):
        if len(value) != 1:
            raise SampleError(f"{where}: the target {wanted.target} is one label, not {len(value)} values")
        value = value[0]
    number = hasattr(value, "is_integer")
    whole = number and value.is_integer()
    text = str(int(value)) if whole else str(value)
    label = wanted.mapping.get(text, text)
    if label in wanted.labels:
        return label
    if number and not whole:
        raise SampleError(f"{where}: the target {wanted.target} is a fraction, which is no label")
    named = not isinstance(value, bool) and (whole or isinstance(value, str | Integral))
    added = new_label(label, wanted.new_labels) if named and wanted.new_labels else None
    if added is None:
        known = LABELS.get(wanted.new_labels) or ", ".join(wanted.labels[:SHOWN])
        raise SampleError(
            f"{where}: {text!r:.{LONGEST}} is no label of the model; its labels are {known}; "
            f"map it with --label {text:.{LONGEST}}={example(wanted)}"
        )
    return added


def example(wanted: Wanted) -> str:
    """Return a label that the model has, or may have, to show how one is written."""
    return (*wanted.labels, "7" if wanted.new_labels == "int64" else "rock")[0]
