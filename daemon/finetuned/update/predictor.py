"""Running a model as it is: inputs in, labels and probabilities or outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from finetuned.rows import slices
from finetuned.update.answering import answering
from finetuned.update.features import Array, given_of, inputs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from finetuned.spec.model import Model

T = TypeVar("T")

_AT_ONCE = 1 << 16
"""So many bytes of inputs are run together: a picture for a large network alone, which is faster and wants less memory."""
_MOST = 32


class Predictor:
    """A model that is ready to be run.

    Args:
        model: any neural network, nearest neighbours or pipeline that finetuned can run, updatable or not.
        threads: threads of one run.
        parameters: `numberOfNeighbors` in place of the model's own, of nearest neighbours only.

    `labels` are a classifier's, in the order of its probabilities; nearest neighbours without a sample have their default one.

    Raises:
        ModelError: it cannot be run; the message says why.
        ParameterError: the model has no such parameter, or does not allow the value.
    """

    def __init__(
        self, model: Model, *, threads: int = 1, parameters: Mapping[str, object] | None = None
    ) -> None:
        self.model = model
        self._answering = answering(model, parameters or {}, threads=threads)
        self.labels = self._answering.labels

    def outputs(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the outputs by name, float32 [N, …]; a classifier has one, its probabilities."""
        parts = self._parts(inputs, self._answering.outputs)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def answers(self, inputs: Mapping[str, Any]) -> tuple[Array, Array]:
        """Return a classifier's answers, int64 [N], positions among its labels, and its probabilities, float32 [N, labels].

        The answer is the label of the greatest probability; of nearest neighbours that is not always the first of several as
        great (`voting`).
        """
        parts = self._parts(inputs, self._answering.answers)
        said, shares = zip(*parts, strict=True)
        return np.concatenate(said), np.concatenate(shares)

    def probabilities(self, inputs: Mapping[str, Any]) -> Array:
        """Return a classifier's probabilities, float32 [N, labels].

        Those of nearest neighbours are each label's part of the votes; without a sample they are 0.
        """
        return self.answers(inputs)[1]

    def classify(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str | int, dict[str | int, float]]]:
        """Yield each sample's label and its probabilities by label."""
        for label, row in zip(*self.answers(inputs), strict=True):
            yield self.labels[int(label)], dict(zip(self.labels, map(float, row), strict=True))

    def _parts(self, inputs: Mapping[str, Any], run: Callable[[dict[str, Array]], T]) -> list[T]:
        """Run on a few samples after the other."""
        needed = self._answering.inputs
        given = given_of(self.model, inputs, needed=needed)
        return [run(inputs_of(self.model, part, needed=needed)) for part in _chunks(given)]


def _chunks(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    count = len(next(iter(inputs.values())))
    size = sum(array[:1].nbytes for array in inputs.values())
    for part in slices(count, size, most=_MOST, at_once=_AT_ONCE) if count else [slice(0)]:
        yield {name: array[part] for name, array in inputs.items()}
