"""Providers that compute by themselves, each in a process of its own, since their wheels replace onnxruntime's.

`FINETUNED_PROVIDERS` lists them, `openvino=FOLDER,webgpu=FOLDER`: the device, and the folder into which
`pip install --no-deps --target` has put `onnxruntime-openvino` and the like.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetuned.spec import codec
from finetuned.update.features import encoded
from finetuned.update.network import MiniBatch
from finetuned.update.predictor import Predictor
from finetuned.update.updating import updater
from shared import missing
from update.trainings import PIPELINES, SEEN, blobs, moved_model, reference_run, trained, update

CHILD = Path(__file__).with_name("second_provider_child.py")


FOLDERS = dict(each.split("=", 1) for each in os.environ.get("FINETUNED_PROVIDERS", "").split(",") if each)


@pytest.fixture(params=FOLDERS or [""])
def device(request: pytest.FixtureRequest) -> str:
    """The device of each provider that is listed, or a skip."""
    found: str = request.param
    if not found and platform.machine() != "x86_64":
        pytest.skip("left out: there is no OpenVINO for this machine")
    if not found:
        missing("left out: FINETUNED_PROVIDERS lists none, like openvino=FOLDER with onnxruntime-openvino")
    return found


def child(what: str, device: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHILD, what, device, *arguments],
        env={**os.environ, "PYTHONPATH": FOLDERS[device]},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("activation", ["tanh", "ReLU"])
@pytest.mark.parametrize("optimizer", ["sgdOptimizer", "adamOptimizer"])
def test_a_training_that_moves_to_the_cpu_and_back_follows_an_undisturbed_one(
    device: str, optimizer: str, activation: str
) -> None:
    done = child("train", device, optimizer, activation)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == [device] * 7 + ["cpu"] * 8 + [device] * 15
    begin, *moves = found["moves"]
    assert begin[0] == device
    assert begin[1].startswith(f"npu: this onnxruntime has {device}, ")
    assert moves == [["cpu", ""], [device, ""]]

    data, asked = moved_model(optimizer, activation)
    undisturbed = update(data, **asked)
    losses = [event.loss for event in trained(undisturbed, blobs()) if isinstance(event, MiniBatch)]
    assert losses[0] > 2 * losses[-1], "the training moved something"
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-4, atol=1e-5)
    assert found["measured"] == pytest.approx(undisturbed.measure(blobs()).loss, rel=1e-4)
    for name, layer in undisturbed.weights().items():
        np.testing.assert_allclose(found["weights"][name], layer.weights, rtol=0, atol=1e-4)
    if activation == "tanh":  # which the reference has
        options = {"adam": optimizer == "adamOptimizer", "rate": 0.05, "momentum": 0.9}
        _, exact = reference_run(data, blobs(), np.float64, **options)
        np.testing.assert_allclose(found["losses"], exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pipeline_is_computed_on_it_and_learns_what_it_learns_on_the_cpu(device: str, kind: str) -> None:
    done = child("pipeline", device, kind)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == [device, "cpu", device]

    message, asked = PIPELINES[kind]
    undisturbed = updater(codec.decode(message.SerializeToString()), asked, seed=0)
    samples = encoded(undisturbed, SEEN)
    for features in found["features"]:
        np.testing.assert_allclose(features, samples.features[:], rtol=1e-4, atol=1e-5)
    list(undisturbed.steps(samples))
    moved, stayed, before = (
        Predictor(codec.decode(each)).probabilities(SEEN)
        for each in (bytes.fromhex(found["model"]), undisturbed.encode(), message.SerializeToString())
    )
    np.testing.assert_allclose(moved, stayed, rtol=0, atol=1e-4)
    assert before.shape != stayed.shape or np.abs(before - stayed).max() > 0.1, "it learnt something"


def test_every_primitive_and_every_gradient_is_on_it_what_it_is_on_the_cpu(device: str) -> None:
    done = child("graph", device)
    assert done.returncode == 0, done.stdout
