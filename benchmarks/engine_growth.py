"""How cost grows with samples, classes and epochs: a head on 1280 numbers, trained by a script in a fresh process each time.

The samples lie in an .npz, from which `load_samples` maps what is too much for memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from engine_duel import cores

INPUTS, BATCH, STEPS = 1280, 10, 3000
SAMPLES = (10, 100, 1_000, 10_000, 100_000)
CLASSES = (2, 10, 100, 1_000)
EPOCHS = (1, 10, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: microseconds for one sample in one epoch; MB at the peak, and of it, at the end, what is no file's."""

    samples: int
    classes: int
    epochs: int
    micros: float
    peak_mb: float
    own_mb: float


def measured(repeats: int) -> dict[str, list[Point]]:
    """Return the points by what grows in them."""
    plans = {
        "samples": [(samples, 10, max(1, STEPS * BATCH // samples)) for samples in SAMPLES],
        "classes": [(1_000, classes, 10) for classes in CLASSES],
        "epochs": [(1_000, 10, epochs) for epochs in EPOCHS],
    }
    with tempfile.TemporaryDirectory(prefix="finetuned-growth-") as folder:
        return {
            what: [_point(Path(folder), *plan, repeats=repeats) for plan in each]
            for what, each in plans.items()
        }


def _point(folder: Path, samples: int, classes: int, epochs: int, *, repeats: int) -> Point:
    asked = json.dumps(
        {"samples": samples, "classes": classes, "epochs": epochs, "data": str(folder / "data.npz")}
    )
    _child("make", asked)
    runs = [json.loads(_child("train", asked)) for _ in range(repeats)]
    return Point(
        samples=samples,
        classes=classes,
        epochs=epochs,
        micros=median(run["seconds"] for run in runs) / (samples * epochs) * 1e6,
        peak_mb=median(run["peak_mb"] for run in runs),
        own_mb=median(run["own_mb"] for run in runs),
    )


def _child(what: str, asked: str) -> str:
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, what, asked]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - this very file
    return done.stdout


# ── in a process of its own ─────────────────────────────────────────────────────────────────────
def make(samples: int, classes: int, data: str, **_: object) -> None:
    """Write the samples."""
    import numpy as np  # noqa: PLC0415 - the processes that compute import it

    rng = np.random.default_rng(0)
    features = rng.normal(size=(samples, INPUTS)).astype(np.float32)
    np.savez(data, features=features, label=rng.integers(classes, size=samples))


def train(samples: int, classes: int, epochs: int, data: str) -> None:
    """Train, and print what it cost."""
    import numpy as np  # noqa: PLC0415

    from finetuned import UpdateTask, load_samples  # noqa: PLC0415
    from finetuned.spec import author  # noqa: PLC0415

    rng = np.random.default_rng(0)
    head = author.Dense(
        weights=rng.normal(scale=0.01, size=(classes, INPUTS)).astype(np.float32),
        bias=np.zeros(classes, np.float32),
        updatable=True,
    )
    model = author.classifier(
        input=author.ArrayInput(size=INPUTS),
        layers=[head],
        labels=list(range(classes)),
        training=author.Training(optimizer=author.Adam()),
    )
    parameters = {"miniBatchSize": BATCH, "epochs": epochs, "learningRate": 0.001}
    task = UpdateTask(model, load_samples(data, model), parameters=parameters)
    began = time.perf_counter()
    task.resume()
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    own = re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0]
    print(
        json.dumps({"seconds": spent, "peak_mb": peak, "own_mb": int(own) * 1024 / 1e6, "samples": samples})
    )


if __name__ == "__main__":
    os.sched_setaffinity(0, cores(1))
    {"make": make, "train": train}[sys.argv[1]](**json.loads(sys.argv[2]))
