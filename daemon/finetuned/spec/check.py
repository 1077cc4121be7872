"""Why a model cannot be updated: every reason, with its remedy.

The rules are Apple's (apple/coremltools, mlmodel/src/Validation), in Apple's order; where Apple's validator
lets something through that its engine cannot train, or reports only the first mistake, finetuned is stricter
and says all.  `rules.later` holds what Core ML can do and this version cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec.rules import (
    container,
    inputs,
    later,
    layers,
    losses,
    parameters,
    paths,
)
from finetuned.spec.rules import (
    departures as leaving,
)
from finetuned.spec.rules.case import Case, Reason, case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from finetuned.spec.model import Model

__all__ = ["Reason", "departures", "reasons"]

MODEL_RULES: tuple[Callable[[Model], Iterable[Reason]], ...] = (
    container.specification_version,
    container.features,
    container.marked,
    container.updatable_version,
    container.model_type,
    later.model_type,
)

NETWORK_RULES: tuple[Callable[[Case], Iterable[Reason]], ...] = (
    layers.wiring,
    layers.weights,
    layers.channels,
    layers.groups,
    layers.updatable_layers,
    layers.marked_weights,
    layers.float16,
    layers.names,
    losses.loss_count,
    losses.loss_input,
    losses.loss_inputs,
    losses.loss_target,
    losses.labels,
    parameters.optimizer,
    parameters.epochs,
    parameters.values,
    paths.backpropagation,
    paths.reached,
    inputs.training_inputs,
    inputs.needed,
    inputs.target,
    later.layers,
)


DEPARTURES: tuple[Callable[[Case], Iterable[Reason]], ...] = (leaving.losses, leaving.layers)


def reasons(model: Model, *, beyond_coreml: bool = False) -> tuple[Reason, ...]:
    """Return why this version cannot update the model; empty when it can.

    The rules are Core ML's own.  With `beyond_coreml`, what only Apple's validator forbids is no reason: gradients
    through the layers of `rules.paths.BEYOND`, and several losses (`departures` says what of it the model does).
    A network without any trace of update data is only told that it is not marked: Core ML ignores the rest.
    """
    found = [reason for rule in MODEL_RULES for reason in rule(model)]
    network = model.network
    if network is not None and (
        model.updatable or network.update or any(layer.updatable for layer in network.layers)
    ):
        judged = case(model, network, beyond_coreml=beyond_coreml)
        found += [reason for rule in NETWORK_RULES for reason in rule(judged)]
    return tuple(found)


def departures(model: Model) -> tuple[Reason, ...]:
    """Return in what ways an update of the model leaves Core ML's territory; empty when it stays within."""
    if model.network is None:
        return ()
    judged = case(model, model.network, beyond_coreml=True)
    return tuple(reason for rule in DEPARTURES for reason in rule(judged))
