"""The right updater for a model, and whether a model of any kind can be run at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.graph.program import compile_inference, compile_training
from finetuned.spec.rules.container import PIPELINES
from finetuned.update.devices import CPU
from finetuned.update.front import staged
from finetuned.update.neighbors import NeighborsUpdate
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolved
from finetuned.update.pipeline import PipelineUpdate
from finetuned.update.refusing import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.parameters import Number
    from finetuned.spec.model import Model
    from finetuned.update.growth import Growth
    from finetuned.update.updater import Updater


def updater(  # noqa: PLR0913 - what an update depends on, by name
    model: Model,
    asked: Mapping[str, object],
    *,
    seed: int,
    threads: int = 1,
    devices: Sequence[str] = (CPU,),
    accelerated: bool = True,
    beyond_coreml: bool = False,
    loss_weights: Mapping[str, object] | None = None,
    growth: Growth | None = None,
) -> Updater:
    """Return the updater of a model: of a network, of nearest neighbours, or of a pipeline that ends in one of them.

    Args:
        model: an updatable model.
        asked: parameters by name, as Python has them or as text; in a pipeline they may be scoped to the last model.
        seed: used where neither the model nor `asked` has one.
        threads: threads of one step.
        devices: where to compute, the most wanted first.
        accelerated: False: on the CPU, until `accelerate` says otherwise.
        beyond_coreml: also train what Apple's validator refuses and the arithmetic allows.
        loss_weights: those of several losses, by the loss's name or its target's.
        growth: how far a nearest-neighbours model may grow; networks do not.

    Raises:
        ModelError: the model cannot be updated; the message holds every reason.
        ParameterError: a parameter or a weight is not allowed.
    """
    parameters = resolved(model, asked, seed=seed)
    how = _How(
        threads=threads,
        devices=devices,
        accelerated=accelerated,
        beyond_coreml=beyond_coreml,
        loss_weights=loss_weights,
        growth=growth,
    )
    return _updater(model, parameters, how)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What an update depends on besides the model and its parameters."""

    threads: int
    devices: Sequence[str]
    accelerated: bool
    beyond_coreml: bool
    loss_weights: Mapping[str, object] | None
    growth: Growth | None


def _updater(model: Model, parameters: Mapping[str, Number], how: _How) -> Updater:
    if model.kind in PIPELINES:
        return _pipeline(model, parameters, how)
    if model.neighbors is not None:
        return NeighborsUpdate(
            model, parameters, threads=how.threads, growth=how.growth, loss_weights=how.loss_weights
        )
    return NetworkUpdate(
        model,
        parameters,
        threads=how.threads,
        devices=how.devices,
        accelerated=how.accelerated,
        beyond_coreml=how.beyond_coreml,
        loss_weights=how.loss_weights,
    )


def _pipeline(model: Model, parameters: Mapping[str, Number], how: _How) -> PipelineUpdate:
    refuse(model, beyond_coreml=how.beyond_coreml)
    last = _updater(model.models[-1], parameters, how)
    return PipelineUpdate(model, last, threads=how.threads, devices=how.devices, accelerated=how.accelerated)


# ── whether it runs ─────────────────────────────────────────────────────────────────────────────
def check_runs(model: Model) -> None:
    """Compile all that a run of the model needs, and of an updatable one its update; of a pipeline each model.

    Raises:
        ModelError: it cannot be run; the message says why.
    """
    if model.models:
        last = model.models[-1]
        staged(model, len(model.models) - 1, last.description.inputs)
        check_runs(last)
    elif model.neighbors is None:
        compile_inference(model)
        if model.updatable:
            compile_training(model)
