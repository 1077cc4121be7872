"""How cost grows with samples, classes and epochs: a head on 1280 numbers, trained in a fresh process each time.

The samples lie in an .npz.  A script tells the time of a sample in an epoch, without the start of the process; the memory is that of `finetuned update` on the
same file, at its peak.
"""

from __future__ import annotations

import json
import os
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
MODEL, DATA = "model.mlmodel", "data.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What it cost: microseconds for one sample in one epoch, MB at the peak."""

    samples: int
    classes: int
    epochs: int
    micros: float
    memory_mb: float


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
    asked = json.dumps({"samples": samples, "classes": classes, "epochs": epochs, "folder": str(folder)})
    _run([__file__, "make", asked])
    seconds = [float(_run([__file__, "train", asked])[0]) for _ in range(repeats)]
    model, data, out = (str(folder / name) for name in (MODEL, DATA, "out.mlmodel"))
    settings = ["-p", f"epochs={epochs}", "-p", f"miniBatchSize={BATCH}", "--json"]
    _, memory = _run(["-m", "finetuned", "update", model, data, "-o", out, *settings])
    return Point(
        samples=samples,
        classes=classes,
        epochs=epochs,
        micros=median(seconds) / (samples * epochs) * 1e6,
        memory_mb=memory,
    )


def _run(arguments: list[str]) -> tuple[str, float]:
    """Run Python; return what it printed, and its MB at the peak."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores(1)),  # noqa: PLW1509 - this process has one thread
    )
    assert process.stdout is not None  # noqa: S101 - a pipe
    printed = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{arguments[:3]} ended with {process.returncode}")
    return printed, usage.ru_maxrss * 1024 / 1e6


# ── in a process of its own ─────────────────────────────────────────────────────────────────────
def make(samples: int, classes: int, folder: str, **_: object) -> None:
    """Write model and samples."""
    import numpy as np  # noqa: PLC0415 - the processes that compute import it

    from finetuned.spec import author  # noqa: PLC0415

    rng = np.random.default_rng(0)
    features = rng.normal(size=(samples, INPUTS)).astype(np.float32)
    np.savez(Path(folder) / DATA, features=features, label=rng.integers(classes, size=samples))
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
    (Path(folder) / MODEL).write_bytes(model)


def train(epochs: int, folder: str, **_: object) -> None:
    """Train, and print the seconds."""
    from finetuned import UpdateTask, load_samples  # noqa: PLC0415

    model = (Path(folder) / MODEL).read_bytes()
    parameters = {"miniBatchSize": BATCH, "epochs": epochs, "learningRate": 0.001}
    task = UpdateTask(model, load_samples(Path(folder) / DATA, model), parameters=parameters)
    began = time.perf_counter()
    task.resume()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    {"make": make, "train": train}[sys.argv[1]](**json.loads(sys.argv[2]))
