"""The command line on other people's models and pictures: what a person types, and what a script reads."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import builders
from acceptance.house import PATIENCE_S, Sysfs, digits, drop_digits
from bridges import bridged
from brokers import PASSWORD, USER, running
from finetuned.edge.demo_data import DROPS, MODEL, TEST
from finetuned.files import aside
from shared import shared

if TYPE_CHECKING:
    from brokers import BrokerProcess

HANDS = ("--label", "rock=✊", "--label", "paper=✋", "--label", "scissors=✌️")
SHORT = ("-p", "epochs=3")
TASK_STATE = (
    b'{"task":"t1","model":"gestures","user":"anna","state":"running","reasons":[],"epoch":1,"epochs":2,"batch":0,'
    b'"batches":4,"progress":0.5,"etaSeconds":1.5,"lossValue":0.25,"device":"cpu","pace":"full"}'
)


def finetuned(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for its end."""
    command = [sys.executable, "-P", "-m", "finetuned", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return what was printed: JSON lines and nothing else."""
    return [json.loads(line) for line in done.stdout.splitlines()]


# ── update and evaluate ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("model", "right"), [("Hands_MobileNetV2_int8_updatable", 12), ("Hands_MobileNetV1_025_updatable", 9)]
)
@pytest.mark.parametrize("seed", [0, 7])
def test_hands_are_learned_as_well_as_published(tmp_path: Path, model: str, right: int, seed: int) -> None:
    photographs = shared("rock_paper_scissors")
    base, out = shared(f"updatable_built/{model}.mlmodel"), tmp_path / "out.mlmodel"
    parameters = ("-p", "epochs=30", "-p", f"seed={seed}")
    updated = finetuned("update", base, photographs / "train", "-o", out, *parameters, *HANDS, "--json")
    assert updated.returncode == 0, updated.stderr
    assert updated.stderr == ""
    told = lines(updated)
    assert [event["type"] for event in told if event["type"] != "miniBatchEnd"] == [
        "trainingBegin",
        *["epochEnd"] * 30,
        "completed",
    ]
    assert sum(event["type"] == "miniBatchEnd" for event in told) == 30 * 4
    measured = finetuned("evaluate", out, photographs / "test", *HANDS, "--json")
    (report,) = lines(measured)
    assert round(report["accuracy"] * report["samples"]) == right
    assert report["samples"] == 15


def test_nearest_neighbours_know_hands_as_well_as_published(tmp_path: Path) -> None:
    photographs = shared("rock_paper_scissors")
    base, out = (
        shared("updatable_built/HandskNN_MobileNetV2_int8_updatable.mlmodel"),
        tmp_path / "out.mlmodel",
    )
    updated = finetuned(
        "update", base, photographs / "train", "-o", out, "-p", "numberOfNeighbors=1", "--json"
    )
    assert updated.returncode == 0, updated.stderr
    begin, done = lines(updated)
    assert (begin["type"], begin["epochs"], done["type"]) == ("trainingBegin", 0, "completed")
    assert (done["after"]["accuracy"], done["after"]["lossValue"]) == (1.0, None)
    measured = finetuned("evaluate", out, photographs / "test", "-p", "numberOfNeighbors=3", "--json")
    (report,) = lines(measured)
    assert (report["accuracy"], report["loss"], report["samples"]) == (0.8, None, 15)


def test_validation_is_measured_at_every_epoch_and_never_trained_on(tmp_path: Path) -> None:
    out = tmp_path / "out.mlmodel"
    done = finetuned("update", MODEL, DROPS, "-o", out, "--validate", TEST, *SHORT, "--json")
    told = lines(done)
    measured = [event["validation"] for event in told if event["type"] == "epochEnd"]
    assert len(measured) == 3
    assert {entry["samples"] for entry in measured} == {300}
    (report,) = lines(finetuned("evaluate", out, TEST, "--json"))
    assert report["accuracy"] == pytest.approx(measured[-1]["accuracy"])
    assert report["loss"] == pytest.approx(measured[-1]["lossValue"], rel=1e-4)
    assert told[-1]["after"]["accuracy"] == pytest.approx(report["accuracy"])


def test_the_same_command_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert finetuned("update", MODEL, DROPS, "-o", tmp_path / name, *SHORT).returncode == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def interrupted(*words: str | Path) -> list[dict[str, Any]]:
    """Run the command, press Ctrl-C at the end of an epoch, and return what it printed."""
    command = [sys.executable, "-P", "-m", "finetuned", *map(str, words)]
    # Nobody reads on after that line: the pipe is full long before the command is done.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told: list[dict[str, Any]] = []
        for line in process.stdout:
            told.append(json.loads(line))
            if told[-1]["type"] == "epochEnd":
                process.send_signal(signal.SIGINT)
                break
        told += [json.loads(line) for line in process.stdout]
    assert process.returncode == 130
    return told


def seedless(folder: Path) -> Path:
    """Return a model without a seed: each task draws one."""
    path = folder / "seedless.mlmodel"
    path.write_bytes(
        builders.edited(
            MODEL.read_bytes(), lambda m: m.neuralNetworkClassifier.updateParams.ClearField("seed")
        )
    )
    return path


def test_ctrl_c_leaves_a_checkpoint_and_resume_ends_in_the_bytes_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    model, out, other = seedless(tmp_path), tmp_path / "out.mlmodel", tmp_path / "other.mlmodel"
    kept = tmp_path / "out.mlmodel.checkpoint"
    words = ("update", model, DROPS, "-p", "epochs=200", "-o")
    stopped = interrupted(*words, out, "--json")
    assert stopped[-1]["type"] == "cancelled"
    assert (out.exists(), kept.exists()) == (False, True)
    told = lines(resumed := finetuned(*words, out, "--resume", "--json"))
    assert (resumed.returncode, resumed.stderr) == (0, "")
    begin = told[0]["step"]
    assert begin >= max(event["step"] for event in stopped if event["type"] == "miniBatchEnd")
    steps = [event["step"] for event in told if event["type"] == "miniBatchEnd"]
    assert steps == list(range(begin + 1, 200 * 25 + 1))
    assert (out.exists(), kept.exists()) == (True, False)
    seed = stopped[0]["parameters"]["seed"]
    undisturbed = finetuned(*words, other, "-p", f"seed={seed}", "--json")
    assert out.read_bytes() == other.read_bytes()
    assert told[-1]["before"] == lines(undisturbed)[-1]["before"]


@pytest.mark.parametrize(("left", "said"), [(None, "no checkpoint"), (b"{}", "cut off")])
def test_without_a_checkpoint_that_is_good_resume_says_so_and_begins_at_the_beginning(
    tmp_path: Path, left: bytes | None, said: str
) -> None:
    out, kept = tmp_path / "out.mlmodel", tmp_path / "out.mlmodel.checkpoint"
    if left is not None:
        kept.write_bytes(left)
    done = finetuned("update", MODEL, DROPS, "-o", out, *SHORT, "--resume", "--json")
    assert done.returncode == 0
    assert said in done.stderr
    assert "beginning" in done.stderr
    assert lines(done)[0]["step"] == 0
    assert (out.exists(), kept.exists()) == (True, False)


def test_resume_with_other_arguments_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    out, kept = tmp_path / "out.mlmodel", tmp_path / "out.mlmodel.checkpoint"
    interrupted("update", MODEL, DROPS, "-o", out, "-p", "epochs=1000", "--json")
    before = kept.read_bytes()
    done = finetuned("update", MODEL, DROPS, "-o", out, *SHORT, "--resume", "--json")
    assert done.returncode == 1
    (refused,) = lines(done)
    assert refused["fault"] == "request"
    assert "leave out --resume" in refused["error"]
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert kept.read_bytes() == before


def test_without_resume_a_checkpoint_is_set_aside(tmp_path: Path) -> None:
    out, kept = tmp_path / "out.mlmodel", tmp_path / "out.mlmodel.checkpoint"
    interrupted("update", MODEL, DROPS, "-o", out, "-p", "epochs=1000", "--json")
    before = kept.read_bytes()
    done = finetuned("update", MODEL, DROPS, "-o", out, *SHORT, "--json")
    assert (done.returncode, lines(done)[0]["step"]) == (0, 0)
    assert f"{kept.name}.old" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f"{kept.name}.old"}
    assert kept.with_name(f"{kept.name}.old").read_bytes() == before


@pytest.mark.parametrize("place", ["out.mlmodel", "out.mlmodel.checkpoint"])
def test_a_folder_in_the_way_is_refused_before_the_training_and_stays(tmp_path: Path, place: str) -> None:
    (tmp_path / place / "precious").mkdir(parents=True)
    done = finetuned("update", MODEL, DROPS, "-o", tmp_path / "out.mlmodel", *SHORT, "--json")
    assert done.returncode == 1
    assert [line["fault"] for line in lines(done)] == ["request"]
    assert (tmp_path / place / "precious").is_dir()


def test_a_disk_that_refuses_out_leaves_a_checkpoint_from_which_only_the_writing_is_left(
    tmp_path: Path,
) -> None:
    out, kept = tmp_path / "out.mlmodel", tmp_path / "out.mlmodel.checkpoint"
    in_the_way = aside(out)
    in_the_way.mkdir()
    failed = finetuned("update", MODEL, DROPS, "-o", out, *SHORT, "--json")
    assert (failed.returncode, lines(failed)[-1]["fault"]) == (1, "host")
    assert kept.exists()
    in_the_way.rmdir()
    told = lines(finetuned("update", MODEL, DROPS, "-o", out, *SHORT, "--resume", "--json"))
    assert [event["type"] for event in told] == ["trainingBegin", "completed"]
    finetuned("update", MODEL, DROPS, "-o", tmp_path / "undisturbed", *SHORT)
    assert out.read_bytes() == (tmp_path / "undisturbed").read_bytes()


def test_a_checkpoint_that_cannot_be_removed_once_out_is_saved_is_a_warning(tmp_path: Path) -> None:
    out, kept = tmp_path / "out.mlmodel", tmp_path / "out.mlmodel.checkpoint"
    words = ("update", MODEL, DROPS, "-o", out, "-p", "epochs=200", "--json")
    command = [sys.executable, "-P", "-m", "finetuned", *map(str, words)]
    # Nobody reads on after the first line: the pipe is full long before the command is done.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        (kept / "precious").mkdir(parents=True)
        told, said = process.communicate()
    assert (process.returncode, json.loads(told.splitlines()[-1])["type"]) == (0, "completed")
    assert "its checkpoint is still there" in said
    assert (out.exists(), (kept / "precious").exists()) == (True, True)


def test_divergence_fails_the_task_and_saves_nothing(tmp_path: Path) -> None:
    line, out, data = (
        shared("mlupdatetask_line/untrained.mlmodel"),
        tmp_path / "out.mlmodel",
        tmp_path / "line.csv",
    )
    data.write_text("dense_input,output_true\n" + "".join(f"{1000 + x},{2000 + x}\n" for x in range(20)))
    done = finetuned("update", line, data, "-o", out, "--json")
    assert done.returncode == 1
    assert lines(done)[-1]["type"] == "failed"
    assert "learningRate" in lines(done)[-1]["error"]
    assert not out.exists()


def test_a_regressor_learns_a_line_from_a_table(tmp_path: Path) -> None:
    line, out, data = (
        shared("mlupdatetask_line/untrained.mlmodel"),
        tmp_path / "out.mlmodel",
        tmp_path / "line.csv",
    )
    data.write_text(
        "dense_input,output_true\n" + "".join(f"{x / 50},{2 * x / 50 + 1.5}\n" for x in range(100))
    )
    assert finetuned("update", line, data, "-o", out, "-p", "learningRate=0.1").returncode == 0
    (report,) = lines(finetuned("evaluate", out, data, "--json"))
    assert report["samples"] == 100
    assert report["meanSquaredError"] == report["loss"] < 1e-8
    assert report["meanAbsoluteError"] < 1e-4


def test_a_loss_that_is_not_finite_is_null_for_scripts_and_said_to_people(tmp_path: Path) -> None:
    model, out = tmp_path / "some.mlmodel", tmp_path / "out.mlmodel"
    model.write_bytes(builders.dense_classifier())
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    rows = [{"features": [x / 9, 0.0, 1.0, -1.0], "label": "abc"[x % 3]} for x in range(9)]
    for path, more in ((good, []), (bad, [{"features": [3e38] * 4, "label": "a"}])):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *more]))
    words = ("update", model, good, "--validate", bad, "-o", out)
    told = lines(finetuned(*words, "--json"))[-1]
    assert (told["before"]["lossValue"], told["after"]["lossValue"]) == (None, None)
    assert finetuned(*words).stderr.count("loss not finite") >= 2
    (report,) = lines(finetuned("evaluate", out, bad, "--json"))
    assert (report["samples"], report["loss"]) == (10, None)
    assert "loss not finite on 10 samples" in finetuned("evaluate", out, bad).stderr


# ── check and predict ───────────────────────────────────────────────────────────────────────────
def test_check_answers_with_everything_about_a_model() -> None:
    done = finetuned("check", MODEL, "--json")
    (info,) = lines(done)
    assert done.returncode == 0
    assert info["updatable"]
    assert info["reasons"] == []
    assert info["parameters"]["epochs"] == {"default": 30, "range": [1.0, 1000.0]}
    assert [layer["name"] for layer in info["layers"] if layer["trainable"]] == ["hidden", "digits"]
    assert info["classLabels"] == list("0123456789")


def test_check_says_no_with_a_reason() -> None:
    done = finetuned("check", shared("imagenet_backbone/MobileNetV1_0.25_128.mlmodel"), "--json")
    (info,) = lines(done)
    assert done.returncode == 1
    assert not info["updatable"]
    assert "updatable" in " ".join(info["reasons"])


def test_predict_names_each_picture_and_goes_on_after_one_that_is_none(tmp_path: Path) -> None:
    model = shared("imagenet_backbone/MobileNetV2_1.0_224_int8.mlmodel")
    images = shared("imagenet_backbone/images")
    (tmp_path / "none.jpg").write_text("no picture")
    done = finetuned(
        "predict", model, images / "cat.bmp", tmp_path / "none.jpg", images / "bird.bmp", "--json"
    )
    cat, none, bird = lines(done)
    assert done.returncode == 1
    assert (cat["label"], bird["label"]) == ("Egyptian cat", "chickadee")
    assert cat["probabilities"]["Egyptian cat"] == pytest.approx(0.78, abs=0.01)
    assert "error" in none


# ── what a person did wrong ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("update", MODEL, DROPS, "-o", "x", "-p", "epochs=0"), 2, "1 to 1000"),
        (("update", MODEL, DROPS, "-o", "x", "-p", "epoch=3"), 2, "epochs"),
        (("update", MODEL, DROPS, "-o", "x", "-p", "epochs"), 2, "KEY=VALUE"),
        (("update", MODEL, DROPS.parent, "-o", "x"), 1, "label"),
        (("update", MODEL, "nowhere", "-o", "x"), 1, "nowhere"),
        (("check", DROPS), 1, "folder"),
        (("check", "nowhere.mlmodel"), 1, "nowhere.mlmodel"),
        (("evaluate", __file__, DROPS), 1, "not a Core ML model"),
        (("status",), 1, "no daemon"),
        (("models",), 1, "finetuned add"),
        (("frobnicate",), 2, "frobnicate"),
        (("mode",), 1, "no daemon"),
        (("promote", "gestures", "8"), 1, "no daemon"),
        (("forget", "gestures"), 2, "add --yes"),
        (("mode", "sometimes"), 2, "'auto', 'always', 'never'"),
        (("mode", "never", "--for", "soon"), 2, "30m, 2h or 1d"),
        (("mode", "--for", "2h"), 2, "always or never"),
        (("budget", "--simulate", "warmth=85"), 2, "there are thermal, gpu"),
        (("budget", "--simulate", "thermal=nan"), 2, "from -55 up to 150"),
    ],
)
def test_a_mistake_gets_a_sentence_and_a_status(
    tmp_path: Path, words: tuple[str | Path, ...], status: int, said: str
) -> None:
    where = {"RUNTIME_DIRECTORY": str(tmp_path / "run"), "STATE_DIRECTORY": str(tmp_path / "state")}
    done = finetuned(*words, **where)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# ── the budget and the mode ─────────────────────────────────────────────────────────────────────
def test_the_budget_is_read_from_this_machine_without_a_daemon_and_touches_nothing(tmp_path: Path) -> None:
    Sysfs(tmp_path / "sys").heat(75)
    config, state = tmp_path / "finetuned.toml", tmp_path / "state"
    config.write_text(f'state = "{state}"\n[budget]\nsysfs = "{tmp_path / "sys"}"\nproc = "{tmp_path}"\n')
    for words, reading, pace in (
        ((), 75.0, "slow"),
        (("--simulate", "thermal=40"), 40.0, "full"),
        (("--simulate", "thermal=85"), 85.0, "paused"),
    ):
        done = finetuned("budget", "-c", config, *words, "--json")
        (answer,) = lines(done)
        thermal = next(zone for zone in answer["zones"] if zone["name"] == "thermal")
        assert (done.returncode, done.stderr) == (0, "")
        assert (thermal["reading"], answer["verdict"]["pace"]) == (reading, pace)
    told = finetuned("budget", "-c", config).stderr
    assert "x86_pkg_temp" in told
    assert "throttles" in told
    assert not state.exists()


async def test_a_mode_that_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    async with digits(tmp_path) as house:
        config = tmp_path / "finetuned.toml"
        asked = await asyncio.to_thread(
            finetuned, "mode", "never", "--for", "2h", "-c", config, "--json", **house.environ
        )
        assert lines(asked) == [{"mode": "never", "forSeconds": 7200.0}]
        await house.kill()
        await house.start()
        told = await asyncio.to_thread(finetuned, "mode", "-c", config, "--json", **house.environ)
        (answer,) = lines(told)
        assert answer["mode"] == "never"
        assert 7000 < answer["modeLeftSeconds"] <= 7200
        assert "reasons" in (state := house.ear.retained["state"])
        assert state["reasons"] == ["mode"]


# ── asking ──────────────────────────────────────────────────────────────────────────────────────
async def test_forgetting_is_obeyed_where_the_configuration_allows_it_and_whoever_sits_at_a_terminal_agrees(
    tmp_path: Path,
) -> None:
    config = tmp_path / "finetuned.toml"
    async with digits(tmp_path, least=1000) as house:
        drop_digits(house, 20)
        samples = "samples"
        await house.ear.until(
            lambda: sum(e.get("count", 1) for e in house.ear.events("sampleAccepted")) == 20, samples
        )
        refused = await asyncio.to_thread(
            finetuned, "forget", "digits", "--yes", "-c", config, "--json", **house.environ
        )
        assert refused.returncode == 1
        assert "mqtt.allow in the daemon's configuration" in lines(refused)[0]["error"]
        await house.stop()
        house.settings["mqtt"] = 'allow = ["status", "forget"]'
        await house.start()
        for answer, status, said in (
            (b"n\n", 1, b"nothing was forgotten"),
            (b"y\n", 0, b"20 samples and 0 versions"),
        ):
            assert said in await typed(answer, status, "forget", "digits", "-c", str(config), **house.environ)
        assert (await house.ear.event("forgotten"))["samples"] == 20


@pytest.mark.parametrize("words", [("status",), ("pause", "--json"), ("watch",)])
def test_ctrl_c_ends_a_command_that_waits_for_a_broker_which_says_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = tmp_path / "finetuned.toml"
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {server.getsockname()[1]}\n')
        command = [sys.executable, "-P", "-m", "finetuned", *words, "-c", str(config)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
            server.accept()[0],
        ):
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert process.returncode == 130


async def typed(answer: bytes, status: int, *words: str, **environ: str) -> bytes:
    """Type this at the question; return what the terminal showed."""
    terminal = Terminal()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "finetuned", *words),
            stdin=terminal.its,
            stdout=terminal.its,
            stderr=terminal.its,
            env=os.environ | environ,
        )
        await terminal.until(
            b"digits, with 20 samples and every version will be gone, for ever. Forget? [y/N] "
        )
        os.write(terminal.mine, answer)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == status
        await terminal.until(b"gotten" if status else b"gone\r\n")
        return terminal.said
    finally:
        terminal.close()


# ── looking on ──────────────────────────────────────────────────────────────────────────────────
def watch_configuration(folder: Path, broker: BrokerProcess) -> Path:
    """Write a configuration that leads to this broker."""
    password, config = folder / "password", folder / "watch.toml"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    address = broker.address
    config.write_text(
        f'[mqtt]\nhost = "{address.host}"\nport = {address.port}\nusername = "{USER}"\n'
        f'password_file = "{password}"\n'
    )
    return config


async def until(stream: asyncio.StreamReader, what: str) -> str:
    """Read lines until one has this in it, and return that."""
    async with asyncio.timeout(PATIENCE_S):
        while line := (await stream.readline()).decode():
            if what in line:
                return line
    raise AssertionError(f"never said: {what}")


async def test_watch_goes_on_after_the_broker_was_restarted_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    async with running("mosquitto", tmp_path) as broker, bridged(broker.address, tmp_path) as behind:
        config = watch_configuration(tmp_path, broker)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "finetuned", "watch", "-c", str(config), "--json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        assert process.stderr
        try:
            await until(process.stderr, "watching n")
            await behind.happen("one.png")
            assert json.loads(await until(process.stdout, "one.png"))["type"] == "sampleAccepted"
            await broker.kill()
            await until(process.stderr, "not connected")
            await broker.start()
            await until(process.stderr, "watching n")
            await behind.happen("two.png")
            assert json.loads(await until(process.stdout, "two.png"))["type"] == "sampleAccepted"
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, out, err) == (130, b"", b"")


class Terminal:
    """A terminal of 80 by 24; `said` is everything that was written to it."""

    def __init__(self) -> None:
        self.mine, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.said = b""
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.mine, self._read)

    def _read(self) -> None:
        self.said += os.read(self.mine, 65536)
        self._news.set()

    async def until(self, what: bytes) -> None:
        """Wait until this was written."""
        async with asyncio.timeout(PATIENCE_S):
            while what not in self.said:
                self._news.clear()
                await self._news.wait()

    def close(self) -> None:
        """Hang up."""
        asyncio.get_running_loop().remove_reader(self.mine)
        os.close(self.mine)
        os.close(self.its)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_watch_leaves_the_terminal_as_it_was(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    async with running("mosquitto", tmp_path) as broker, bridged(broker.address, tmp_path) as behind:
        terminal = Terminal()
        behind.outbox.state("task/t1", TASK_STATE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "finetuned", "watch"),
            *("-c", str(watch_configuration(tmp_path, broker))),
            stdin=terminal.its,
            stdout=terminal.its,
            stderr=terminal.its,
            env=os.environ | {"TERM": "xterm-256color"},
        )
        try:
            await terminal.until(b"gestures anna")
            await behind.happen("one.png")
            await terminal.until(b"one.png")
            process.send_signal(number)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == status
            await terminal.until(b"\x1b[?1049l")
            assert terminal.said.count(b"\x1b[?1049h") == 1
            assert b"Traceback" not in terminal.said
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            terminal.close()


def test_a_model_that_cannot_be_updated_is_not_added(tmp_path: Path) -> None:
    model = shared("imagenet_backbone/MobileNetV1_0.25_128.mlmodel")
    done = finetuned("add", model, "--json", STATE_DIRECTORY=str(tmp_path))
    assert done.returncode == 1
    assert "cannot be updated" in lines(done)[0]["error"]


def test_the_demo_tells_its_story(tmp_path: Path) -> None:
    done = finetuned("demo", "--keep", tmp_path / "kept", "--json")
    (summary,) = lines(done)
    assert done.returncode == 0, done.stderr
    assert summary["samples"]["accepted"] == 100
    assert summary["samples"]["duplicates"] == 1
    assert [entry["name"] for entry in summary["samples"]["rejected"]] == ["broken.png"]
    assert summary["accuracy"]["after"] > 0.85 > summary["accuracy"]["before"]
    assert Path(summary["model"]).is_file()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_ended_from_outside_takes_its_daemon_along(
    tmp_path: Path, sign: signal.Signals
) -> None:
    command = [sys.executable, "-P", "-m", "finetuned", "demo", "--keep", str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while "daemon " not in process.stdout.readline():
            pass
        (daemon,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(sign)
        process.wait(PATIENCE_S)
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(int(daemon))
        assert select.select([ended], [], [], PATIENCE_S)[0], "its daemon lives on"
        os.close(ended)
