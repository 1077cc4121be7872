"""Two regressors that other people trained on devices: embeddings, permute, flatten and concat in front, three named inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import reference
from finetuned.errors import SampleError
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.features import encoded
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of
from finetuned.update.predictor import Predictor
from finetuned.update.task import UpdateTask
from shared import shared

if TYPE_CHECKING:
    from pathlib import Path

UPDATABLE = ("denissimon_s4tf_updatable_model", "mangiavacchi_house_trainable")
ALL = (*UPDATABLE, "denissimon_s4tf_pre_trained_model")
SAMPLES, RATE, EPOCHS = 32, 0.001, 500
DENSE = ("dense1", "dense2", "dense3")


def path_of(name: str) -> Path:
    return shared(f"thirdparty_updatable/{name}.mlmodel")


def data(seed: int = 0) -> dict[str, Any]:
    """Return as many houses as one mini-batch holds, by the inputs' names in an order of their own."""
    rng = np.random.default_rng(seed)
    return {
        "output_true": rng.normal(size=(SAMPLES, 1)).astype(np.float32),
        "categoricalInput1": rng.integers(0, 2, (SAMPLES, 1)).astype(np.float32),
        "numericalInput": rng.normal(size=(SAMPLES, 11)).astype(np.float32),
        "categoricalInput2": rng.integers(0, 9, (SAMPLES, 1)).astype(np.float32),
    }


def exact(name: str, chosen: dict[str, Any], weights: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return every blob in float64, as the format counts it."""
    layers = pb.Model.FromString(path_of(name).read_bytes()).neuralNetwork.layers
    return reference.forward(layers, chosen, weights)


def stepped(name: str, chosen: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return the weights after steps of gradient descent on all samples, in float64, with gradients written out by hand."""
    w = reference.stored(pb.Model.FromString(path_of(name).read_bytes()).neuralNetwork.layers)
    for _ in range(steps):
        blobs = exact(name, chosen, w)
        inputs = [blobs["outConcat"], blobs["outRelu1"], blobs["outRelu2"]]
        dy = 2 * (blobs["output"] - chosen["output_true"]) / SAMPLES
        for layer, x in reversed(list(zip(DENSE, inputs, strict=True))):
            below = (dy @ w[f"{layer}.weights"]) * (x > 0)
            w[f"{layer}.weights"] -= RATE * dy.T @ x
            w[f"{layer}.biases"] -= RATE * dy.sum(axis=0)
            dy = below
    return w


def assert_weights(data_: bytes, wanted: dict[str, Any], tolerance: float) -> None:
    found = reference.stored(pb.Model.FromString(data_).neuralNetwork.layers)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance, err_msg=name)


def predicted(model: Path, archive: Path) -> Any:  # noqa: ANN401 - an array
    """Return what the command prints of each sample."""
    words = [sys.executable, "-m", "finetuned", "predict", str(model), str(archive), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array([json.loads(line)["outputs"]["output"] for line in done.stdout.splitlines()])


@pytest.mark.parametrize("name", ALL)
def test_a_prediction_is_what_the_format_says(name: str) -> None:
    chosen = data()
    model = codec.decode(path_of(name).read_bytes())
    found = Predictor(model).outputs({key: chosen[key] for key in chosen if key != "output_true"})
    np.testing.assert_allclose(found["output"], exact(name, chosen)["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", UPDATABLE)
def test_nothing_speaks_against_an_update_and_its_first_step_is_exact(name: str) -> None:
    model = codec.decode(path_of(name).read_bytes())
    assert check.reasons(model) == ()
    update = NetworkUpdate(model, resolve(update_of(model), {}, seed=0))
    next(update.steps(encoded(update, data())))
    assert_weights(update.encode(), stepped(name, data(), 1), 1e-7)


@pytest.mark.parametrize("category", [9, 1.5])
def test_a_category_that_the_embedding_does_not_know_is_the_samples_fault_and_is_not_told(
    category: float,
) -> None:
    model = codec.decode(path_of(UPDATABLE[0]).read_bytes())
    update = NetworkUpdate(model, resolve(update_of(model), {}, seed=0))
    chosen = data()
    chosen["categoricalInput2"][7] = category
    with pytest.raises(SampleError, match=r"an embedding the whole numbers from 0 to its last$"):
        list(update.steps(encoded(update, chosen)))


@pytest.mark.parametrize("name", UPDATABLE)
def test_a_whole_task_and_the_command_write_the_same_model(name: str, tmp_path: Path) -> None:
    chosen, archive, out = data(), tmp_path / "houses.npz", tmp_path / "out.mlmodel"
    np.savez(archive, **chosen)
    before = predicted(path_of(name), archive)
    np.testing.assert_allclose(before, exact(name, chosen)["output"], rtol=1e-5, atol=1e-5)
    words = ["update", str(path_of(name)), str(archive), "-o", str(out), "-p", "seed=1"]
    done = subprocess.run(
        [sys.executable, "-m", "finetuned", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    task = UpdateTask(codec.decode(path_of(name).read_bytes()), chosen, parameters={"seed": 1})
    task.resume()
    task.model.write(tmp_path / "task.mlmodel")
    assert out.read_bytes() == (tmp_path / "task.mlmodel").read_bytes()
    assert_weights(out.read_bytes(), stepped(name, chosen, EPOCHS), 2e-5)
