"""The parameters of an update, by Apple's names: one table of how each is read, and one check of what is allowed.

It lies below both the engine and the daemon: the daemon refuses a wrong value at the door, and imports no NumPy for it.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
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
    number = number_of(value)
    if not math.isfinite(number):
        raise ParameterError(f"{name}={_short(value)} is not a finite number")
    return number


def number_of(value: object) -> float:
    """Read a number of any library, or ASCII text of a decimal one, but no bool; NaN stands for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real | str):
        return math.nan
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _integer(name: str, value: object) -> int:
    """8.0 and "8" are whole, True is not; the format has 64 bits for them."""
    number = _whole(value)
    if number is None or not -(1 << 63) <= number < 1 << 63:
        raise ParameterError(f"{name}={_short(value)} is not a whole number of 64 bits")
    return number


def _whole(value: object) -> int | None:
    """Digits are read as they stand: a float has no room for the last ones of a long seed."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral) or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        with suppress(ValueError):
            return int(value)
    number = number_of(value)
    return int(number) if number.is_integer() else None


def label_of(value: object) -> int | None:
    """Read a label that is a whole number of 64 bits, or its digits as ASCII text; None stands for anything else, 4.0 and True too."""
    if isinstance(value, str) and len(value) <= _LONGEST_LABEL and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    number = int(value)
    return number if -(1 << 63) <= number < 1 << 63 else None


def _boolean(name: str, value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ParameterError(f"{name}={_short(value)} is neither true nor false")


def _short(value: object) -> str:
    """Show a value in a message, cut where it is long (an int of 5000 digits has no text at all)."""
    try:
        text = repr(value)
    except ValueError:
        return "(too long to show)"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


NO_OPTIMIZER = "none"
"""Nearest neighbours have none."""

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
    "numberOfNeighbors": Kind(read=_integer, optimizer=NO_OPTIMIZER),
}
"""Every parameter of a model's update: of a network, and the one of nearest neighbours."""

ADJUSTABLE = frozenset({"learningRate"})
"""What may change while a task runs (COREML.md §6.4: the only one)."""

_LIMITS: Mapping[str, tuple[float, float]] = {
    "miniBatchSize": (1, math.inf),
    "epochs": (1, math.inf),
    "numberOfNeighbors": (1, math.inf),
    # At 1 Adam divides zero by zero; so it does for a gradient of zero where eps is zero as a float32.
    "beta1": (0.0, 1 - 2**-24),
    "beta2": (0.0, 1 - 2**-24),
    "eps": (2.0**-126, math.inf),
}
"""What the arithmetic allows, whatever the model does: both ends included."""

_SHOWN = 40
_LONGEST_LABEL = 20
"""Characters: what 64 bits need, and a sign."""
_DIGITS = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def unscoped(asked: Mapping[str, object], scope: str) -> dict[str, object]:
    """Return what is asked for by plain names: in a pipeline they may be scoped to the model that learns.

    `scope` is what that model is called, as `kNNClassifier` or (in a pipeline of a pipeline) `model1.model0`; "" of none.

    Raises:
        ParameterError: one is asked for by both names.
    """
    plain: dict[str, object] = {}
    for key, value in asked.items():
        name = str(key).removeprefix(f"{scope}.") if scope else str(key)
        if name in plain:
            raise ParameterError(f"{name} is given twice, plain and scoped to {scope}; give it once")
        plain[name] = value
    return plain


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
        raise ParameterError(f"{name}={number} is not allowed by the model; allowed: {_between(low, high)}")
    check_limits(name, number)
    return number


def check_limits(name: str, number: Number) -> None:
    """Raise `ParameterError` where no model may have this value, not even as its default."""
    if not math.isfinite(number):
        raise ParameterError(f"{name}={number} is not a finite number; choose one that is")
    low, high = _LIMITS.get(name, (-math.inf, math.inf))
    if not low <= number <= high:
        ends = f"at least {low:g}" if high == math.inf else f"{low:g} to below 1"
        raise ParameterError(f"{name}={number} is not allowed; allowed: {ends}")


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at least {low:g}" if low is not None else f"at most {high:g}"
    return f"{low:g} to {high:g}"


def adjusted(asked: Mapping[str, object], rows: Mapping[str, Parameter]) -> dict[str, Number]:
    """Return what `resume(withParameters:)` may change in a running task, checked."""
    for name in asked:
        if name not in ADJUSTABLE:
            raise ParameterError(
                f"{name} cannot change while a task runs; {', '.join(sorted(ADJUSTABLE))} can"
            )
    return {str(name): checked(str(name), value, rows) for name, value in asked.items()}
