"""No update of a model that cannot be updated: every reason is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.spec import check

if TYPE_CHECKING:
    from finetuned.spec.model import Model

_BEYOND = "; --beyond-coreml (beyond_coreml in Python and in the configuration) trains it as it is, outside of Core ML"


def refuse(model: Model, *, beyond_coreml: bool = False) -> None:
    """Raise `ModelError` where the model cannot be updated."""
    refused = check.reasons(model, beyond_coreml=beyond_coreml)
    if refused:
        way_out = "" if beyond_coreml or check.reasons(model, beyond_coreml=True) else _BEYOND
        raise ModelError(
            f"the model cannot be updated: {'; '.join(reason.message for reason in refused)}{way_out}"
        )
