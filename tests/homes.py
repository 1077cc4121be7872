"""A real Home Assistant for the tests, in a process of its own, under a Python that has it."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared import missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.edge.broker import Address

SCRIPTS = Path(__file__).parent / "homeassistant"
PATIENCE_S = 60


def homeassistant_python() -> str:
    """Return the Python that has Home Assistant."""
    python = os.environ.get("FINETUNED_HOMEASSISTANT", "")
    if not python:
        missing(
            "left out: Home Assistant is not installed (a Python that has it: FINETUNED_HOMEASSISTANT; docs/home-assistant.md)"
        )
    return python


@dataclass(frozen=True, slots=True)
class Home:
    """Home Assistant, asked line by line."""

    process: asyncio.subprocess.Process

    async def ask(self, *what: object) -> Any:  # noqa: ANN401 - JSON
        """Ask one of the verbs of `homeassistant/home.py`; return its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Any:  # noqa: ANN401 - JSON
        """Return the next line."""
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        assert line, "Home Assistant has ended; its last words are on standard error"
        said = json.loads(line)
        assert not (isinstance(said, dict) and "error" in said), said["error"]
        return said

    async def wait(self, **expected: str | None) -> None:
        """Wait until entities have states, by `<platform>__<rest of the id>`; None: until they are gone."""
        wrong = await self.ask(
            "wait", {name.replace("__", ".", 1): state for name, state in expected.items()}
        )
        assert not wrong, wrong

    async def troubles(self) -> list[str]:
        """Return what its MQTT integration and its templates warned of since the last time."""
        lines = await self.ask("log")
        return [line for line in lines if "components.mqtt" in line or "helpers.template" in line]


@asynccontextmanager
async def at_home(address: Address, folder: Path, configuration: str = "") -> AsyncIterator[Home]:
    """Run Home Assistant with the broker; `configuration` is its configuration.yaml."""
    where = (
        address.host,
        str(address.port),
        address.username,
        address.password,
        _configured(folder, configuration),
    )
    process = await asyncio.create_subprocess_exec(
        homeassistant_python(),
        str(SCRIPTS / "home.py"),
        *where,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        home = Home(process)
        assert await home.answer() == "ready"
        yield home
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _configured(folder: Path, configuration: str) -> str:
    folder.mkdir()
    (folder / "configuration.yaml").write_text(configuration)
    return str(folder)
