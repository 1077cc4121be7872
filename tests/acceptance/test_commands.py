"""The command line on other people's models and pictures: what a person types, and what a script reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import builders
from finetuned.edge.demo_data import DROPS, MODEL, TEST
from finetuned.files import aside
from shared import shared

HANDS = ("--label", "rock=✊", "--label", "paper=✋", "--label", "scissors=✌️")
SHORT = ("-p", "epochs=3")


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


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("imagenet_backbone/MobileNetV1_0.25_128.mlmodel", "updatable"),
        ("updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel", "convolution"),
        ("apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel", "pipeline"),
        ("thirdparty_updatable/arrival_UpdatableKNN.mlmodel", "kNearestNeighbors"),
        ("thirdparty_updatable/mangiavacchi_house_trainable.mlmodel", "embedding"),
    ],
)
def test_check_says_no_with_a_reason(model: str, reason: str) -> None:
    done = finetuned("check", shared(model), "--json")
    (info,) = lines(done)
    assert done.returncode == 1
    assert not info["updatable"]
    assert reason in " ".join(info["reasons"])


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
