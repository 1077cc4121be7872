"""Running a model as it is: inputs in, labels and probabilities or outputs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.graph.program import compile_inference, network_of
from finetuned.rows import slices
from finetuned.update.features import Array, given_of, inputs_of
from finetuned.update.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from finetuned.spec.model import Model

_AT_ONCE = 1 << 16
"""So many bytes of inputs are run together: a picture for a large network alone, which is faster and wants less memory."""
_MOST = 32


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
        needed = self._session.program.inputs
        parts = [
            self._session.run(inputs_of(self.model, part, needed=needed))
            for part in _chunks(given_of(self.model, inputs, needed=needed))
        ]
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
    size = sum(array[:1].nbytes for array in inputs.values())
    for part in slices(count, size, most=_MOST, at_once=_AT_ONCE) if count else [slice(0)]:
        yield {name: array[part] for name, array in inputs.items()}
