"""A provider that computes by itself: OpenVINO, in a process of its own, since its wheel replaces onnxruntime's.

`FINETUNED_OPENVINO` names the folder into which `pip install --no-deps --target` has put `onnxruntime-openvino`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finetuned.update.network import MiniBatch
from shared import missing
from update.trainings import blobs, moved_model, reference_run, trained, update

if TYPE_CHECKING:
    from collections.abc import Mapping

CHILD = Path(__file__).with_name("second_provider_child.py")


def environment() -> Mapping[str, str]:
    """Return the environment of a process that has OpenVINO, or skip."""
    folder = os.environ.get("FINETUNED_OPENVINO", "")
    if not folder and platform.machine() != "x86_64":
        pytest.skip("left out: there is no OpenVINO for this machine")
    if not folder:
        missing("left out: FINETUNED_OPENVINO names no folder with onnxruntime-openvino")
    return {**os.environ, "PYTHONPATH": folder}


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHILD, *arguments], env=environment(), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("activation", ["tanh", "ReLU"])
@pytest.mark.parametrize("optimizer", ["sgdOptimizer", "adamOptimizer"])
def test_a_training_that_moves_to_the_cpu_and_back_follows_an_undisturbed_one(
    optimizer: str, activation: str
) -> None:
    done = child("train", optimizer, activation)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == ["openvino"] * 7 + ["cpu"] * 8 + ["openvino"] * 15
    begin, *moves = found["moves"]
    assert begin[0] == "openvino"
    assert begin[1].startswith("cuda: this onnxruntime has openvino, cpu")
    assert moves == [["cpu", ""], ["openvino", ""]]

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


def test_every_primitive_and_every_gradient_is_on_it_what_it_is_on_the_cpu() -> None:
    done = child("graph")
    assert done.returncode == 0, done.stdout
