"""What a running task is asked to do, by the budget and by people: a pure function and its small values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.parameters import Number, Parameter, adjusted, checked, unscoped
from finetuned.policy.budget import Cause, Pace
from finetuned.service.ledger_tasks import PERSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from finetuned.policy.budget import Verdict
    from finetuned.service.messages import ModelInfo

USER = Cause(reason=PERSON)
STANDSTILL = frozenset({Pace.paused, Pace.released})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a task shall run: held or not, at which pace, duty and share of the cores, and why."""

    held: bool
    pace: Pace
    duty: float
    cores: float = 1.0
    causes: tuple[Cause, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The words of MQTT.md, each once."""
        return tuple(dict.fromkeys(cause.reason for cause in self.causes))

    @property
    def accelerated(self) -> bool:
        """Whether it may use an accelerator; every slower pace is one on the CPU."""
        return self.pace is Pace.full

    @property
    def speed(self) -> tuple[float, float, bool]:
        """What a worker is told."""
        return (self.duty, self.cores, self.accelerated)

    @property
    def measured(self) -> Cause:
        """The first cause that has a reading; else one without."""
        return next((cause for cause in self.causes if cause.reading is not None), Cause(reason=""))


def wanted(verdict: Verdict, *, by_user: bool, most: float = 1.0) -> Wanted:
    """Join the budget's verdict and a person's word: whoever wants the task held holds it.

    `most` is the duty at which the task was allowed to start.
    """
    if by_user or verdict.pace in STANDSTILL:
        causes = (*verdict.causes, *((USER,) if by_user else ()))
        return Wanted(held=True, pace=Pace.paused, duty=0.0, causes=causes)
    if most < verdict.duty:
        return Wanted(held=False, pace=Pace.slow, duty=most, cores=verdict.cores, causes=verdict.holds)
    return Wanted(
        held=False, pace=verdict.pace, duty=verdict.duty, cores=verdict.cores, causes=verdict.causes
    )


def released(told: Wanted, reasons: Iterable[str]) -> Wanted:
    """Return how a task is held that has let go of its worker; `reasons` where it was told to go on meanwhile."""
    causes = told.causes if told.held else tuple(Cause(reason=reason) for reason in reasons)
    return Wanted(held=True, pace=Pace.released, duty=0.0, causes=causes)


# ── parameters ──────────────────────────────────────────────────────────────────────────────────
def asked_parameters(info: ModelInfo, *asked: Mapping[str, object]) -> dict[str, Number]:
    """Return the parameters that a task is asked to run with; ParameterError says what the model allows.

    Of several tables the later counts.  In a pipeline names may be scoped to its last model.
    """
    rows = _rows(info)
    scope = info.models[-1]["name"] if info.models else ""
    merged: dict[str, object] = {}
    for table in asked:
        merged |= unscoped(table, scope)
    return {name: checked(name, value, rows) for name, value in merged.items()}


def asked_adjustment(info: ModelInfo, asked: Mapping[str, object]) -> dict[str, float]:
    """Return what `resume(withParameters:)` may change: the learningRate; ParameterError otherwise."""
    return {name: float(value) for name, value in adjusted(asked, _rows(info)).items()}


def _rows(info: ModelInfo) -> dict[str, Parameter]:
    return {
        name: Parameter(
            default=row.default,
            minimum=row.range[0] if row.range else None,
            maximum=row.range[1] if row.range else None,
            allowed=row.set,
        )
        for name, row in info.parameters.items()
    }
