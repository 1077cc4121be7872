"""Many workers, one listener, and the listener is away."""

from __future__ import annotations

import asyncio

from finetuned.service import messages as m
from finetuned.service.stream import Stream

PROGRESS = m.MiniBatchEnd(epoch_index=0, mini_batch_index=0, loss_value=1.0)
TOLD = m.Held(held=True)


async def test_progress_is_dropped_others_wait_and_a_last_word_is_always_taken() -> None:
    stream = Stream(limit=2)
    for _ in range(5):
        await stream.put(PROGRESS)
    await stream.put(TOLD)
    await stream.put(TOLD)
    waiting = asyncio.create_task(stream.put(m.Adjusted(learning_rate=1.0)))
    await asyncio.sleep(0)
    assert not waiting.done()
    await stream.put(m.Cancelled())
    listener = stream.reports()
    assert [await anext(listener) for _ in range(5)] == [PROGRESS, PROGRESS, TOLD, TOLD, m.Cancelled()]
    assert await anext(listener) == m.Adjusted(learning_rate=1.0)
    await waiting


async def test_nobody_waits_when_the_end_is_near_and_nothing_is_lost_by_it() -> None:
    stream = Stream(limit=1)
    for _ in range(2):
        await stream.put(TOLD)
    waiting = asyncio.create_task(stream.put(TOLD))
    await asyncio.sleep(0)
    stream.hurry()
    await waiting
    stream.end()
    assert [report async for report in stream.reports()] == [TOLD] * 3
