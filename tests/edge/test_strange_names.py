"""What strangers named (layers, features, blobs, labels, files) as commands say it to people."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import builders
import more_models
import networks as n
import regions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from finetuned.spec import coreml_pb2 as pb

STRANGE = "\x1b[31m\x9b[/x][nan][bold"
SHOWN = STRANGE.replace("\x1b", "�").replace("\x9b", "�")


def strange(message: pb.Model) -> pb.Model:
    """Rename all features, layers, blobs, losses and labels."""
    network = message.WhichOneof("Type") or ""
    features = [*message.description.input, *message.description.output, *message.description.trainingInput]
    for feature in features:
        feature.name = STRANGE + feature.name
    for layer in getattr(message, network).layers:
        layer.name = STRANGE + layer.name
        layer.input[:], layer.output[:] = [
            [STRANGE + x for x in each] for each in (layer.input, layer.output)
        ]
    for loss in getattr(message, network).updateParams.lossLayers:
        loss.name = STRANGE + loss.name
        kind = getattr(loss, loss.WhichOneof("LossLayerType") or "")
        kind.input, kind.target = STRANGE + kind.input, STRANGE + kind.target
    if network == "neuralNetworkClassifier":
        labels = message.neuralNetworkClassifier.stringClassLabels.vector
        labels[:] = [STRANGE + label for label in labels]
        description = message.description
        description.predictedFeatureName = STRANGE + description.predictedFeatureName
        description.predictedProbabilitiesName = STRANGE + description.predictedProbabilitiesName
        message.neuralNetworkClassifier.labelProbabilityLayerName = description.predictedProbabilitiesName
    return message


def classifier(folder: Path) -> Path:
    path = folder / "m.mlmodel"
    path.write_bytes(builders.edited(builders.dense_classifier(), strange))
    return path


def table(folder: Path, names: Mapping[str, Any]) -> Path:
    path = folder / "[x]data[bold.npz"
    arrays: dict[str, Any] = {STRANGE + name: values for name, values in names.items()}
    np.savez(path, **arrays)
    return path


def told(*words: str | Path, status: int = 0, environ: Mapping[str, str] | None = None) -> str:
    """Return what the command says to a person, who never sees an escape, nor a traceback."""
    command = [sys.executable, "-P", "-m", "finetuned", *map(str, words)]
    env = {**os.environ, "COLUMNS": "300", "FORCE_COLOR": "", "NO_COLOR": "1", **(environ or {})}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "\x1b" not in done.stderr
    assert "\x9b" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == status, done.stderr
    return done.stderr


def test_check_says_them_all(tmp_path: Path) -> None:
    said = told("check", classifier(tmp_path))
    for name in ("features", "hidden", "output", "a", "b", "c"):
        assert SHOWN + name in said


def test_check_says_those_of_reasons_and_departures(tmp_path: Path) -> None:
    path = tmp_path / "two.mlmodel"
    path.write_bytes(strange(regions.label_and_box()).SerializeToString())
    assert "[/x][nan][boldbox" in told("check", path, "--beyond-coreml")
    assert "cannot be updated" in told("check", path, status=1)


def test_predict_evaluate_and_update_say_those_of_labels_and_files(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    data = table(tmp_path, {"features": np.zeros((3, 4)), "label": [STRANGE + "a"] * 3})
    assert f"{SHOWN}a " in told("evaluate", model, data)
    said = told("predict", model, data, tmp_path / "[/x][nan].npy", status=1)
    assert said.count(f": {SHOWN}") == 3
    assert "[/x][nan].npy: there is no such file" in said
    assert "out[x].mlmodel" in told("update", model, data, "-o", tmp_path / "out[x].mlmodel")
    wrong = table(tmp_path, {"features": np.zeros((3, 4)), "label": [STRANGE] * 3})
    assert "[/x][nan][bold" in told("update", model, wrong, "-o", tmp_path / "out", status=1)


def test_predict_says_the_names_of_outputs_and_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "plain.mlmodel"
    message = n.network([n.dense(2, 3)], (3,))
    n.fill(message.neuralNetwork.layers[0].innerProduct.weights, np.full((2, 3), 3e38))
    path.write_bytes(strange(message).SerializeToString())
    data = table(tmp_path, {"x": np.full((1, 3), 9)})
    assert "[/x][nan][boldl0: numbers that are infinite or NaN" in told("predict", path, data)


def test_add_says_the_name_and_the_departures(tmp_path: Path) -> None:
    # As systemd names them: as root, XDG's would be the system's own.
    folders = {
        f"{kind}_DIRECTORY": str(tmp_path / "[/x]" / kind) for kind in ("STATE", "CONFIGURATION", "RUNTIME")
    }
    path = tmp_path / "pet.mlmodel"
    path.write_bytes(strange(regions.label_and_box()).SerializeToString())
    said = told("add", path, "--beyond-coreml", environ=folders)
    assert "pet is registered" in said
    assert "leaves Core ML: " in said


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (more_models.neighbors(), ["labels a, b", "3 samples of 4 dimensions"]),
        (
            more_models.pipeline(),
            ["model model0: neuralNetwork", "model model1: kNearestNeighborsClassifier"],
        ),
    ],
)
def test_check_says_what_other_models_are_made_of(
    tmp_path: Path, message: pb.Model, words: list[str]
) -> None:
    path = tmp_path / "m.mlmodel"
    path.write_bytes(message.SerializeToString())
    said = told("check", path)
    assert [each for each in words if each not in said] == []
