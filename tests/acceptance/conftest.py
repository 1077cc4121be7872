"""What the acceptance tests compare with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acceptance.house import LONG, digits, drop_digits, version_sha

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the SHA-256 of what a long task ends in when nothing happens to it."""

    async def run(folder: Path) -> str:
        async with digits(folder, parameters=LONG) as house:
            drop_digits(house)
            completed = await house.ear.event("completed")
            assert version_sha(house) == house.ear.events("modelSaved")[0]["sha256"]
            assert completed["version"] == 1
            return version_sha(house)

    return asyncio.run(run(tmp_path_factory.mktemp("undisturbed")))
