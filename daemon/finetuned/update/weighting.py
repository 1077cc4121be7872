"""The weights of several losses in the one that is trained, by name: as a run asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import ParameterError
from finetuned.graph.goals import losses_of, source_of
from finetuned.parameters import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.spec.model import Loss, Model


def weights_of(model: Model, asked: Mapping[str, object]) -> dict[str, float]:
    """Return the weight of each loss by the loss's name, 1 where none is asked for; nothing for a model with one loss.

    Args:
        model: the model that is updated.
        asked: weights by the loss's name or by its target's, numbers or text.

    Raises:
        ParameterError: a name that is not there, or there twice, a weight that is no finite number above 0, or any
            weight where there are not several losses.
    """
    found = losses_of(model)
    if len(found) < 2:  # noqa: PLR2004 - several
        if asked:
            raise ParameterError(
                "the model has one loss, and weights are for several; set the learningRate instead"
                if found
                else "the model has no loss, and weights are for several"
            )
        return {}
    weights = {loss.name: 1.0 for loss in found}
    taken: set[str] = set()
    for name, value in asked.items():
        loss = _named(model, found, name)
        if loss.name in taken:
            raise ParameterError(f"the loss {loss.name!r} is given two weights")
        taken.add(loss.name)
        weights[loss.name] = _weight(loss.name, value)
    return weights


def _named(model: Model, losses: tuple[Loss, ...], name: str) -> Loss:
    """Return the loss of this name, or else the only one with this target."""
    by_name = [loss for loss in losses if loss.name == name]
    by_target = [loss for loss in losses if name in {loss.target, source_of(model, loss)}]
    if len(found := by_name or by_target) == 1:
        return found[0]
    known = ", ".join(f"{loss.name!r} (target {source_of(model, loss)!r})" for loss in losses)
    count = f"are {len(found)} losses" if found else "is no loss"
    raise ParameterError(f"there {count} {name!r}; there is {known}")


def _weight(name: str, value: object) -> float:
    """Return the number that the graph computes with, a float32."""
    with np.errstate(over="ignore", under="ignore"):
        weight = float(np.float32(number_of(value)))
    if not 0 < weight < float("inf"):
        raise ParameterError(
            f"the weight of the loss {name!r} is {value!r}; allowed: a finite number above 0"
        )
    return weight
