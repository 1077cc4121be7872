"""Listening to an executor: its one stream, remembered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from finetuned.service import messages as m

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from finetuned.service.executor import Executor

R = TypeVar("R", bound=m.Report)


class Ear:
    """Remembers every report in the order of its coming; `ended` is set when the stream is over."""

    def __init__(self, executor: Executor) -> None:
        self.reports: list[m.Report] = []
        self.ended = asyncio.Event()
        self.on_report: Callable[[m.Report], None] | None = None
        self._executor = executor
        self._news = asyncio.Event()

    async def listen(self) -> None:
        """Listen to the end."""
        async for report in self._executor.events():
            self.reports.append(report)
            if self.on_report is not None:
                self.on_report(report)
            self._news.set()
        self.ended.set()
        self._news.set()

    def of(self, task: str, attempt: int = 1) -> list[m.Report]:
        """Return what an attempt has said so far."""
        return [each for each in self.reports if (each.task, each.attempt) == (task, attempt)]

    async def heard(
        self,
        kind: type[R],
        task: str = "T",
        attempt: int = 1,
        *,
        matches: Callable[[R], bool] = lambda _: True,
    ) -> R:
        """Wait for a report of this kind."""
        while True:
            for each in self.of(task, attempt):
                if isinstance(each, kind) and matches(each):
                    return each
            if self.ended.is_set() or any(isinstance(each, m.LAST) for each in self.of(task, attempt)):
                raise AssertionError(f"{task} {attempt} never said {kind.__name__}: {self.of(task, attempt)}")
            self._news.clear()
            await self._news.wait()

    async def last(self, task: str = "T", attempt: int = 1) -> m.Report:
        """Wait for an attempt's last word."""
        return await self.heard(m.Report, task, attempt, matches=lambda each: isinstance(each, m.LAST))

    async def completed(self, task: str = "T", attempt: int = 1) -> m.Completed:
        """Wait for an attempt's last word, which is that it is completed."""
        last = await self.last(task, attempt)
        assert isinstance(last, m.Completed), last
        return last


@contextlib.asynccontextmanager
async def listening(executor: Executor) -> AsyncIterator[Ear]:
    """Listen to an executor, and close it in the end."""
    ear = Ear(executor)
    task = asyncio.create_task(ear.listen())
    try:
        yield ear
    finally:
        await executor.close()
        await task
