"""`kill -9` at every change of the disk, again and again on one state folder: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from service.inbox import running
from service.ingest_child import MOST, Simple

FEW = 30  # steps that an ingestion of four files makes at least


async def driven(root: Path) -> int:
    """Let the driver drop four files a round and be killed; return in how many rounds."""
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.ingest_child", str(root)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await driver.communicate()
    assert driver.returncode == 0
    return int(said)


@pytest.mark.timeout(300)
async def test_killed_at_every_step_it_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    rounds = await driven(tmp_path)
    assert rounds > FEW
    async with running(tmp_path, decoders=Simple()) as run:
        samples = await run.samples()
        assert len(samples) == MOST + rounds
        assert Counter(sample.label for sample in samples) == {"rock": MOST, "paper": rounds}
        assert run.kept() == sorted(sample.path.removeprefix("models/") for sample in samples)
        assert sorted(run.rejected()) == sorted(f"gestures/rock/bad-{n}.png" for n in range(1, rounds + 1))
        told = Counter[str]()
        for event in await run.told():
            told[event.get("reason") or event["type"]] += event.get("count", 1)
        assert told == {
            "sampleAccepted": MOST + rounds,
            "relabelled": rounds,
            "duplicate": rounds,
            **{f"bad-{n}.png is bad": 1 for n in range(1, rounds + 1)},
        }
        assert list(run.store.incoming.iterdir()) == []
