"""A process in which onnxruntime has another provider: it trains and moves in the middle, or tests the compiler on it.

`python second_provider_child.py train DEVICE OPTIMIZER ACTIVATION` prints what came of a training as JSON, `… pipeline DEVICE
KIND` what came of a pipeline's; `… graph DEVICE` runs tests/graph with every session on the device and exits as pytest does.
"""

from __future__ import annotations

import json
import sys
from functools import partialmethod
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import pytest  # noqa: E402 - the tests' own modules are found from here on

from finetuned.spec import codec  # noqa: E402
from finetuned.update.features import encoded  # noqa: E402
from finetuned.update.network import MiniBatch  # noqa: E402
from finetuned.update.session import Session  # noqa: E402
from finetuned.update.updating import updater  # noqa: E402
from update.trainings import PIPELINES, SEEN, blobs, moved_model, update  # noqa: E402

MOVES = {7: False, 15: True}
"""After so many steps it is accelerated or not."""
NOT_THERE = {"openvino": "not GlobalLpPool and not (L2 and (everywhere or whole))"}
"""What a provider refuses, and says so: of OpenVINO's the one primitive that it does not have for a batch of any size."""


def train(device: str, optimizer: str, activation: str) -> None:
    """Train on the device, move to the CPU and back."""
    data, asked = moved_model(optimizer, activation)
    chosen, samples = update(data, devices=("npu", device, "cpu"), **asked), blobs()
    losses, devices, moves = [], [], chosen.news()
    for event in chosen.steps(samples):
        if not isinstance(event, MiniBatch):
            continue
        losses.append(event.loss)
        devices.append(chosen.device)
        if (accelerated := MOVES.get(len(losses))) is not None:
            chosen.accelerate(accelerated=accelerated)
            moves += chosen.news()
    told = {
        "losses": losses,
        "devices": devices,
        "moves": [(move.device, move.why) for move in moves],
        "weights": {name: layer.weights.tolist() for name, layer in chosen.weights().items()},
        "measured": chosen.measure(samples).loss,
    }
    print(json.dumps(told))  # noqa: T201 - this is what it is for


def pipeline(device: str, kind: str) -> None:
    """Compute a pipeline's features on the device, on the CPU and on the device again, and learn."""
    message, asked = PIPELINES[kind]
    chosen = updater(
        codec.decode(message.SerializeToString()), asked, seed=0, devices=(device, "cpu"), accelerated=False
    )
    features, devices = [], []
    for accelerated in (True, False, True):
        chosen.accelerate(accelerated=accelerated)
        devices.append(chosen.device)
        samples = encoded(chosen, SEEN)
        features.append(samples.features[:].tolist())
    list(chosen.steps(samples))
    told = {"devices": devices, "features": features, "model": chosen.encode().hex()}
    print(json.dumps(told))  # noqa: T201 - this is what it is for


def graph(device: str) -> int:
    """Run the compiler's tests on the device."""
    setattr(Session, "__init__", partialmethod(Session.__init__, device=device))  # noqa: B010 - mypy forbids the plain form
    return pytest.main(
        [str(TESTS / "graph"), "-q", "-p", "no:cacheprovider", "-k", NOT_THERE.get(device, "")]
    )


if __name__ == "__main__":
    if sys.argv[1] == "graph":
        sys.exit(graph(sys.argv[2]))
    if sys.argv[1] == "pipeline":
        pipeline(*sys.argv[2:])
    else:
        train(*sys.argv[2:])
