"""The way from the steps of a task to somebody's event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Item = TypeVar("Item")


class Stream(Generic[Item]):
    """An async iterator that says when it is let go: an `async for` that is left, however, drops its iterator.

    An async generator would say so too, but later: when the loop comes round to closing it.  `aclose` lets go at once,
    though somebody keeps the iterator: `contextlib.aclosing` calls it.

    Args:
        advance: returns the next item, or None at the end.
        let_go: called once nobody can ask for another item.
    """

    def __init__(self, advance: Callable[[], Awaitable[Item | None]], let_go: Callable[[], None]) -> None:
        self._advance = advance
        self._let_go = let_go

    def __aiter__(self) -> Stream[Item]:
        """Return itself."""
        return self

    async def __anext__(self) -> Item:
        """Return the next item."""
        item = await self._advance()
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Let go: there is no next item."""
        self._let_go()

    def __del__(self) -> None:
        """Tell."""
        self._let_go()


async def in_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread and wait until it is over, whatever happens; a cancellation is raised after that.

    Not `asyncio.to_thread`, which leaves the thread to itself when it is cancelled.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    running.result()
