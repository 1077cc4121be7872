"""Is the candidate better than what is used now?  A comparison of two measurements on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol


class Measured(Protocol):
    """How good a model is: `samples` it was measured on, its loss, and a classifier's accuracy (0 … 1)."""

    @property
    def samples(self) -> int:
        """How many samples it was measured on."""

    @property
    def loss_value(self) -> float | None:
        """The mean loss over them; None where it is not a finite number, or there is none."""

    @property
    def accuracy(self) -> float | None:
        """The share that was right; None for a regressor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The candidate is `promoted` to be what is used, or `kept` beside it; `reason` is a phrase for a person."""

    promotion: Literal["promoted", "kept"]
    reason: str


def judge(before: Measured, after: Measured, *, held_out: bool, by_loss: bool = True) -> Promotion:
    """Promote the candidate if it is better: by accuracy, where that is equal by loss.

    A regressor has a loss only.  What has none (`by_loss` false: nearest neighbours) is promoted also if it is as good: it
    knows more.  `held_out` tells whether the samples were kept from training; a candidate that is judged on what it learnt
    from says so.  One that cannot be measured (NaN, infinite) is never promoted.
    """
    if not by_loss:
        return _by_accuracy(
            before.accuracy or 0.0, after.accuracy or 0.0, _where(after.samples, held_out=held_out)
        )
    known, rank = _rank(before), _rank(after)
    if rank is None:
        return Promotion(promotion="kept", reason="its loss is not a finite number")
    where = _where(after.samples, held_out=held_out)
    if known is None or rank > known:
        return Promotion(promotion="promoted", reason=f"better on {where}")
    word = "no better" if rank == known else "worse"
    return Promotion(promotion="kept", reason=f"{word} on {where}")


def _by_accuracy(before: float, after: float, where: str) -> Promotion:
    if after < before:
        return Promotion(promotion="kept", reason=f"worse on {where}")
    return Promotion(promotion="promoted", reason=f"{'as good' if after == before else 'better'} on {where}")


def _rank(measured: Measured) -> tuple[float, float] | None:
    """Return what is compared, the larger the better; None where it cannot be."""
    accuracy, loss = measured.accuracy or 0.0, measured.loss_value
    if loss is None or not (math.isfinite(loss) and math.isfinite(accuracy)):
        return None
    return (accuracy, -loss)


def _where(samples: int, *, held_out: bool) -> str:
    plural = "sample" if samples == 1 else "samples"
    if held_out:
        return f"{samples} held-out {plural}"
    return f"the {samples} {plural} it was trained on; too few to hold any out"
