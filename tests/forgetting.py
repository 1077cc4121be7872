"""Forgetting over a bench: no inbox is watched, and each model takes what the fakes take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakes import INFO, MODEL
from finetuned.service.forgetting import Forgetting
from finetuned.service.places import intake

if TYPE_CHECKING:
    from benches import Bench


async def at_no_inbox() -> None:
    """Look at nothing."""


def forgetting_of(bench: Bench) -> Forgetting:
    """Return what forgets for this bench."""
    taken = {MODEL: intake(INFO, {"rock": "✊"})}
    return Forgetting(
        desk=bench.desk, tasks=bench.tasks, turn=asyncio.Lock(), intakes=lambda: taken, relook=at_no_inbox
    )
