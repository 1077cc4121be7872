"""Rules for the optimizer and the numbers of a training run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from finetuned.spec.names import few
from finetuned.spec.rules.case import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.parameters import Parameter
    from finetuned.spec.rules.case import Case

# momentum may be missing (then it is 0); everything else must be there.
REQUIRED = {
    "sgdOptimizer": ("learningRate", "miniBatchSize"),
    "adamOptimizer": ("learningRate", "miniBatchSize", "beta1", "beta2", "eps"),
}
POSITIVE = frozenset({"miniBatchSize", "epochs", "numberOfNeighbors"})


def optimizer(case: Case) -> Iterator[Reason]:
    """There is an optimizer, and it has its parameters."""
    name = case.update.optimizer
    if name not in REQUIRED:
        yield Reason(
            rule="optimizer",
            message="the optimizer is not recognized: none is set; sgdOptimizer and adamOptimizer are allowed",
            remedy="set one, with finetuned author updatable",
        )
    for parameter in REQUIRED.get(name, ()):
        if parameter not in case.update.parameters:
            yield _missing(parameter, f"the {name} should include the parameter {parameter}")


def epochs(case: Case) -> Iterator[Reason]:
    """How often to go through the data must be said."""
    if "epochs" not in case.update.parameters:
        yield _missing("epochs", "the update parameters should include epochs")


def _missing(parameter: str, message: str) -> Reason:
    return Reason(
        rule="parameterMissing",
        message=message,
        remedy=f"give {parameter} a default and a range or a set of allowed values",
    )


def values(case: Case) -> Iterator[Reason]:
    """Defaults lie in their range or set; batch size and epochs are positive, allowed values included."""
    for name, parameter in case.update.parameters.items():
        for message in complaints(name, parameter):
            yield Reason(
                rule="parameterValue",
                message=message,
                remedy=f"correct the default or the allowed values of {name}",
            )


def complaints(name: str, parameter: Parameter) -> Iterator[str]:
    """Yield what is wrong with the default and the allowed values of a parameter."""
    default, low, high, allowed = parameter.default, parameter.minimum, parameter.maximum, parameter.allowed
    if not math.isfinite(default):
        yield f"the default value of {name} is {default}; a number is needed"
    if allowed is not None and default not in allowed:
        yield f"the default value ({default}) is not found in the allowed values set {few(allowed)} for {name}"
    if low is not None and high is not None and not low <= default <= high:
        yield f"the default value ({default}) is out of the allowed value range {low} to {high} for {name}"
    if name in POSITIVE:
        stated: dict[str, tuple[float | None, ...]] = {
            "default value": (default,),
            "range": (low, high),
            "set": allowed or (),
        }
        for what, numbers in stated.items():
            wrong = [number for number in numbers if number is not None and number <= 0]
            if wrong:
                yield f"{name} is expected to be positive, and its {what} holds {wrong[0]}"
