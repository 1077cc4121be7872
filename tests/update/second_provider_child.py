"""A process in which onnxruntime has OpenVINO: it trains and moves in the middle, or tests the compiler on it.

`python second_provider_child.py train OPTIMIZER ACTIVATION` prints what came of a training as JSON; `… graph` runs tests/graph
with every session on OpenVINO and exits as pytest does.
"""

from __future__ import annotations

import json
import sys
from functools import partialmethod
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import pytest  # noqa: E402 - the tests' own modules are found from here on

from finetuned.update.network import MiniBatch  # noqa: E402
from finetuned.update.session import Session  # noqa: E402
from update.trainings import blobs, moved_model, update  # noqa: E402

DEVICES = ("cuda", "openvino", "cpu")
MOVES = {7: False, 15: True}
"""After so many steps it is accelerated or not."""
NOT_IN_OPENVINO = "not GlobalLpPool and not (L2 and everywhere)"
"""The one primitive that it refuses for a batch of any size, and says so."""


def train(optimizer: str, activation: str) -> None:
    """Train on OpenVINO, move to the CPU and back."""
    data, asked = moved_model(optimizer, activation)
    chosen, samples = update(data, devices=DEVICES, **asked), blobs()
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


def graph() -> int:
    """Run the compiler's tests on OpenVINO."""
    setattr(Session, "__init__", partialmethod(Session.__init__, device="openvino"))  # noqa: B010 - mypy forbids the plain form
    return pytest.main([str(TESTS / "graph"), "-q", "-p", "no:cacheprovider", "-k", NOT_IN_OPENVINO])


if __name__ == "__main__":
    if sys.argv[1] == "graph":
        sys.exit(graph())
    train(*sys.argv[2:])
