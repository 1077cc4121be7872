"""Write the demo's material: pictures of digits on their side, and a base model trained on other, upright digits.

`python tools/demo_material.py` writes into the package and prints how good the model is before and after an update.
Everything is a function of the set and of `SEED`: a second run writes the same files.  Needs scikit-learn (the extra
`oracle`).
"""

from __future__ import annotations

import shutil
import struct
import sys
import zlib
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.edge.demo_data import FOLDER
from finetuned.service.messages import InputSpec
from finetuned.spec import author
from finetuned.update.task import UpdateTask
from finetuned_plugins.pictures import Pictures

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from finetuned.update.updated_model import UpdatedModel

Pixels = NDArray[np.uint8]
Indices = NDArray[np.int64]

SEED = 0
DROPS, TEST = 10, 30  # of each digit
LABELS = tuple("0123456789")
DARKEST = 16  # the set's largest value
ENLARGED = 8  # a pixel of the set becomes a square of this side

SIDE = 16  # of the model's input: twice the set's, so that shrinking a picture blurs little of it
HIDDEN = 128
BASE_PARAMETERS = {
    "epochs": 30,
    "miniBatchSize": 16,
}  # 1,397 digits; the model's defaults are meant for a hundred


# ── the set ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """`images` is uint8 [N, 8, 8], 0 to 255, ink is bright; `labels` is int64 [N]."""

    images: Pixels
    labels: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Indices into the set; every digit is in exactly one part."""

    drops: Indices
    test: Indices
    base: Indices


def load() -> Digits:
    """Return the set that scikit-learn bundles."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - an optional extra: main says how to get it

    bundled = load_digits()
    images = np.rint(bundled.images * (255 / DARKEST)).astype(np.uint8)
    return Digits(images=images, labels=bundled.target.astype(np.int64))


def divide(labels: Indices) -> Parts:
    """Divide at random within each digit."""
    shuffled = [
        np.random.default_rng([SEED, digit]).permutation(np.flatnonzero(labels == digit))
        for digit in range(10)
    ]
    return Parts(
        drops=np.concatenate([order[:DROPS] for order in shuffled]),
        test=np.concatenate([order[DROPS : DROPS + TEST] for order in shuffled]),
        base=np.sort(np.concatenate([order[DROPS + TEST :] for order in shuffled])),
    )


# ── pictures ────────────────────────────────────────────────────────────────────────────────────
def picture(image: Pixels, *, sideways: bool) -> bytes:
    """Return a digit, uint8 [8, 8], as a PNG large enough to look at."""
    turned = np.rot90(image) if sideways else image
    return png(np.kron(turned, np.ones((ENLARGED, ENLARGED), dtype=np.uint8)))


def png(pixels: Pixels) -> bytes:
    """Return uint8 [H, W] as a grayscale PNG with nothing in it but the pixels (no date, no program's name)."""
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_pictures(folder: Path, digits: Digits, parts: Parts) -> None:
    """Write `drops/<label>/<index>.png` and `test/<label>/<index>.png`, in place of what was there."""
    for name, indices in (("drops", parts.drops), ("test", parts.test)):
        shutil.rmtree(folder / name, ignore_errors=True)
        for index in indices:
            path = folder / name / str(digits.labels[index]) / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(digits.images[index], sideways=True))


# ── the model ───────────────────────────────────────────────────────────────────────────────────
def samples(digits: Digits, indices: Indices, *, sideways: bool) -> dict[str, Any]:
    """Return training data as the model gets it: every picture through the decoder that the daemon uses."""
    want = InputSpec(name="image", shape=(1, SIDE, SIDE), color="GRAYSCALE")
    decoded = [Pictures().decode(picture(digits.images[i], sideways=sideways), want) for i in indices]
    images = np.frombuffer(b"".join(decoded), dtype=np.uint8).reshape(-1, *want.shape)
    return {"image": images, "label": [str(label) for label in digits.labels[indices]]}


def untrained() -> bytes:
    """Return the base before its training; its defaults suit an update with about a hundred pictures."""
    training = author.Training(
        optimizer=author.SGD(
            learning_rate=author.Limits(default=0.02, minimum=0, maximum=1),
            batch=author.Limits(default=4, minimum=1, maximum=256),
            momentum=author.Limits(default=0.9, minimum=0, maximum=1),
        ),
        epochs=author.Limits(default=30, minimum=1, maximum=1000),
        seed=SEED,
    )
    return author.classifier(
        input=author.ImageInput(width=SIDE, height=SIDE),
        # tanh has no kinks: another processor's last bits stay last bits, and the test can tell a change from noise.
        layers=[
            _dense("hidden", SIDE**2, HIDDEN),
            author.Activation(kind="tanh"),
            _dense("digits", HIDDEN, 10),
        ],
        labels=LABELS,
        training=training,
        metadata={
            "shortDescription": "Handwritten digits, upright, light on dark: the base model of `finetuned demo`",
            "author": "The finetuned project; digits by E. Alpaydin and C. Kaynak (UCI)",
            "license": "The digits that it learned from: CC BY 4.0",
            "versionString": "1",
        },
    )


def _dense(name: str, inputs: int, outputs: int) -> author.Dense:
    drawn = np.random.default_rng([SEED, inputs, outputs]).normal(scale=inputs**-0.5, size=(outputs, inputs))
    return author.Dense(
        name=name, weights=drawn.astype(np.float32), bias=np.zeros(outputs, np.float32), updatable=True
    )


def updated(
    model: bytes, data: Mapping[str, Any], parameters: Mapping[str, object] | None = None
) -> UpdatedModel:
    """Return the model after one update task, on one thread."""
    task = UpdateTask(model, data, parameters=parameters, threads=1)
    task.resume()
    return task.model


def base_model(digits: Digits, parts: Parts) -> bytes:
    """Return the base, trained on its own digits, upright."""
    return updated(untrained(), samples(digits, parts.base, sideways=False), BASE_PARAMETERS).encode()


# ── what it is worth ────────────────────────────────────────────────────────────────────────────
def figures(model: bytes, digits: Digits, parts: Parts) -> dict[str, float]:
    """Return accuracies on the test digits, which nothing here was trained on."""
    upright, test = (samples(digits, parts.test, sideways=sideways) for sideways in (False, True))
    drops = samples(digits, parts.drops, sideways=True)
    fewer = samples(digits, np.delete(parts.drops, np.s_[::5]), sideways=True)
    base = UpdateTask(model, drops).model
    after = updated(model, drops)
    return {
        "the base, upright": _accuracy(base, upright),
        "the base, on their side": _accuracy(base, test),
        "after 100 drops, on their side": _accuracy(after, test),
        "after 80 drops, on their side": _accuracy(updated(model, fewer), test),
        "after 100 drops, upright": _accuracy(after, upright),
        "logistic regression from the 100 alone, on their side": _linear_accuracy(drops, test),
    }


def _accuracy(model: UpdatedModel, data: Mapping[str, Any]) -> float:
    return model.evaluate(data).accuracy or 0.0


def _linear_accuracy(drops: Mapping[str, Any], test: Mapping[str, Any]) -> float:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - an optional extra

    flat = [data["image"].reshape(len(data["label"]), -1) / 255 for data in (drops, test)]
    return float(LogisticRegression(max_iter=2000).fit(flat[0], drops["label"]).score(flat[1], test["label"]))


def size(folder: Path) -> int:
    """Return how many bytes of pictures and model are in `folder`."""
    return sum(path.stat().st_size for path in _material(folder))


def _material(folder: Path) -> Iterable[Path]:
    return chain(folder.glob("*.mlmodel"), folder.glob("*/*/*.png"))


def main() -> int:
    """Write the material into the package; return the exit code."""
    try:
        digits = load()
    except ImportError:
        print("the digits come with scikit-learn: pip install 'finetuned[oracle]'", file=sys.stderr)
        return 1
    parts = divide(digits.labels)
    write_pictures(FOLDER, digits, parts)
    model = base_model(digits, parts)
    (FOLDER / "digits.mlmodel").write_bytes(model)
    for what, accuracy in figures(model, digits, parts).items():
        print(f"{accuracy:6.1%}  {what}")
    print(f"{size(FOLDER):,} bytes in {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
