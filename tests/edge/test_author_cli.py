"""`finetuned author` as it is typed: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

import more_models as more
import networks as n
from builders import dense_classifier, edited
from finetuned.edge.cli import app
from finetuned.spec import check, codec
from shared import shared

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from finetuned.spec import coreml_pb2 as pb

BACKBONE = "MobileNetV1_0.25_128_int8.mlmodel"


def author(command: str, *words: str | Path) -> Result:
    return CliRunner().invoke(app, ["author", command, *map(str, words)])


def changed(done: Result) -> list[str]:
    assert done.exit_code == 0, done.output
    found: list[str] = json.loads(done.stdout)["changed"]
    return found


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a classifier that is not updatable."""

    def strip(message: pb.Model) -> None:
        message.isUpdatable = False
        message.description.ClearField("trainingInput")
        message.neuralNetworkClassifier.ClearField("updateParams")
        for layer in message.neuralNetworkClassifier.layers:
            layer.isUpdatable = False

    path = tmp_path / "plain.mlmodel"
    path.write_bytes(edited(dense_classifier(), strip))
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Return a pipeline whose k-NN has samples of a, b, a."""
    path = tmp_path / "stored.mlmodel"
    path.write_bytes(more.pipeline().SerializeToString())
    return path


def test_a_plain_classifier_becomes_updatable_in_place(plain: Path) -> None:
    done = author("updatable", plain, "-o", plain, "-p", "epochs=5{1,5}", "--optimizer", "adam", "--json")
    told = changed(done)
    assert {
        "updatable: no → yes",
        "optimizer: adamOptimizer",
        "epochs: 5 (of 1, 5)",
        "trained layers: 'output' added",
    } <= set(told)
    assert check.reasons(codec.decode(plain.read_bytes())) == ()
    assert [path.name for path in plain.parent.iterdir()] == [plain.name]  # nothing is left beside it


def test_a_photograph_classifier_becomes_a_pipeline_and_people_are_told(tmp_path: Path) -> None:
    out = tmp_path / "knn.mlmodel"
    done = author("neighbors", shared("imagenet_backbone") / BACKBONE, "-o", out, "-k", "3{1,3}")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "kind: neuralNetworkClassifier → pipelineClassifier" in done.stderr
    assert "numberOfNeighbors: 3 (of 1, 3)" in done.stderr
    assert f"saved {out}" in done.stderr
    assert "removed" not in done.stderr


def test_dimensions_that_the_layers_do_not_say_are_found_by_compiling_them(tmp_path: Path) -> None:
    path, out = tmp_path / "sum.mlmodel", tmp_path / "knn.mlmodel"
    message = n.network([n.dense(3, 4), n.add("l0", "l0"), n.dense(2, 3)], (4,))
    path.write_bytes(message.SerializeToString())
    assert "dimensions: 3" in changed(author("neighbors", path, "-o", out, "--json"))


# ── labels and samples ──────────────────────────────────────────────────────────────────────────
def test_a_label_is_added_from_its_first_samples_in_a_table(plain: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "z.npz", features=3 + n.numbers(6, 4))
    out = tmp_path / "wide.mlmodel"
    assert changed(author("add-label", plain, "z", "-o", out, "--samples", tmp_path / "z.npz", "--json")) == [
        "labels: 'z' added"
    ]
    layers: Any = codec.decode(out.read_bytes()).network
    row = codec.array(layers.layers[2].parameters.weights, (4, 8))[3]
    assert np.linalg.norm(row) > 0
    assert changed(author("remove-label", out, "a", "-o", out, "--json")) == ["labels: 'a' removed"]


def test_a_label_is_added_from_a_folder_of_pictures(tmp_path: Path) -> None:
    """Decoders have a process of their own, and the command a loop."""
    out = tmp_path / "wide.mlmodel"
    model, fists = shared("imagenet_backbone") / BACKBONE, shared("rock_paper_scissors") / "train"
    words = ["author", "add-label", str(model), "rock", "-o", str(out), "--samples", str(fists)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "finetuned", *words],
        env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Of those three labels it is the folder of this one.
    assert f"made from 10 samples of {fists / 'rock'}" in done.stderr
    assert "labels: 'rock' added" in done.stderr


def test_samples_are_removed_by_position_by_label_and_altogether(stored: Path) -> None:
    assert json.loads(author("samples", stored, "--json").stdout)["labels"] == ["a", "b", "a"]
    shown = [line.split() for line in author("samples", stored).stderr.splitlines()]
    assert [row for row in shown if row][1:] == [["a", "2", "0", "2"], ["b", "1", "1"]]
    assert changed(author("remove-samples", stored, "1", "-o", stored, "--json")) == [
        "samples: 3 → 2",
        "labels of samples: 'b' removed",
    ]
    assert changed(author("remove-samples", stored, "0", "-o", stored, "--json")) == ["samples: 2 → 1"]
    assert changed(author("remove-label", stored, "a", "-o", stored, "--json")) == [
        "samples: 1 → 0",
        "labels of samples: 'a' removed",
    ]
    assert changed(author("empty", stored, "-o", stored, "--json")) == []


@pytest.mark.parametrize(("model", "out", "left"), [
    (0o600, 0o600, 0o600), (0o644, 0o600, 0o600), (0o600, 0o644, 0o600), (0o640, None, 0o640), (0o644, None, 0o644),
])  # fmt: skip
def test_nobody_may_read_samples_who_might_not_before(
    stored: Path, model: int, out: int | None, left: int
) -> None:
    target = stored.with_name("out.mlmodel")
    if out is not None:
        target.touch()
        target.chmod(out)
    stored.chmod(model)
    assert author("remove-samples", stored, "0", "-o", target).exit_code == 0
    assert target.stat().st_mode & 0o777 == left


def test_a_link_is_replaced_and_what_it_leads_to_stays(stored: Path, plain: Path) -> None:
    link, before = stored.with_name("link.mlmodel"), plain.read_bytes()
    link.symlink_to(plain)
    assert author("empty", stored, "-o", link).exit_code == 0
    assert not link.is_symlink()
    assert plain.read_bytes() == before


# ── settings ────────────────────────────────────────────────────────────────────────────────────
def test_parameters_and_votes_are_set(stored: Path) -> None:
    words = ("-p", "numberOfNeighbors=2:1:9", "--weighting", "inverse", "--default", "nobody", "--json")
    assert changed(author("set", stored, "-o", stored, *words)) == [
        "numberOfNeighbors: 3 (1 to 1000) → 2 (1 to 9)",
        "weighting: uniformWeighting → inverseDistanceWeighting",
        "default label: unknown → nobody",
    ]


def test_the_scale_of_pixels_may_be_a_fraction(tmp_path: Path) -> None:
    model, out = (
        shared("apple_updatable_drawing") / "UpdatableDrawingClassifier.mlmodel",
        tmp_path / "x.mlmodel",
    )
    assert changed(author("set", model, "-o", out, "--pixel-scale", "1/255", "--json")) == [
        "pixels of drawing multiplied by: 0.00392157"
    ]


def test_metadata_are_set_and_shown(plain: Path) -> None:
    told = changed(
        author("describe", plain, "-o", plain, "--author", "me", "--entry", "made in=Bern", "--json")
    )
    assert told == ["metadata author: me", "metadata made in: Bern"]
    assert json.loads(author("describe", plain, "--json").stdout)["metadata"] == {
        "author": "me",
        "made in": "Bern",
    }
    assert "author: me" in author("describe", plain).stderr


# ── what is refused ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("words", "status", "complaint"), [
    (("updatable", "--layers", "a", "--last", "1"), 2, "exclude each other"),
    (("updatable", "--layers", "head"), 1, "no layer 'head'; convolution and innerProduct can be: 'output', 'hidden'"),
    (("updatable", "--optimizer", "rmsprop"), 1, "no optimizer 'rmsprop'; sgd and adam are there"),
    (("updatable", "-p", "epochs"), 2, "is not KEY=VALUE"),
    (("updatable", "-p", "seed=1:2"), 2, "is not DEFAULT, DEFAULT:MIN:MAX or DEFAULT{a,b,c}"),
    (("set",), 2, "there is nothing to set"),
    *((("set", "--pixel-scale", each), 2, "is no number; write 0.00392 or 1/255")
      for each in ("1/0", "1/", "1/2/3", "1e999999999", "1/1e-999999999", "٣")),
    (("updatable", "--label", "a", "--label", ""), 1, "'' is no label; allowed: "),
    (("add-label", "z", "--samples", "/nonexistent"), 1, "--samples /nonexistent: there is no such file or folder"),
    (("set", "-p", "epochs=3"), 1, "make it updatable first"),
    (("empty",), 1, "stores no samples"),
    (("add-label", "b"), 1, "has the label 'b' already"),
    (("add-label", "\x1b[31m\udcff"), 2, "is not UTF-8"),
    (("remove-label", "\x1b[31m"), 1, "no label '\\x1b[31m'"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_written(
    plain: Path, words: tuple[str, ...], status: int, complaint: str
) -> None:
    out = plain.parent / "out.mlmodel"
    done = author(words[0], plain, *words[1:], "-o", out, "--json")
    assert done.exit_code == status, done.output
    assert complaint in json.loads(done.stdout)["error"]
    assert not out.exists()


def test_a_model_that_finetuned_cannot_run_is_not_made_though_its_layers_may_be_marked(
    tmp_path: Path,
) -> None:
    strange = n.Layer()
    strange.mvn.SetInParent()
    path, out = tmp_path / "strange.mlmodel", tmp_path / "out.mlmodel"
    path.write_bytes(n.network([strange, n.dense(2, 4)], (4,)).SerializeToString())
    done = author("updatable", path, "-o", out)
    assert done.exit_code == 1
    assert "'l0'" in done.stderr
    assert "mvn" in done.stderr
    assert not out.exists()


def test_out_has_to_be_a_place_where_a_file_can_be(plain: Path) -> None:
    assert "there is no folder" in author("empty", plain, "-o", plain.parent / "no" / "x.mlmodel").stderr
    assert "is no file" in author("empty", plain, "-o", plain.parent).stderr
    too_many = author("neighbors", plain, "-o", plain, "--index", "kd-tree", "--leaf-size", str(1 << 31))
    assert (too_many.exit_code, "leaf-size" in too_many.stderr) == (2, True)
    assert "say with -o where" in author("describe", plain, "--author", "me").stderr
