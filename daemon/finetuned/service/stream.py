"""Reports on their way from many workers to one listener, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from finetuned.service.messages import LAST, Heartbeat, MiniBatchEnd, Prepared, Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROGRESS = (MiniBatchEnd, Prepared, Heartbeat)
"""What is dropped where nobody listens; everything else waits, and its worker with it."""
LIMIT = 1000


class Stream:
    """Takes reports and gives them to one listener, in order.

    From `limit` waiting reports on, progress is dropped; from twice as many on, whoever brings another has to wait.  A last
    word is always taken.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: deque[Report] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._hurries = self._ended = False

    async def put(self, report: Report) -> None:
        """Take a report, in its turn."""
        if isinstance(report, PROGRESS) and len(self._waiting) >= self._limit:
            return
        while not self._hurries and not isinstance(report, LAST) and len(self._waiting) >= 2 * self._limit:
            self._room.clear()
            await self._room.wait()
        self.post(report)

    def post(self, report: Report) -> None:
        """Take a report at once."""
        self._waiting.append(report)
        self._news.set()

    def hurry(self) -> None:
        """Let nobody wait any more: the end is near, and what comes until then is not much."""
        self._hurries = True
        self._room.set()

    def end(self) -> None:
        """Nothing comes any more; what is here can still be listened to."""
        self._ended = True
        self._news.set()

    async def reports(self) -> AsyncIterator[Report]:
        """Yield every report, until the end."""
        while True:
            while self._waiting:
                report = self._waiting.popleft()
                self._room.set()
                yield report
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
