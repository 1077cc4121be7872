"""The memory of an update: what is bound to the compiled step once, and read and written in place from then on."""

from __future__ import annotations

from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np

from finetuned.graph import loss as losses
from finetuned.graph.program import FEATURES, SAMPLE_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.update.features import Array, Encoded
    from finetuned.update.sessions import Binding

    Bind = Callable[[dict[str, Array], Array], Binding]

_ALIGNMENT = 16  # float32s: every trained array starts on a cache line


class Arena:
    """All trained arrays in one flat float32 buffer, and their gradients in another; `arrays` are views by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        starts, end = {}, 0
        for name, shape in shapes.items():
            starts[name] = end
            end += ceil(prod(shape) / _ALIGNMENT) * _ALIGNMENT
        self.weights = np.zeros(end, dtype=np.float32)
        self.gradient = np.zeros(end, dtype=np.float32)
        self.arrays = {n: self.weights[s : s + prod(shapes[n])].reshape(shapes[n]) for n, s in starts.items()}
        self.gradients = {
            n: self.gradient[s : s + prod(shapes[n])].reshape(shapes[n]) for n, s in starts.items()
        }


class Buffers:
    """The bound buffers of a run over `data`: one set for full mini-batches, views of it for the last partial one."""

    def __init__(self, data: Encoded, *, size: int, target_shape: tuple[int, ...], bind: Bind) -> None:
        self.size = min(size, len(data))
        self._data = data
        self._onehot = data.targets.dtype == np.int64
        self._features = np.empty((self.size, *data.features.shape[1:]), dtype=np.float32)
        self._targets = np.zeros((self.size, *target_shape), dtype=np.float32)
        self._classes = np.empty(self.size, dtype=np.int64)
        self._loss = np.zeros(1, dtype=np.float32)
        partial = len(data) % self.size
        self._bound = {rows: self._bind(bind, rows) for rows in {self.size, partial} - {0}}

    def _bind(self, bind: Bind, rows: int) -> Binding:
        feeds = {
            FEATURES: self._features[:rows],
            losses.TARGET: self._targets[:rows],
            SAMPLE_WEIGHTS: np.full(rows, 1.0 / rows, dtype=np.float32),
        }
        return bind(feeds, self._loss)

    def run(self, rows: Array) -> float:
        """Compute loss and gradients of these samples."""
        count = len(rows)
        self._data.features.take(rows, axis=0, out=self._features[:count], mode="clip")
        self._fill_targets(rows, self._targets[:count])
        self._bound[count].run()
        return float(self._loss[0])

    def are_finite(self, count: int) -> bool:
        """Tell whether the features that were used last are numbers."""
        return bool(np.isfinite(self._features[:count]).all())

    def _fill_targets(self, rows: Array, out: Array) -> None:
        if self._onehot:
            classes = self._classes[: len(rows)]
            self._data.targets.take(rows, axis=0, out=classes, mode="clip")
            out.fill(0.0)
            out[np.arange(len(rows)), classes] = 1.0
        else:
            self._data.targets.take(rows, axis=0, out=out, mode="clip")
