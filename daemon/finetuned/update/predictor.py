"""Running a model as it is: inputs in, labels and probabilities or outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.graph.program import compile_inference, network_of
from finetuned.update.features import Array, inputs_of
from finetuned.update.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finetuned.spec.model import Model

_AT_ONCE = 32


class Predictor:
    """A compiled model.

    Args:
        model: any neural network that finetuned can run, updatable or not.
        threads: threads of one run.
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        self.model = model
        self.labels = network_of(model).class_labels
        self._session = Session(compile_inference(model), threads=threads)

    def outputs(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the output blobs by name, float32 [N, …]; a classifier has one, its probabilities."""
        used = inputs_of(self.model, inputs, needed=self._session.program.inputs)
        parts = [self._session.run(part) for part in _chunks(used)]
        return {
            name: np.concatenate([part[name] for part in parts]) for name in self._session.program.outputs
        }

    def probabilities(self, inputs: Mapping[str, Any]) -> Array:
        """Return a classifier's probabilities, float32 [N, labels]."""
        (array,) = self.outputs(inputs).values()
        return array.reshape(len(array), -1)

    def classify(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str | int, dict[str | int, float]]]:
        """Yield each sample's label and its probabilities by label."""
        for row in self.probabilities(inputs):
            yield self.labels[int(row.argmax())], dict(zip(self.labels, map(float, row), strict=True))


def _chunks(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    count = len(next(iter(inputs.values())))
    for start in range(0, max(count, 1), _AT_ONCE):
        yield {name: array[start : start + _AT_ONCE] for name, array in inputs.items()}
