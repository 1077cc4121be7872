"""How good a model is on labelled data: the JSON of `finetuned evaluate`, for classifiers and regressors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from finetuned.errors import ModelError
from finetuned.graph.goals import is_indexed, losses_of
from finetuned.service.work import finite
from finetuned.update.features import classes_of
from finetuned.update.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from finetuned.spec.model import Model

    Array = NDArray[Any]

_SMALLEST = float(np.finfo(np.float32).tiny)


class LabelReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One label; a precision or recall of nothing is None."""

    samples: int
    precision: float | None
    recall: float | None


class ClassifierReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`confusion` is true label → predicted label → how often; only what occurs is listed.

    What is measured as infinite or NaN, in either report, is None; so is the loss of what has none (nearest neighbours).
    """

    samples: int
    accuracy: float
    loss: float | None
    per_label: dict[str, LabelReport]
    confusion: dict[str, dict[str, int]]


class RegressorReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`loss` is the mean squared error, as in training."""

    samples: int
    loss: float | None
    mean_squared_error: float | None
    mean_absolute_error: float | None


Report = ClassifierReport | RegressorReport


def measure(
    model: Model,
    inputs: Mapping[str, Array],
    targets: Any,  # noqa: ANN401 - labels or numbers
    *,
    threads: int = 1,
    parameters: Mapping[str, object] | None = None,
) -> Report:
    """Run the model over the inputs and compare; the loss is cross entropy, or the mean squared error.

    `parameters`: what nearest neighbours are run with (`numberOfNeighbors`).  They have no loss.

    Raises:
        ModelError: it cannot be run, or has several outputs and so no one to compare.
        ParameterError: the model has no such parameter, or does not allow the value.
        SampleError: the data do not fit it.
    """
    predictor = Predictor(model, threads=threads, parameters=parameters)
    if predictor.labels:
        labels = [str(label) for label in predictor.labels]
        if model.learner.neighbors is not None:
            return votes_report(predictor.answers(inputs)[0], list(map(str, targets)), labels)
        losses = losses_of(model.learner)
        indexed = len(losses) == 1 and is_indexed(model.learner, losses[0])
        classes = classes_of(targets, len(labels), predictor.labels, indexed=indexed)
        return classifier_report(predictor.probabilities(inputs), classes, labels)
    outputs = predictor.outputs(inputs)
    if len(outputs) != 1:
        raise ModelError(
            f"the model has {len(outputs)} outputs ({', '.join(outputs)}); with one it could be compared"
        )
    (predictions,) = outputs.values()
    return regressor_report(predictions, np.asarray(targets, dtype=np.float32))


def classifier_report(probabilities: Array, targets: Array, labels: list[str]) -> ClassifierReport:
    """Count; the loss of a sample is -log of what its label was given, at least the smallest float32.

    Probabilities that are no numbers are no answer: they are right about nothing, and stand in no line of the confusion.
    """
    answered = np.asarray(np.isfinite(probabilities).all(axis=1))
    given = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    loss = finite(float(-np.log(np.maximum(given, _SMALLEST)).mean()))
    return _report(probabilities.argmax(axis=1), targets, labels, answered, loss)


def votes_report(chosen: Array, targets: list[str], labels: list[str]) -> ClassifierReport:
    """Count the answers of nearest neighbours (positions in `labels`); a label that they do not know is never right."""
    places = {label: place for place, label in enumerate(dict.fromkeys((*labels, *targets)))}
    true = np.array([places[label] for label in targets], dtype=np.int64)
    return _report(chosen, true, list(places), np.ones(len(true), bool), None)


def _report(
    chosen: Array, targets: Array, labels: list[str], answered: Array, loss: float | None
) -> ClassifierReport:
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (targets[answered], chosen[answered]), 1)
    seen = [index for index in range(len(labels)) if confusion[index].any() or confusion[:, index].any()]
    return ClassifierReport(
        samples=len(targets),
        accuracy=float(((chosen == targets) & answered).mean()),
        loss=loss,
        per_label={labels[index]: _label_report(confusion, index) for index in seen},
        confusion={
            labels[true]: {
                labels[said]: int(confusion[true, said]) for said in np.flatnonzero(confusion[true])
            }
            for true in seen
            if confusion[true].any()
        },
    )


def _label_report(confusion: Array, index: int) -> LabelReport:
    right, said, true = (
        int(confusion[index, index]),
        int(confusion[:, index].sum()),
        int(confusion[index].sum()),
    )
    return LabelReport(
        samples=true, precision=right / said if said else None, recall=right / true if true else None
    )


def regressor_report(predictions: Array, targets: Array) -> RegressorReport:
    """Compare number by number."""
    difference = predictions.astype(np.float64).reshape(len(targets), -1) - targets.reshape(len(targets), -1)
    squared = finite(float(np.square(difference).mean()))
    return RegressorReport(
        samples=len(targets),
        loss=squared,
        mean_squared_error=squared,
        mean_absolute_error=finite(float(np.abs(difference).mean())),
    )
