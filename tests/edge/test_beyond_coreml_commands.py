"""`--beyond-coreml` and `--loss-weight` as they are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

import regions
from finetuned.edge.cli import app
from finetuned.spec import codec
from finetuned.spec.metadata import BEYOND_COREML

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def run(*words: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command that has a loop of its own, in a process of its own."""
    command = [sys.executable, "-P", "-m", "finetuned", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def typed(*words: str | Path) -> Result:
    """Run a command that has none."""
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a file of a model with a label and a box."""
    path = tmp_path / "pet.mlmodel"
    path.write_bytes(regions.label_and_box().SerializeToString())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return ten samples for it."""
    path = tmp_path / "pets.npz"
    np.savez(path, **regions.samples(regions.label_and_box(), 10))
    return path


def info(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_check_refuses_and_names_the_flag_with_which_it_does_not(model: Path) -> None:
    refused, allowed = typed("check", model, "--json"), typed("check", model, "--beyond-coreml", "--json")
    assert (refused.exit_code, allowed.exit_code) == (1, 0)
    assert "--beyond-coreml" in info(refused)["reasons"][0]
    assert info(allowed)["reasons"] == []
    (departure,) = info(allowed)["departures"]
    assert "2 losses" in departure
    told = typed("check", model, "--beyond-coreml").stderr
    assert f"leaves Core ML: {departure}" in told


def test_update_trains_several_losses_with_their_weights_and_warns(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mlmodel"
    words = ("update", model, data, "-o", out, "--beyond-coreml", "--loss-weight", "box=0.5", "--json")
    done = run(*words)
    assert done.returncode == 0
    assert "leaves Core ML" in done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["type"] == "completed"
    assert None not in {last["after"][key] for key in ("lossValue", "accuracy", "meanAbsoluteError")}
    assert BEYOND_COREML in codec.decode(out.read_bytes()).description.metadata


def test_update_refuses_without_the_flag_and_a_weight_that_is_for_nothing(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mlmodel"
    without = typed("update", model, data, "-o", out)
    assert without.exit_code == 1
    assert "--beyond-coreml" in without.stderr
    wrong = typed("update", model, data, "-o", out, "--beyond-coreml", "--loss-weight", "shape=2")
    assert wrong.exit_code == 2
    assert "'labelLoss' (target 'label'), 'boxLoss' (target 'box')" in wrong.stderr
    for number in ("1_0", "٣", "nan", "0"):
        odd = typed("update", model, data, "-o", out, "--beyond-coreml", "--loss-weight", f"box={number}")
        assert (odd.exit_code, "a finite number above 0" in odd.stderr) == (2, True)
    assert not out.exists()


def test_a_weight_for_the_only_loss_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.mlmodel"
    path.write_bytes(regions.residual().SerializeToString())
    odd = typed("update", path, path, "-o", tmp_path / "o", "--beyond-coreml", "--loss-weight", "loss=2")
    assert odd.exit_code == 2
    assert "the model has one loss, and weights are for several" in odd.stderr


def test_add_registers_it_where_the_flag_is_given(model: Path, tmp_path: Path) -> None:
    # As systemd names them: as root, XDG's would be the system's own.
    environ = {f"{kind}_DIRECTORY": str(tmp_path / kind) for kind in ("STATE", "CONFIGURATION", "RUNTIME")}
    refused = run("add", model, **environ)
    assert refused.returncode == 1
    assert "--beyond-coreml" in refused.stderr
    added = run("add", model, "--beyond-coreml", **environ)
    assert added.returncode == 0
    assert "leaves Core ML" in added.stderr
    assert "it takes no samples from its inbox" in added.stderr
