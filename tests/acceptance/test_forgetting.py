"""Versions chosen and people forgotten, shown on a real daemon with a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acceptance.house import LONG, digits, drop_digits
from finetuned.edge.payloads import VERBS
from service.samples import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

USER = "brünhilde"
ALL = f"allow = {list(VERBS)}"


def traces(root: Path, *words: bytes) -> set[str]:
    """Return what below the state folder, the inbox apart, holds one of the words in its name or content."""
    found = set()
    for path in root.rglob("*"):
        name = bytes(path.relative_to(root))
        content = path.read_bytes() if path.is_file() else b""
        if not name.startswith(b"inbox") and any(word in name or word in content for word in words):
            found.add(str(path.relative_to(root)))
    return found


async def test_versions_go_forth_and_back_by_request(tmp_path: Path) -> None:
    async with digits(tmp_path, mqtt=ALL) as house:
        drop_digits(house)
        await house.ear.event("completed")
        link = house.state / "models/digits/_/current"
        for verb, more, version, before in [
            ("promote", {"version": 0}, 0, 1),
            ("promote", {"version": 1}, 1, 0),
        ]:
            answer = await house.request(verb, model="digits", **more)
            assert answer["data"] == {
                "model": "digits",
                "user": "",
                "version": version,
                "fromVersion": before,
            }
            assert link.is_symlink() is bool(version)
        answer = await house.request("rollback", model="digits")
        assert (answer["data"]["version"], answer["data"]["fromVersion"]) == (0, 1)
        told = await house.ear.event("rolledBack")
        assert (told["version"], told["fromVersion"]) == (0, 1)
        await house.ear.until(
            lambda: house.ear.retained["model/digits/state"]["current"] is None, "the base is in use"
        )
        refused = await house.request("rollback", model="digits")
        assert "there are 0 (the base), 1" in refused["error"]
        assert (await house.request("rescan"))["data"] == {"waitingSamples": 0}


async def test_a_user_is_forgotten_in_the_middle_of_a_task_and_nothing_of_him_is_left(tmp_path: Path) -> None:
    async with digits(tmp_path, parameters=LONG, users="true", mqtt=ALL) as house:
        drop_digits(house, place=f"digits/{USER}")
        task = (await house.ear.event("miniBatchEnd"))["task"]
        (sample, *_) = (house.state / f"models/digits/{USER}/samples").rglob("*-*")
        marker, name = sample.read_bytes(), sample.name.partition("-")[2]
        answer = await house.request("forget", model="digits", user=USER)
        assert answer["data"] == {"model": "digits", "user": USER, "samples": 100, "versions": 0}
        told = await house.ear.event("forgotten")
        assert (told["user"], told["samples"]) == (USER, 100)
        cleared = ("model/digits/br%C3%BCnhilde/state", f"task/{task}/state")
        await house.ear.until(
            lambda: [house.ear.retained[topic] for topic in cleared] == [{}, {}], "both states are cleared"
        )
        # The answer itself is remembered for a day, as every answer is.
        await until(lambda: not traces(house.state, marker, name.encode(), task.encode()))
        assert traces(house.state, USER.encode()) <= {"ledger.db", "ledger.db-wal"}
        repeated = await house.request("forget", model="digits", user=USER)
        assert repeated["error"] == "there is no such user of model digits"
        assert await house.stop() == 0
        assert house.log.count("Traceback") == 0


async def test_a_model_that_is_configured_is_there_again_after_the_next_start_without_what_it_had(
    tmp_path: Path,
) -> None:
    async with digits(tmp_path, mqtt=ALL) as house:
        drop_digits(house)
        await house.ear.event("completed")
        answer = await house.request("forget", model="digits")
        assert (answer["data"]["samples"], answer["data"]["versions"]) == (100, 1)
        await house.ear.until(lambda: house.ear.retained["model/digits/state"] == {}, "it is cleared")
        assert list((house.state / "models").iterdir()) == []
        house.drop("digits/0/late.png", b"no picture")
        await house.ear.event("sampleWaiting", reason="no model named digits is registered")
        assert await house.stop() == 0
        await house.start()
        await house.ear.event("sampleRejected", name="late.png")
        state = house.ear.retained["model/digits/state"]
        assert (state["current"], state["samples"]) == (None, {})
