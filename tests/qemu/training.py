"""Inside the guest: training, by the command and by the daemon, as events; the last one has the result's SHA-256."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, create_subprocess_exec
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.edge import client, config
from finetuned.edge.demo_data import DROPS, MODEL, TEST
from finetuned.errors import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.edge.broker import Address
    from finetuned.edge.client import Daemon

MANY = {"miniBatchEnd", "epochEnd", "sampleAccepted"}
LAST = {"completed", "failed", "cancelled"}
START_S = 120.0  # an emulated machine takes its time
CONFIGURATION = """\
state = "{room}/state"
[ingest]
settle_s = 1.0
[trigger]
min_new_samples = 50
quiet_s = 2.0
[mqtt]
batch_events_per_second = 1.0
[models.digits]
path = "{model}"
parameters = {{ epochs = {epochs}, seed = 7 }}
"""


async def update(epochs: int) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of `finetuned update`, and its end."""
    out = _room() / "out.mlmodel"
    options = ("-o", str(out), "-p", f"epochs={epochs}", "-p", "seed=7", "--json")
    command = ("-m", "finetuned", "update", str(MODEL), str(TEST), *options)
    process = await create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        event = json.loads(line)
        if event["type"] not in MANY:
            yield event
    await process.wait()
    yield _end(out)


async def daemon(epochs: int) -> AsyncIterator[dict[str, Any]]:
    """Yield what the daemon tells of the task for which pictures are dropped, and its end."""
    room, version = _room(), 0
    file = room / "finetuned.toml"
    file.write_text(CONFIGURATION.format(room=room, model=MODEL, epochs=epochs))
    async with _running(file) as told:
        shutil.copytree(DROPS, room / "state" / "inbox" / "digits", dirs_exist_ok=True)
        async for topic, event in told.events():
            if topic.startswith("event/") and event["type"] not in MANY:
                yield event
                version = event.get("version", 0)
            if topic.startswith("event/") and event["type"] in LAST:
                break
    yield _end(room / "state" / "models" / "digits" / "_" / "versions" / str(version) / "model.mlmodel")


def _room() -> Path:
    """Return a new folder, which goes with the guest."""
    return Path(tempfile.mkdtemp(prefix="finetuned-"))


def _end(result: Path) -> dict[str, Any]:
    sha256 = hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else None
    return {"type": "end", "sha256": sha256}


@asynccontextmanager
async def _running(file: Path) -> AsyncIterator[Daemon]:
    """Run a daemon; yield the line to it once it answers."""
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(file.parent / "run")}
    process = await create_subprocess_exec(
        sys.executable, "-m", "finetuned", "run", "-c", str(file), env=environ
    )
    try:
        async with asyncio.timeout(START_S):
            address = await _address(file, environ)
        async with client.connected(address, events=True, timeout=30.0) as told:
            yield told
    finally:
        process.terminate()
        await process.wait()


async def _address(file: Path, environ: dict[str, str]) -> Address:
    loaded = config.load(file)
    while True:
        try:
            address = client.find(loaded, environ)
            async with client.connected(address, timeout=10.0) as told:
                await told.request("status", timeout=10.0)
        except HostError:
            await asyncio.sleep(0.5)
        else:
            return address
