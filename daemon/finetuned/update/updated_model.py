"""The model of a task, as updated so far: what a script predicts with, measures and writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.files import mode_of, write_atomically
from finetuned.spec import codec
from finetuned.update.features import Array, encoded
from finetuned.update.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from finetuned.update.measuring import Measure
    from finetuned.update.updater import Updater


class UpdatedModel:
    """The model as updated so far, live: it has the weights of the moment in which it is asked."""

    def __init__(self, update: Updater) -> None:
        self._update = update

    def encode(self) -> bytes:
        """Return the bytes of a `.mlmodel` with the weights of this moment.

        Raises:
            DivergenceError: a weight is infinite or NaN.
        """
        return self._update.encode()

    def write(self, to: str | PathLike[str]) -> None:
        """Write a `.mlmodel`, in place of what is there, whose mode it keeps: whole or, if the power fails, not at all.

        Raises:
            HostError: the disk refuses; the message says why.
            DivergenceError: a weight is infinite or NaN.
        """
        path = Path(to)
        write_atomically(path, self.encode(), mode=mode_of(path))

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the outputs for `inputs`, float32 [N, …] by name."""
        return Predictor(codec.decode(self.encode())).outputs(inputs)

    def evaluate(self, data: Mapping[str, Any]) -> Measure:
        """Return loss and accuracy (or mean absolute error) on labelled data."""
        return self._update.measure(encoded(self._update, data))
