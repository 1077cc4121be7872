"""Brokers and lines that fail: nothing is lost, nothing is told in the wrong order, nothing is retained that should not be."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

import faults
import scripts
from bridges import DEADLINE_S
from fault_rows import ROWS, SCRIPTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder's own
            found += str(descriptor.readlink()).startswith("socket:")
    return found


@pytest.fixture(autouse=True)
async def clean(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """No traceback, no error that nobody caught, no task and no socket is left of a fault."""
    uncaught: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: uncaught.append(context))
    before, tasks = sockets(), len(asyncio.all_tasks())
    with capture_logs() as logs:
        yield
    async with asyncio.timeout(DEADLINE_S):
        while len(asyncio.all_tasks()) > tasks or sockets() > before:
            gc.collect()
            await asyncio.sleep(0.01)
    gc.collect()
    assert uncaught == []
    assert [entry for entry in logs if entry["log_level"] == "error"] == []
    ours = [record for record in caplog.records if not record.name.startswith(("amqtt", "transitions"))]
    assert [record.getMessage() for record in ours if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [pytest.param(kind, row.key, id=f"{row.key}-{kind}") for row in ROWS for kind in row.brokers],
)
async def test_a_fault_loses_nothing_and_leaves_nothing(kind: str, key: str, tmp_path: Path) -> None:
    await faults.run(kind, key, tmp_path)


@pytest.mark.parametrize(
    ("key", "mqtt5"),
    [
        pytest.param(row.key, mqtt5, id=f"{row.key}-{'5' if mqtt5 else '3.1.1'}")
        for row in SCRIPTS
        for mqtt5 in (True, False)
        if mqtt5 or row.key not in scripts.ONLY_MQTT_5
    ],
)
async def test_nonsense_and_refusals_lose_nothing_and_leave_nothing(
    key: str, tmp_path: Path, *, mqtt5: bool
) -> None:
    await scripts.run(key, tmp_path, mqtt5=mqtt5)
