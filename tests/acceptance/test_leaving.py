"""How a daemon leaves: asked more than once, its ledger taken away, its configuration at odds with what it knows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from acceptance.house import LONG, PATIENCE_S, digits, drop_digits
from finetuned.edge.demo_data import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from acceptance.house import House

pytestmark = pytest.mark.timeout(180)


async def left(house: House) -> int:
    """Wait until the daemon has left; return the exit status."""
    assert house.process
    async with asyncio.timeout(PATIENCE_S):
        return await house.process.wait()


async def test_a_daemon_that_is_asked_again_and_again_leaves_once_and_cleanly(tmp_path: Path) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        await house.ear.event("epochEnd")
        assert house.process
        leaving = asyncio.create_task(left(house))
        while not leaving.done():
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(house.process.pid, number)  # send_signal would take the exit status from `wait`
            await asyncio.wait({leaving}, timeout=0.001)
        assert leaving.result() == 0, house.said
        assert house.log.count('"stopping"') == 1
        assert "Traceback" not in house.log
        assert (await house.ear.event("paused"))["reasons"] == ["shutdown"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_daemon_whose_state_folder_is_taken_away_says_so_and_leaves(
    tmp_path: Path, *, replaced: bool
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        await house.ear.event("epochEnd")
        aside = house.state.rename(tmp_path / "aside")
        if replaced:
            house.state.mkdir()
            shutil.copyfile(aside / "ledger.db", house.state / "ledger.db")
        assert await left(house) == 1, house.said
        what = "was replaced by another file" if replaced else "is gone"
        assert f"host: the ledger {house.state / 'ledger.db'} {what}" in house.said
        assert "Traceback" not in house.said
        assert not house.ear.events("completed")


async def test_a_configured_model_whose_name_is_taken_is_a_mistake_that_no_restart_mends(
    tmp_path: Path,
) -> None:
    async with digits(tmp_path) as house:
        assert await house.stop() == 0
        other = tmp_path / "other.mlmodel"
        other.write_bytes(
            MODEL.read_bytes() + b"\x92\x3f\x00"
        )  # a field that nobody knows, and it is another file
        house.more = f'[models.digits]\npath = "{other}"\n'
        with pytest.raises(AssertionError, match=r"the daemon has ended \(2\)"):
            await house.start()
        assert "configuration: models.digits: a model named digits is registered already" in house.said
        assert "Traceback" not in house.said
