"""The main job with real parts: a daemon's process, mosquitto, folders, sensors in a made-up sysfs, real pictures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acceptance.house import ENDINGS, LONG, House, a_house, digits, drop_digits, version_sha
from brokers import MOSQUITTO
from finetuned.edge.demo_data import DROPS, MODEL, TEST, pictures, truncated
from shared import missing, shared

if TYPE_CHECKING:
    from collections.abc import Iterator

# structlog tries `import rich`, in vain: the attempt is seen here, what it would have loaded is not.
NEVER_IN_THE_DAEMON = (
    "numpy",
    "onnx",
    "onnxruntime",
    "google.protobuf",
    "PIL",
    "rich.console",
    "coremltools",
)

pytestmark = pytest.mark.timeout(180)


# ── the story ───────────────────────────────────────────────────────────────────────────────────
async def test_dropped_pictures_become_a_better_model_that_is_told_about_in_order(tmp_path: Path) -> None:
    async with digits(tmp_path) as house:
        first, last = pictures(DROPS)[0], pictures(DROPS)[-1]
        drop_digits(house)
        house.drop(f"digits/{first.label}/again.png", first.path)
        house.drop(f"digits/{last.label}/broken.png", truncated(last.path.read_bytes()))
        completed = await house.ear.event("completed")

        events = house.ear.events()
        assert sum(e.get("count", 1) for e in events if e["type"] == "sampleAccepted") == 100
        rejected = {e["name"]: e["reason"] for e in events if e["type"] == "sampleRejected"}
        assert "damaged" in rejected["broken.png"]
        duplicates = [e for e in events if e["type"] == "sampleRejected" and "duplicate" in e["reason"]]
        assert sum(e.get("count", 1) for e in duplicates) == 1
        assert "damaged" in (house.state / f"rejected/digits/{last.label}/broken.png.txt").read_text()
        assert not [path for path in house.inbox.rglob("*") if path.is_file()]

        course = [e["type"] for e in events if e.get("task")]
        assert course[0] == "trainingBegin"
        assert [kind for kind in course if kind in ENDINGS] == ["completed"]
        epochs = [e["metrics"]["epochIndex"] for e in house.ear.events("epochEnd")]
        assert epochs == list(range(30))
        steps = [
            (e["metrics"]["epochIndex"], e["metrics"]["miniBatchIndex"])
            for e in house.ear.events("miniBatchEnd")
        ]
        assert steps
        assert steps == sorted(steps)
        assert course.index("modelSaved") < course.index("completed")

        assert completed["promotion"] == "promoted"
        assert completed["after"]["accuracy"] > completed["before"]["accuracy"]
        current = house.state / "models/digits/_/current"
        assert str(current.readlink()) == "versions/1"
        card = json.loads((current / "card.json").read_text())
        assert card["sha256"] == version_sha(house)
        assert sum(card["samples"].values()) == 100

        await house.ear.until(
            lambda: house.ear.retained.get("model/digits/state", {}).get("current") == 1, "the model's state"
        )
        await house.ear.until(
            lambda: house.ear.retained[f"task/{completed['task']}/state"] == {}, "the task's state cleared"
        )
        assert house.resident_mb < 50
        assert await house.stop() == 0
        assert house.ear.retained["availability"] == {"availability": "offline"}

        imported = {
            line.rpartition("|")[2].strip()
            for line in house.log.splitlines()
            if line.startswith("import time:")
        }
        assert {"asyncio", "aiomqtt", "finetuned.service.tasks"} <= imported
        assert not [
            name
            for name in imported
            if name in NEVER_IN_THE_DAEMON or name.startswith(tuple(f"{n}." for n in NEVER_IN_THE_DAEMON))
        ]
        assert not (tmp_path / "home/.cache/Microsoft").exists(), "onnxruntime's telemetry left its device id"


async def test_a_model_dropped_into_the_inbox_is_registered_and_files_that_waited_for_it_are_taken(
    tmp_path: Path,
) -> None:
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    async with a_house(tmp_path, least=5) as house:
        await house.start()
        for picture in pictures(DROPS)[:10]:
            house.drop(f"numbers/{picture.label}/{picture.path.name}", picture.path)
        waiting = await house.ear.event("sampleWaiting")
        assert waiting["model"] == "numbers"
        house.drop("broken.mlmodel", b"PK\x03\x04 no model at all")
        house.drop("numbers.mlmodel", MODEL)
        completed = await house.ear.event("completed", model="numbers")
        assert completed["samples"] == 10
        assert "zip" in (house.state / "rejected/broken.mlmodel.txt").read_text()


async def test_photographs_of_hands_are_learned_through_the_inbox(tmp_path: Path) -> None:
    model = shared("updatable_built/Hands_MobileNetV1_025_updatable.mlmodel")
    photographs = shared("rock_paper_scissors") / "train"
    if MOSQUITTO is None:
        missing("left out: mosquitto is not installed (apt-get install mosquitto)")
    hands = f'[models.hands]\npath = "{model}"\nlabels = {{ rock = "✊", paper = "✋", scissors = "✌️" }}\n'
    async with a_house(tmp_path, least=30, more=hands + "parameters = { epochs = 30 }\n") as house:
        await house.start()
        for path in sorted(photographs.glob("*/*")):
            house.drop(f"hands/{path.parent.name}/{path.name}", path)
        completed = await house.ear.event("completed")
        assert completed["samples"] == 30
        assert completed["promotion"] == "promoted"
        begin = house.ear.events("trainingBegin")[0]
        assert begin["samples"] == {"✊": 10, "✋": 10, "✌️": 10}


# ── the budget ──────────────────────────────────────────────────────────────────────────────────
async def test_a_hot_zone_pauses_the_task_and_cooling_lets_it_go_on_to_the_same_bytes(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        await house.ear.event("epochEnd")
        house.sysfs.heat(90)
        paused = await house.ear.event("paused")
        assert paused["reasons"] == ["thermal"]
        assert (paused["reading"], paused["trip"]) == (90.0, 80.0)
        state = await house.ear.until(
            lambda: next(
                (p for t, p in house.ear.heard if t.startswith("task/") and p.get("reasons") == ["thermal"]),
                None,
            ),
            "the task's state say thermal",
        )
        assert state["state"] == "suspended"
        assert state["pace"] == "paused"
        assert not house.ear.events(*ENDINGS)
        house.sysfs.heat(40)
        await house.ear.event("resumed")
        await house.ear.event("paceChanged", pace="full")
        await house.ear.event("completed")
        assert version_sha(house) == undisturbed


async def test_an_unplugged_battery_slows_the_task_and_a_drained_one_holds_it(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        house.sysfs.power("Charging", 90)
        drop_digits(house)
        await house.ear.event("epochEnd")
        house.sysfs.power("Discharging", 80)
        slowed = await house.ear.event("paceChanged", pace="slow")
        assert slowed["duty"] == 0.5
        assert slowed["reasons"] == ["battery"]
        house.sysfs.power("Discharging", 20)
        paused = await house.ear.event("paused")
        assert paused["reasons"] == ["battery"]
        assert paused["reading"] == 20.0
        house.sysfs.power("Charging", 21)
        await house.ear.event("resumed")
        await house.ear.event("completed")
        assert version_sha(house) == undisturbed


# ── power cuts ──────────────────────────────────────────────────────────────────────────────────
async def test_a_daemon_that_is_killed_in_the_middle_of_training_finishes_the_task_after_its_restart(
    tmp_path: Path, undisturbed: str
) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        task = (await house.ear.event("epochEnd"))["task"]
        await house.kill()
        await house.ear.until(
            lambda: house.ear.retained["availability"] == {"availability": "offline"}, "the last will"
        )
        assert not house.ear.events(*ENDINGS)
        await house.start()
        completed = await house.ear.event("completed")
        assert completed["task"] == task
        assert house.ear.events("trainingBegin")[-1]["attempt"] == 2
        assert [e["type"] for e in house.ear.events(*ENDINGS)] == ["completed"]
        assert version_sha(house) == undisturbed


async def test_a_daemon_that_is_stopped_goes_on_after_its_next_start(tmp_path: Path) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        await house.ear.event("epochEnd")
        assert await house.stop() == 0
        assert house.ear.events("paused")[-1]["reasons"] == ["shutdown"]
        await house.start()
        await house.ear.event("completed")
        assert [e["type"] for e in house.ear.events(*ENDINGS)] == ["completed"]


async def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_fails_its_task(tmp_path: Path) -> None:
    async with digits(tmp_path, parameters=LONG) as house:
        drop_digits(house)
        for attempt in (1, 2, 3):
            await house.ear.event("epochEnd", attempt=attempt)
            assert house.worker
            os.kill(house.worker, 9)
        failed = await house.ear.ending()
        assert failed["type"] == "failed"
        assert failed["fault"] == "host"
        assert "signal 9" in failed["error"]
        status = await house.request("status")
        assert status["data"]["state"]["running"] == []


# ── requests ────────────────────────────────────────────────────────────────────────────────────
async def test_a_person_trains_pauses_resumes_and_cancels_over_mqtt(tmp_path: Path) -> None:
    async with digits(tmp_path, least=1000) as house:
        drop_digits(house, 20)
        await house.ear.until(
            lambda: sum(e.get("count", 1) for e in house.ear.events("sampleAccepted")) == 20, "20 samples"
        )

        refused = await house.request("train", model="digits", parameters={"epochs": 0})
        assert refused["status"] == "error"
        assert "1 to 1000" in refused["error"]
        assert "digits" in (await house.request("train", model="digitz"))["error"]

        task = (await house.request("train", model="digits", parameters=LONG))["data"]["task"]
        await house.ear.event("epochEnd", task=task)
        assert (await house.request("pause", task=task))["status"] == "ok"
        assert (await house.ear.event("paused", task=task))["reasons"] == ["user"]
        wrong = await house.request("resume", task=task, parameters={"epochs": 5})
        assert "learningRate" in wrong["error"]
        await house.request("resume", task=task, parameters={"learningRate": 0.001})
        await house.ear.event("resumed", task=task)
        assert (await house.request("cancel", task=task))["status"] == "ok"
        assert (await house.ear.ending())["type"] == "cancelled"
        assert not (house.state / "models/digits/_/versions").exists()

        again = (await house.request("train", model="digits", parameters={"epochs": 2}))["data"]["task"]
        assert (await house.ear.event("completed", task=again))["samples"] == 20
        assert not (house.state / "tasks" / task).exists()  # it goes after the outcome is told
        assert (await house.request("cancel", task=again))["status"] == "error"


async def test_a_monstrous_topic_ends_nobody(tmp_path: Path) -> None:
    async with digits(tmp_path) as house:
        await house.client.publish(f"finetuned/{await house.node()}/request/{'é' * 12_000}", "{}", qos=1)
        assert (await house.request("status"))["status"] == "ok"


# ── starting and stopping ───────────────────────────────────────────────────────────────────────
async def command(house: House, *words: str) -> tuple[int, str, str]:
    """Run the command line in the house's environment; return status, stdout, stderr."""
    environ = {key: value for key, value in house.environ.items() if key != "PYTHONPROFILEIMPORTTIME"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "finetuned", *words),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_service_manager_hears_that_the_daemon_is_ready_and_that_it_stops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0)
        async with digits(tmp_path) as house:
            assert await house.stop() == 0
        said = "\n".join(_datagrams(manager))
    assert said.startswith("READY=1\n")
    assert "STATUS=idle, pace full" in said
    assert "STOPPING=1" in said


def _datagrams(listener: socket.socket) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield listener.recv(4096).decode()


async def test_the_commands_see_the_daemon_and_the_store(tmp_path: Path) -> None:
    async with digits(tmp_path) as house:
        config = ("-c", str(tmp_path / "finetuned.toml"))
        drop_digits(house)
        completed = await house.ear.event("completed")

        status, out, _ = await command(house, "status", "--json", *config)
        seen = json.loads(out)
        assert status == 0
        assert seen["models"][0]["current"] == 1

        _, out, _ = await command(house, "versions", "digits", "--json", *config)
        (version,) = json.loads(out)["versions"]
        assert version["current"]
        assert version["after"]["accuracy"] == completed["after"]["accuracy"]

        _, out, _ = await command(house, "models", "--json", *config)
        assert sum(json.loads(out)["models"][0]["samples"].values()) == 100

        improved = house.state / "models/digits/_/current/model.mlmodel"
        _, out, _ = await command(house, "evaluate", str(improved), str(TEST), "--json")
        assert json.loads(out)["accuracy"] > 0.8

        status, _, err = await command(house, "run", *config)
        assert status == 2
        assert "already in use" in err


async def test_a_model_that_a_command_adds_is_seen_by_the_running_daemon(tmp_path: Path) -> None:
    async with digits(tmp_path, least=10) as house:
        config = ("-c", str(tmp_path / "finetuned.toml"))
        status, out, _ = await command(house, "add", str(MODEL), "--name", "second", "--json", *config)
        assert status == 0
        assert (Path(json.loads(out)["inbox"]) / "7").is_dir()
        for picture in pictures(DROPS)[:10]:
            house.drop(f"second/{picture.label}/{picture.path.name}", picture.path)
        assert (await house.ear.event("completed", model="second"))["samples"] == 10
