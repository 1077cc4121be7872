"""What makes a model leave Core ML's territory: finetuned trains it where it is asked to, Apple's run time never will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec.names import listed, quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.paths import BEYOND, CORE_ML, kind, passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.rules.case import Case

REFUSED = "Apple's run time will refuse to train this model"


def layers(case: Case) -> Iterator[Reason]:
    """A gradient passes a layer that Core ML's does not."""
    for layer in passed(case):
        if BEYOND.passes(layer) and not CORE_ML.passes(layer):
            yield Reason(
                rule="beyondLayer",
                layer=layer.name,
                message=f"the gradient passes the layer {quoted(layer.name)} ({kind(layer)}), which Core ML does not support: {REFUSED}",
                remedy=f"train layers after {quoted(layer.name)} only, to stay within Core ML",
            )


def losses(case: Case) -> Iterator[Reason]:
    """There is more than one loss."""
    names = listed([loss.name for loss in case.losses])
    if len(case.losses) > 1:
        yield Reason(
            rule="beyondLosses",
            message=f"the model has {len(case.losses)} losses ({names}), and Core ML supports one: {REFUSED}",
            remedy="keep one loss, to stay within Core ML",
        )
