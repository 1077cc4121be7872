"""Why a model cannot be updated: every reason, with its remedy.

The rules are Apple's (apple/coremltools, mlmodel/src/Validation), in Apple's order; where Apple's validator
lets something through that its engine cannot train, or reports only the first mistake, finetuned is stricter
and says all.  `rules.later` holds what Core ML can do and this version cannot.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from finetuned.spec.names import quoted
from finetuned.spec.rules import (
    areas,
    container,
    inputs,
    interface,
    later,
    layers,
    losses,
    neighbors,
    parameters,
    paths,
    pipelines,
    weights,
)
from finetuned.spec.rules import departures as leaving
from finetuned.spec.rules.case import Case, Reason, case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from finetuned.spec.model import Model
    from finetuned.spec.neighbors import Neighbors

__all__ = ["Reason", "departures", "faults", "reasons"]

MOST_REASONS = 100
"""Of one rule."""

FILE_RULES: tuple[Callable[[Model], Iterable[Reason]], ...] = (
    container.specification_version,
    interface.there,
    interface.names,
    interface.types,
    interface.optional,
    interface.predictions,
)

UPDATE_RULES: tuple[Callable[[Model], Iterable[Reason]], ...] = (
    container.marked,
    container.updatable_version,
    container.model_type,
)

LAYER_RULES: tuple[Callable[[Case], Iterable[Reason]], ...] = (
    layers.there,
    layers.ends,
    layers.wiring,
    layers.outputs,
    weights.complete,
    areas.channels,
    areas.groups,
    areas.areas,
)

NETWORK_RULES: tuple[Callable[[Case], Iterable[Reason]], ...] = (
    *LAYER_RULES,
    layers.updatable_layers,
    weights.marked,
    weights.float16,
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


NEIGHBOR_RULES: tuple[Callable[[Model, Neighbors], Iterable[Reason]], ...] = (
    neighbors.samples,
    neighbors.finite,
    neighbors.index,
    neighbors.number_of_neighbors,
    neighbors.labels,
    neighbors.input_shape,
)

PIPELINE_RULES: tuple[Callable[[Model], Iterable[Reason]], ...] = (
    pipelines.models,
    pipelines.kinds,
    pipelines.wiring,
    pipelines.marks,
    pipelines.training_inputs,
)


def reasons(model: Model, *, beyond_coreml: bool = False) -> tuple[Reason, ...]:
    """Return why this version cannot update the model; empty when it can.

    The rules are Core ML's own.  With `beyond_coreml`, what only Apple's validator forbids is no reason: gradients
    through the layers of `rules.paths.BEYOND`, and several losses (`departures` says what of it the model does).
    A network without any trace of update data is only told that it is not marked: Core ML ignores the rest.
    """
    return tuple(_updated(model, beyond_coreml=beyond_coreml))


def faults(model: Model) -> tuple[Reason, ...]:
    """Return what is wrong with a model that is only run; empty where it is sound, be it updatable or not."""
    return tuple(_frozen(model))


def _updated(model: Model, *, beyond_coreml: bool) -> Iterator[Reason]:
    """Yield what is wrong with a model that shall be updated."""
    yield from _broken((*FILE_RULES, *UPDATE_RULES), model)
    network = model.network
    if network is not None and (
        model.updatable or network.update or any(layer.updatable for layer in network.layers)
    ):
        yield from _broken(NETWORK_RULES, case(model, network, beyond_coreml=beyond_coreml))
    if model.neighbors is not None:
        yield from _broken((*NEIGHBOR_RULES, neighbors.training_inputs), model, model.neighbors)
    if model.kind in container.PIPELINES:
        yield from _broken((*PIPELINE_RULES, partial(_inside, beyond_coreml=beyond_coreml)), model)


def _frozen(model: Model) -> Iterator[Reason]:
    """Yield what is wrong with a model inside a pipeline that is only run: its update data do not count."""
    yield from _broken(FILE_RULES, model)
    if model.network is not None:
        yield from _broken(LAYER_RULES, case(model, model.network))
    if model.neighbors is not None:
        yield from _broken(NEIGHBOR_RULES, model, model.neighbors)
    if model.kind in container.PIPELINES:
        yield from _broken((*PIPELINE_RULES, _inside), model)


def _inside(model: Model, *, beyond_coreml: bool = False) -> Iterator[Reason]:
    """Yield what is wrong with each model of a pipeline; its name is put before the layer's, as Core ML scopes names."""
    for scope, inner in zip(pipelines.scopes(model), model.models, strict=True):
        for reason in _updated(inner, beyond_coreml=beyond_coreml) if inner.updatable else _frozen(inner):
            layer = f"{scope}.{reason.layer}" if reason.layer else scope
            yield replace(reason, layer=layer, message=f"in {quoted(scope)}: {reason.message}")


def _broken(rules: Iterable[Callable[..., Iterable[Reason]]], *judged: object) -> Iterator[Reason]:
    """Yield what the rules find, of each the first few: a file may be made to break one of them in every layer."""
    for rule in rules:
        found = list(islice(rule(*judged), MOST_REASONS + 1))
        yield from found[:MOST_REASONS]
        if len(found) > MOST_REASONS:
            more = (
                f"the rule {found[-1].rule!r} is broken in more places than the {MOST_REASONS} that are told"
            )
            yield replace(found[-1], layer="", message=more)


def departures(model: Model) -> tuple[Reason, ...]:
    """Return in what ways an update of the model leaves Core ML's territory; empty when it stays within.

    Of a pipeline that is what the update of its last model does.
    """
    learner = model.learner
    if learner.network is None:
        return ()
    judged = case(learner, learner.network, beyond_coreml=True)
    return tuple(_broken(DEPARTURES, judged))
