"""Update parameters by Apple's names: what a model allows, and what a run asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from finetuned import parameters
from finetuned.errors import ModelError
from finetuned.parameters import PARAMETERS, Number, Parameter, check_limits, checked
from finetuned.spec.model import Update
from finetuned.spec.neighbors import Neighbors
from finetuned.spec.rules.pipelines import scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.spec.model import Model


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


_ABSENT: dict[str, Parameter] = {
    "shuffle": Parameter(default=False),
    "momentum": Parameter(default=0.0),
    "seed": Parameter(default=0),
}
"""What a file may leave out: absent shuffle is false, absent momentum 0; without a seed one is drawn."""


def update_of(model: Model) -> Update:
    """Return the update parameters of a network, or of the one that a pipeline ends in, or raise `ModelError`."""
    network = model.learner.network
    if network is None or network.update is None:
        raise ModelError(f"this {model.kind} has no update parameters: it is not updatable")
    return network.update


def neighbors_of(model: Model) -> Neighbors:
    """Return the nearest neighbours that the model is, or that a pipeline ends in, or raise `ModelError`."""
    if model.learner.neighbors is None:
        raise ModelError(f"this {model.kind} is no nearest-neighbours classifier")
    return model.learner.neighbors


def learnt_of(model: Model) -> Update | Neighbors:
    """Return what holds the parameters of a model of any kind, or raise `ModelError`."""
    return model.learner.neighbors or update_of(model)


def scope_of(model: Model) -> str:
    """Return what the model that learns is called in scoped names; "" where it is no pipeline's."""
    if not model.models:
        return ""
    return ".".join(filter(None, (scopes(model)[-1], scope_of(model.models[-1]))))


def allowed(update: Update | Neighbors) -> dict[str, Parameter]:
    """Return every parameter that a run of this model may set, with its range or set."""
    if isinstance(update, Neighbors):
        row = update.number_of_neighbors
        return {"numberOfNeighbors": row} if row is not None else {}
    rows = {name: kind for name, kind in PARAMETERS.items() if kind.optimizer in {"", update.optimizer}}
    known = {**_ABSENT, **update.parameters}
    return {name: known[name] for name in rows if name in known}


def resolved(model: Model, asked: Mapping[str, object], *, seed: int = 0) -> dict[str, Number]:
    """Return the parameters in force for a model of any kind; in a pipeline they may be asked for by scoped names.

    Raises:
        ModelError: the model has none.
        ParameterError: as `resolve`.
    """
    return resolve(learnt_of(model), parameters.unscoped(asked, scope_of(model)), seed=seed)


def resolve(update: Update | Neighbors, asked: Mapping[str, object], *, seed: int) -> dict[str, Number]:
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
    if isinstance(update, Update) and "seed" not in update.parameters:
        force["seed"] = seed
    for name, value in asked.items():
        force[str(name)] = checked(str(name), value, rows)
    for name, number in force.items():
        check_limits(name, number)
    return force


def adjusted(update: Update | Neighbors, asked: Mapping[str, object]) -> dict[str, Number]:
    """Return what `resume(withParameters:)` may change in a running task, checked."""
    return parameters.adjusted(asked, allowed(update))
