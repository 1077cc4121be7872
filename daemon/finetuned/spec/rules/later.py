"""What Core ML can update and this version of finetuned cannot yet: one table.

A row that is taken out is a feature that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec.names import quoted
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.paths import passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.rules.case import Case

NOT_YET = frozenset({"uniDirectionalLSTM"})
"""Types of layers whose gradient is missing."""


def layers(case: Case) -> Iterator[Reason]:
    """A layer is passed by the gradient, whose gradient is not there yet."""
    for layer in passed(case):
        if layer.type in NOT_YET:
            yield Reason(
                rule="layerLater",
                layer=layer.name,
                message=f"the layer {quoted(layer.name)} is of type {layer.type}: Core ML's format lets a gradient pass it, "
                "this version of finetuned has none for it",
                remedy="train layers after it only",
            )
