"""The right updater for a model: one table of kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.update.devices import CPU
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    """Return the updater of a model.

    Args:
        model: an updatable model.
        asked: parameters by name, as Python has them or as text; the model's defaults hold for the others.
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
    del growth
    return NetworkUpdate(
        model,
        resolve(update_of(model), asked, seed=seed),
        threads=threads,
        devices=devices,
        accelerated=accelerated,
        beyond_coreml=beyond_coreml,
        loss_weights=loss_weights,
    )
