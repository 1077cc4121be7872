"""SGD with momentum and Adam, in NumPy, in place, in the very memory that the graph reads.

All trained arrays of a model lie in one flat float32 buffer, their gradients in another, so that a step is a
handful of vectorised passes.  The forms are those of Metal Performance Shaders (COREML.md §3.2): the learning rate
stands *inside* the velocity, and Adam's eps is added to √v uncorrected.  They agree with PyTorch's while the
learning rate is constant (Adam: but for √v near eps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from finetuned.errors import CheckpointError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

Flat = NDArray[np.float32]

BLOCK = 1 << 16
"""Adam goes over so many numbers at a time, a megabyte with all that it keeps of them: what a pass leaves is still in
the cache for the next.  Fewer cost more in calls; SGD has too few passes to gain by it."""

# Numbers that leave float32 are found by whoever checks loss and weights, not told as warnings.
_overflows_quietly = np.errstate(over="ignore", invalid="ignore")


class Optimizer(Protocol):
    """Changes the weights by one step; `state` names the arrays that a checkpoint keeps."""

    learning_rate: float

    def step(self, weights: Flat, gradient: Flat) -> None:
        """Update `weights` in place; `gradient` may be used as scratch."""

    def state(self) -> dict[str, Flat]:
        """Return the arrays that the next step depends on (views)."""

    def load(self, arrays: Mapping[str, Flat]) -> None:
        """Copy arrays with the names and sizes of `state` into it, all or none; `CheckpointError` for impossible ones."""


class SGD:
    """m = μ m + lr g;  w -= m.  Without momentum, w -= lr g."""

    def __init__(self, size: int, *, learning_rate: float, momentum: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self._velocity = np.zeros(size if momentum else 0, dtype=np.float32)

    @_overflows_quietly
    def step(self, weights: Flat, gradient: Flat) -> None:
        """Update `weights` in place."""
        np.multiply(gradient, np.float32(self.learning_rate), out=gradient)
        if self.momentum:
            self._velocity *= np.float32(self.momentum)
            self._velocity += gradient
            gradient = self._velocity
        weights -= gradient

    def state(self) -> dict[str, Flat]:
        """Return the velocity."""
        return {"velocity": self._velocity}

    def load(self, arrays: Mapping[str, Flat]) -> None:
        """Take the velocity."""
        self._velocity[...] = arrays["velocity"]


class Adam:
    """t += 1;  lr_t = lr √(1 - β₂ᵗ) / (1 - β₁ᵗ);  m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²;  w -= lr_t m / (√v + eps)."""

    def __init__(self, size: int, *, learning_rate: float, beta1: float, beta2: float, eps: float) -> None:
        self.learning_rate = learning_rate
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._first = np.zeros(size, dtype=np.float32)
        self._second = np.zeros(size, dtype=np.float32)
        self._scratch = np.empty(min(size, BLOCK), dtype=np.float32)
        self._steps = np.zeros(1, dtype=np.float32)
        # Arrays: NumPy would make one of a number in each of a step's passes anew.
        self._factors = [np.array(n, dtype=np.float32) for n in (beta1, 1 - beta1, beta2, 1 - beta2, eps)]

    @_overflows_quietly
    def step(self, weights: Flat, gradient: Flat) -> None:
        """Update `weights` in place."""
        self._steps += 1
        t = float(self._steps[0])
        rate = np.array(self.learning_rate * (1 - self.beta2**t) ** 0.5 / (1 - self.beta1**t), np.float32)
        for block in _blocks(weights.size):
            self._advance(block, weights[block], gradient[block], rate)

    def _advance(self, block: slice, weights: Flat, gradient: Flat, rate: Flat) -> None:
        first, second, scratch = self._first[block], self._second[block], self._scratch[: weights.size]
        keep_first, take_first, keep_second, take_second, eps = self._factors
        np.multiply(gradient, take_first, scratch)
        np.multiply(first, keep_first, first)
        np.add(first, scratch, first)
        np.multiply(gradient, gradient, scratch)
        np.multiply(scratch, take_second, scratch)
        np.multiply(second, keep_second, second)
        np.add(second, scratch, second)
        np.sqrt(second, scratch)
        np.add(scratch, eps, scratch)
        np.divide(first, scratch, scratch)
        np.multiply(scratch, rate, scratch)
        np.subtract(weights, scratch, weights)

    def state(self) -> dict[str, Flat]:
        """Return both moments and the number of steps."""
        return {"first": self._first, "second": self._second, "steps": self._steps}

    def load(self, arrays: Mapping[str, Flat]) -> None:
        """Take both moments and the number of steps; a step before the first would divide by zero."""
        steps, second = arrays["steps"], arrays["second"]
        if not (steps >= 0).all() or not (second >= 0).all():
            raise CheckpointError(
                "an optimizer's state is impossible: a number of steps or a square is negative"
            )
        self._first[...] = arrays["first"]
        self._second[...] = second
        self._steps[...] = steps


def _blocks(size: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]


def make(kind: str, size: int, parameters: Mapping[str, float]) -> Optimizer:
    """Return the optimizer `kind` (`sgdOptimizer`, `adamOptimizer`) for `size` weights."""
    rate = float(parameters["learningRate"])
    if kind == "sgdOptimizer":
        return SGD(size, learning_rate=rate, momentum=float(parameters.get("momentum", 0.0)))
    if kind == "adamOptimizer":
        return Adam(
            size,
            learning_rate=rate,
            beta1=float(parameters["beta1"]),
            beta2=float(parameters["beta2"]),
            eps=float(parameters["eps"]),
        )
    raise ModelError(
        f"the optimizer {kind or '(none)'} is not known; Core ML has sgdOptimizer and adamOptimizer"
    )
