"""Update parameters by Apple's names: what a model allows, and what a run asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from finetuned.errors import ModelError, ParameterError
from finetuned.spec.model import Model, Parameter, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Number = float | int | bool


class ParameterKey(str):
    """Apple's `MLParameterKey`: a name that can be scoped, `ParameterKey.weights.scoped("fc")` is `fc.weights`."""

    __slots__ = ()

    learningRate: ClassVar[ParameterKey]
    momentum: ClassVar[ParameterKey]
    miniBatchSize: ClassVar[ParameterKey]
    beta1: ClassVar[ParameterKey]
    beta2: ClassVar[ParameterKey]
    eps: ClassVar[ParameterKey]
    epochs: ClassVar[ParameterKey]
    shuffle: ClassVar[ParameterKey]
    seed: ClassVar[ParameterKey]
    numberOfNeighbors: ClassVar[ParameterKey]
    weights: ClassVar[ParameterKey]
    biases: ClassVar[ParameterKey]

    def scoped(self, to: str) -> ParameterKey:
        """Return the key scoped to a layer, or (scoped again) to a layer of a model of a pipeline."""
        scopes, _, name = self.rpartition(".")
        return ParameterKey(".".join(part for part in (scopes, to, name) if part))


for _name in ParameterKey.__annotations__:
    setattr(ParameterKey, _name, ParameterKey(_name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of the table: how a value is read, and in which optimizer the parameter exists (empty: in all)."""

    read: Callable[[str, object], Number]
    optimizer: str = ""


def _double(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0:
        return float(value)
    if isinstance(value, str):
        try:
            return _double(name, float(value))
        except ValueError:
            pass
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

_ABSENT: dict[str, Parameter] = {
    "shuffle": Parameter(default=False),
    "momentum": Parameter(default=0.0),
    "seed": Parameter(default=0),
}
"""What a file may leave out: absent shuffle is false, absent momentum 0; without a seed one is drawn."""


def update_of(model: Model) -> Update:
    """Return the model's update parameters, or raise `ModelError`."""
    if model.network is None or model.network.update is None:
        raise ModelError(f"this {model.kind} has no update parameters: it is not updatable")
    return model.network.update


def allowed(update: Update) -> dict[str, Parameter]:
    """Return every parameter that a run of this model may set, with its range or set."""
    rows = {name: kind for name, kind in PARAMETERS.items() if kind.optimizer in {"", update.optimizer}}
    known = {**_ABSENT, **update.parameters}
    return {name: known[name] for name in rows if name in known}


def resolve(update: Update, asked: Mapping[str, object], *, seed: int) -> dict[str, Number]:
    """Return the parameters in force: the model's defaults, overridden by what is asked for.

    Args:
        update: the model's update parameters.
        asked: by name; values as Python has them or as text.
        seed: used where neither the model nor `asked` has one.

    Raises:
        ParameterError: an unknown name, or a value outside of its range or set; the message says what is allowed.
    """
    rows = allowed(update)
    force: dict[str, Number] = {name: row.default for name, row in rows.items()}
    if "seed" not in update.parameters:
        force["seed"] = seed
    for name, value in asked.items():
        force[str(name)] = _checked(str(name), value, rows)
    return force


def adjusted(update: Update, asked: Mapping[str, object]) -> dict[str, Number]:
    """Return what `resume(withParameters:)` may change in a running task, checked."""
    for name in asked:
        if name not in ADJUSTABLE:
            raise ParameterError(
                f"{name} cannot change while a task runs; {', '.join(sorted(ADJUSTABLE))} can"
            )
    rows = allowed(update)
    return {str(name): _checked(str(name), value, rows) for name, value in asked.items()}


def _checked(name: str, value: object, rows: Mapping[str, Parameter]) -> Number:
    if name not in rows:
        raise ParameterError(f"the model has no parameter {name!r}; it has {', '.join(rows)}")
    number = PARAMETERS[name].read(name, value)
    row = rows[name]
    if row.allowed is not None and number not in row.allowed:
        raise ParameterError(
            f"{name}={number} is not allowed by the model; allowed: {', '.join(map(str, row.allowed))}"
        )
    low, high = row.minimum, row.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise ParameterError(f"{name}={number} is not allowed by the model; allowed: {low} to {high}")
    if name in {"miniBatchSize", "epochs"} and number < 1:
        raise ParameterError(f"{name}={number} is not allowed: it must be at least 1")
    return number
