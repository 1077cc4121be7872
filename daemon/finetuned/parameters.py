"""The parameters of an update, by Apple's names: one table of how each is read, and one check of what is allowed.

It lies below both the engine and the daemon: the daemon refuses a wrong value at the door, and imports no NumPy for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Number = float | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An update parameter: its default and what a run may set it to (a range, a set, or anything)."""

    default: Number
    minimum: float | int | None = None
    maximum: float | int | None = None
    allowed: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of the table: how a value is read, and in which optimizer the parameter exists (empty: in all)."""

    read: Callable[[str, object], Number]
    optimizer: str = ""


def _double(name: str, value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ParameterError(f"{name}={value!r} is not a finite number")


def _integer(name: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, (str, float)):
        try:
            number = float(value)
        except ValueError:
            number = 0.5
        if number.is_integer():
            return int(value) if isinstance(value, str) and value.lstrip("+-").isdigit() else int(number)
    raise ParameterError(f"{name}={value!r} is not a whole number")


def _boolean(name: str, value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ParameterError(f"{name}={value!r} is neither true nor false")


PARAMETERS: dict[str, Kind] = {
    "learningRate": Kind(read=_double),
    "miniBatchSize": Kind(read=_integer),
    "momentum": Kind(read=_double, optimizer="sgdOptimizer"),
    "beta1": Kind(read=_double, optimizer="adamOptimizer"),
    "beta2": Kind(read=_double, optimizer="adamOptimizer"),
    "eps": Kind(read=_double, optimizer="adamOptimizer"),
    "epochs": Kind(read=_integer),
    "shuffle": Kind(read=_boolean),
    "seed": Kind(read=_integer),
}
"""Every parameter of a network's update."""

ADJUSTABLE = frozenset({"learningRate"})
"""What may change while a task runs (COREML.md §6.4: the only one)."""

_POSITIVE = frozenset({"miniBatchSize", "epochs"})


def checked(name: str, value: object, rows: Mapping[str, Parameter]) -> Number:
    """Return `value` (a number, or text as from a command line) if these rows allow it for `name`.

    Raises:
        ParameterError: an unknown name, or a value of a wrong kind or outside of its range or set; the message says
            what is allowed.
    """
    if name not in rows:
        raise ParameterError(f"the model has no parameter {name!r}; it has {', '.join(rows) or 'none'}")
    number = PARAMETERS[name].read(name, value)
    row = rows[name]
    if row.allowed is not None and number not in row.allowed:
        raise ParameterError(
            f"{name}={number} is not allowed by the model; allowed: {', '.join(map(str, row.allowed))}"
        )
    low, high = row.minimum, row.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise ParameterError(f"{name}={number} is not allowed by the model; allowed: {low} to {high}")
    if name in _POSITIVE and number < 1:
        raise ParameterError(f"{name}={number} is not allowed: it must be at least 1")
    return number


def adjusted(asked: Mapping[str, object], rows: Mapping[str, Parameter]) -> dict[str, Number]:
    """Return what `resume(withParameters:)` may change in a running task, checked."""
    for name in asked:
        if name not in ADJUSTABLE:
            raise ParameterError(
                f"{name} cannot change while a task runs; {', '.join(sorted(ADJUSTABLE))} can"
            )
    return {str(name): checked(str(name), value, rows) for name, value in asked.items()}
