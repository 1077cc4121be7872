"""What is done for tasks before they have a worker, and may be broken off: their samples are decoded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Preparations:
    """At most one for each task."""

    def __init__(self) -> None:
        """Nothing is being prepared."""
        self._works: dict[str, asyncio.Task[Any]] = {}

    async def done(self, task: str, work: Coroutine[Any, Any, T]) -> T | None:
        """Do the work and return its result; None where it was broken off."""
        self._works[task] = doing = asyncio.create_task(work)
        try:
            await asyncio.wait({doing})
            return None if doing.cancelled() else doing.result()
        finally:
            del self._works[task]
            doing.cancel()

    def break_off(self, task: str | None = None) -> None:
        """Break off what is being done for a task, or for all; what was decoded so far is kept."""
        for name, work in self._works.items():
            if task in {None, name}:
                work.cancel()
