"""Arrays by feature name: what a training sample must contain, checked before anything runs.

First axis = samples.  Images are uint8 [N, C, H, W] in the model's channel order, arrays float32 [N, *shape].  The target is
a list of labels, or of class indices for a network that is no classifier, or float32 of the prediction's shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.errors import ModelError, SampleError
from finetuned.graph import packing
from finetuned.graph.goals import Goal, labels_of, losses_of, source_of
from finetuned.rows import Gathering, slices
from finetuned.spec.model import ArrayType, Feature, ImageType, Model

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from finetuned.rows import Rows
    from finetuned.update.updater import Updater

Array = NDArray[Any]

_REAL = "biuf"
"""NumPy's kinds of dtypes that hold real numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Samples as the trained chain wants them: features [N, *shape], and targets; either may lie on the disk.

    `targets` is int64 [N] (class indices) under cross entropy, else float32 [N, *prediction].  Under several losses it is
    float32 [N, Σ numbers]: the targets one after the other, classes as one-hot numbers.
    """

    features: Rows
    targets: Rows

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.targets)


def inputs_of(
    model: Model, arrays: Mapping[str, Any], *, needed: Container[str] | None = None
) -> dict[str, Array]:
    """Return the model's inputs out of `arrays`, checked and in the types that the programs take.

    `needed` names those that are (all, where it is None): what nothing depends on may be missing.

    Raises:
        SampleError: one is missing, has the wrong shape or type, or is not finite.
    """
    given = given_of(model, arrays, needed=needed)
    pictures = {f.name for f in model.description.inputs if isinstance(f.type, ImageType)}
    return {n: np.ascontiguousarray(a) if n in pictures else _floats(n, a) for n, a in given.items()}


def given_of(
    model: Model, arrays: Mapping[str, Any], *, needed: Container[str] | None = None
) -> dict[str, Array]:
    """Return the model's inputs out of `arrays` as they are, be they in a file: their numbers are not looked at.

    Raises:
        SampleError: one is missing, or has the wrong shape or type.
    """
    features = [f for f in model.description.inputs if needed is None or f.name in needed]
    chosen = {feature.name: _given(feature, arrays) for feature in features}
    counts = {name: len(array) for name, array in chosen.items()}
    if len(set(counts.values())) > 1:
        raise SampleError(f"the inputs have different numbers of samples: {counts}")
    return chosen


def _given(feature: Feature, arrays: Mapping[str, Any]) -> Array:
    if feature.name not in arrays:
        raise SampleError(
            f"the input {feature.name!r} is missing; there is {', '.join(map(repr, arrays)) or 'nothing'}"
        )
    array = _array(feature.name, arrays[feature.name])
    if isinstance(feature.type, ImageType):
        _shaped(feature.name, array, feature.type.shape)
        if array.dtype != np.uint8:
            raise SampleError(f"the image input {feature.name!r} takes uint8 pixels 0…255, not {array.dtype}")
        return array
    if not isinstance(feature.type, ArrayType):
        raise ModelError(f"the input {feature.name!r} is neither an image nor a multi-array")
    _shaped(feature.name, array, feature.type.shape)
    _check_real(feature.name, array)
    return array


def _array(name: str, values: object) -> Array:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise SampleError(f"{name!r} is no array: {error}") from error


def _shaped(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape[1:] != shape or array.ndim == 0:
        raise SampleError(f"the input {name!r} has shape {list(array.shape)}; {['N', *shape]} is expected")


def _check_real(name: str, array: Array) -> None:
    if array.dtype.kind not in _REAL:
        raise SampleError(f"{name!r} holds {array.dtype}, which are no real numbers")


def _floats(name: str, array: Array) -> Array:
    with np.errstate(over="ignore"):  # what is too large for a float32 is infinite below
        floats = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(floats).all():
        raise SampleError(f"{name!r} holds numbers that are infinite or NaN")
    return floats


# ── targets ─────────────────────────────────────────────────────────────────────────────────────
def target_name(model: Model) -> str:
    """Return the training input that is the target; of several, the one that has labels, or else the first.

    Of nearest neighbours it is the label, of a pipeline that of its last model.

    Raises:
        ModelError: there is no loss.
    """
    model = model.learner
    if model.neighbors is not None:
        return model.description.predicted_feature
    found = losses_of(model)
    if not found:
        raise ModelError("the model has no loss layer to train with")
    return source_of(model, next((loss for loss in found if labels_of(model, loss)), found[0]))


def targets_for(
    goals: Sequence[Goal], data: Mapping[str, Any], folder: Path | None = None, *, first: int = 0
) -> Rows:
    """Return the targets of all losses as `Encoded` has them, out of arrays and lists by feature name.

    `first` is the number of the first sample, as an error calls it, where these are not all.

    Raises:
        SampleError: one is missing, a label that the model does not have, an index out of range, a wrong shape.
    """
    for goal in goals:
        if goal.source not in data:
            raise SampleError(
                f"the target {goal.source!r} is missing; there is {', '.join(map(repr, data)) or 'nothing'}"
            )
    each = [_targets(goal, data[goal.source], folder, first) for goal in goals]
    return each[0] if len(each) == 1 else _packed(goals, each, folder)


def _targets(goal: Goal, values: Sequence[Any] | Array, folder: Path | None, first: int = 0) -> Rows:
    if not goal.has_classes:
        return _regression_targets(_array("the target", values), goal.shape, folder)
    return classes_of(values, goal.shape[0], goal.labels, indexed=goal.indexed, first=first)


def _packed(goals: Sequence[Goal], each: Sequence[Rows], folder: Path | None) -> Rows:
    """Return the targets of several losses as one row a sample."""
    counts = {goal.source: len(rows) for goal, rows in zip(goals, each, strict=True)}
    if len(set(counts.values())) > 1:
        raise SampleError(f"the targets have different numbers of samples: {counts}")
    packed = Gathering(packing.shape_of([goal.shape for goal in goals]), folder=folder)
    for part in slices(len(each[0]), 4 * sum(prod(goal.shape) for goal in goals)):
        rows = [one_hot(rows[part], goal.shape) for goal, rows in zip(goals, each, strict=True)]
        packed.add(np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1))
    return packed.rows()


def one_hot(targets: Array, shape: tuple[int, ...]) -> Array:
    """Return what a loss is fed with: one-hot rows [N, *shape] for class indices, numbers as they are."""
    if targets.dtype != np.int64:
        return targets
    rows = np.zeros((len(targets), *shape), dtype=np.float32)
    rows[np.arange(len(targets)), targets] = 1.0
    return rows


def classes_of(
    values: Sequence[Any] | Array,
    count: int,
    labels: Sequence[str | int] = (),
    *,
    indexed: bool = False,
    first: int = 0,
) -> Array:
    """Return the class index of each value: that of its label, or the number itself where the model has it so.

    `first` is the number of the first sample, as an error calls it.

    Raises:
        SampleError: a label that there is not, or an index that is not one of `count`.
    """
    column = _column(values)
    if labels and not (indexed and column.dtype.kind in _REAL):
        return label_indices(labels, column)
    return _class_indices(column, count, first)


def label_indices(labels: Sequence[str | int], values: Sequence[Any] | Array) -> Array:
    """Return the position of each value among the labels; an int64 label may come as text."""
    values = _column(values)
    positions = {str(label): index for index, label in enumerate(labels)}
    unknown = sorted({str(value) for value in values} - set(positions))
    if unknown:
        raise SampleError(
            f"the model has no label {', '.join(map(repr, unknown[:5]))}; it has {', '.join(map(str, labels))}"
        )
    return np.array([positions[str(value)] for value in values], dtype=np.int64)


def values_of(values: Sequence[Any] | Array) -> list[object]:
    """Return one value per sample, each of its own type."""
    found: list[object] = list(values) if isinstance(values, list | tuple) else _column(values).tolist()
    return found


def _column(values: Sequence[Any] | Array) -> Array:
    """One value per sample, [N] or [N, 1]; a text is one value, not its letters."""
    array = _array("the target", values)
    if array.ndim == 0 or array.size != len(array):
        raise SampleError(f"the target has shape {list(array.shape)}; one value per sample is expected")
    return array.reshape(len(array))


def _class_indices(indices: Array, classes: int, first: int) -> Array:
    """Return the indices; of those that are none only the place is told, for they are what a sample holds."""
    if indices.dtype.kind not in _REAL:
        raise SampleError("the target of a cross entropy loss is a class index")
    wrong = np.flatnonzero((indices != np.floor(indices)) | (indices < 0) | (indices >= classes))
    if len(wrong):
        raise SampleError(
            f"the target of sample {first + wrong[0]} (counted from 0) is no class index; allowed: 0 to {classes - 1}"
        )
    return indices.astype(np.int64)


def _regression_targets(values: Array, shape: tuple[int, ...], folder: Path | None) -> Rows:
    _check_real("the target", values)
    if values.ndim == 0 or _squeezed(values.shape[1:]) != _squeezed(shape):
        raise SampleError(f"the target has shape {list(values.shape)}; {['N', *shape]} is expected")
    targets = Gathering(shape, folder=folder)
    for part in slices(len(values), values[:1].nbytes):
        targets.add(_floats("the target", values[part]).reshape(-1, *shape))
    return targets.rows()


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[C, 1, 1] and [C] hold the same numbers in the same order."""
    return tuple(size for size in shape if size != 1)


# ── both ────────────────────────────────────────────────────────────────────────────────────────
def encoded(update: Updater, data: Mapping[str, Any], folder: Path | None = None) -> Encoded:
    """Run the frozen part over labelled data, once per sample, and encode the targets.

    The data may be larger than memory, in a `numpy.memmap`: they are taken part by part, and what comes of them goes to a
    file in `folder` where it is too much for memory (`rows.Gathering`).

    Raises:
        SampleError: the data do not fit the model; the message says what is expected.
        HostError: the disk takes no more.
    """
    targets = update.targets_of(data, folder)
    inputs = given_of(update.model, data, needed=update.inputs)
    count = len(targets)
    if any(len(array) != count for array in inputs.values()):
        counts = {feature: len(array) for feature, array in inputs.items()}
        raise SampleError(f"there are {count} targets, and these numbers of samples: {counts}")
    features = Gathering(update.feature_shape, folder=folder)
    for part in slices(count, sum(array[:1].nbytes for array in inputs.values())):
        add_features(features, update, {n: array[part] for n, array in inputs.items()})
    return Encoded(features=features.rows(), targets=targets)


def add_features(features: Gathering, update: Updater, inputs: Mapping[str, Array]) -> None:
    """Run the frozen part over a few samples, one after the other, and add what comes of them.

    One at a time: so a feature depends on its sample alone, to the last bit, and a large network wants the memory of one
    and is even faster (a MobileNet, three times than with 32); a small one costs some 20 µs a sample more, once.
    """
    count = len(next(iter(inputs.values())))
    step = 1 if update.frozen else max(count, 1)
    for start in range(0, count, step):
        features.add(update.features_of({n: array[start : start + step] for n, array in inputs.items()}))
