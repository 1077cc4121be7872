"""What personalization gains, on other people's models and data: `make personal` prints it and writes docs/personal.md.

Everything goes the way a person would go: through the commands where the data are files, through `UpdateTask` where they
are arrays.  It takes a few minutes; `--quick` draws once instead of ten times.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import machine

from finetuned import UpdateTask
from finetuned.spec import author

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

SHARED = Path(os.environ.get("FINETUNED_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
OUT = Path(__file__).parents[1] / "docs" / "personal.md"
PACKAGES = ("numpy", "onnxruntime")
SIDE = 28
DRAWN = ("cats", "rainbows", "trains")
COUNTS = (1, 3, 10, 30)
DRAWS = 10
NEIGHBORS = 3
Data = dict[str, Any]


# ── drawings ────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Accuracy on the drawings that were not trained on, the mean over some draws: pixels as they are, and divided by 255."""

    count: int
    plain: float
    scaled: float


def drawings(folder: Path) -> Data:
    """Return Google's Quick, Draw! drawings, uint8 [N, 1, 28, 28], and what each is called."""
    each = {name: np.fromfile(folder / f"{name}1000.bin", np.uint8) for name in DRAWN}
    pixels = {name: numbers.reshape(-1, 1, SIDE, SIDE) for name, numbers in each.items()}
    labels = np.repeat(DRAWN, [len(array) for array in pixels.values()])
    return {"drawing": np.concatenate(list(pixels.values())), "label": labels}


def drawn(counts: Sequence[int] = COUNTS, draws: int = DRAWS) -> Iterator[Drawn]:
    """Teach Apple's drawing classifier a few drawings of each kind, and show it all others."""
    model = (SHARED / "apple_updatable_drawing" / "UpdatableDrawingClassifier.mlmodel").read_bytes()
    data = drawings(SHARED / "quickdraw_3x1000")
    scaled = author.scaled(model, 1 / 255)
    for count in counts:
        plain, divided = (
            fmean(_taught(each, data, count, seed) for seed in range(draws)) for each in (model, scaled)
        )
        yield Drawn(count=count, plain=plain, scaled=divided)


def _taught(model: bytes, data: Data, count: int, seed: int) -> float:
    shuffled = np.random.default_rng(seed).permutation(len(data["label"]))
    chosen = np.concatenate([shuffled[data["label"][shuffled] == name][:count] for name in DRAWN])
    rest = np.setdiff1d(shuffled, chosen)
    task = UpdateTask(model, _some(data, chosen), parameters={"numberOfNeighbors": NEIGHBORS})
    task.resume()
    return task.model.evaluate(_some(data, rest)).accuracy or 0.0


def _some(data: Data, rows: NDArray[Any]) -> Data:
    return {name: array[rows] for name, array in data.items()}


# ── digits ──────────────────────────────────────────────────────────────────────────────────────
def mnist() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the digits of MNIST's test set: their pixels, float32 [10000, 784], and what they are, int64 [10000]."""
    folder = SHARED / "mnist_t10k"
    pixels = np.frombuffer(_unzipped(folder / "t10k-images-idx3-ubyte.gz")[16:], np.uint8)
    labels = np.frombuffer(_unzipped(folder / "t10k-labels-idx1-ubyte.gz")[8:], np.uint8)
    return pixels.reshape(-1, SIDE * SIDE).astype(np.float32), labels.astype(np.int64)


def digits(taught: int = 8000) -> float:
    """Store the first digits' pixels in an empty k-NN, and return the accuracy on the others."""
    pixels, labels = mnist()
    model = author.vectors(
        SIDE * SIDE,
        vote=author.Vote(
            k=author.setting("numberOfNeighbors", str(NEIGHBORS)), labels="int64", weighting="uniform"
        ),
        name="pixels",
    )
    data = {"pixels": pixels, "label": labels}
    task = UpdateTask(model, _some(data, np.arange(taught)))
    task.resume()
    return task.model.evaluate(_some(data, np.arange(taught, len(labels)))).accuracy or 0.0


def _unzipped(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


# ── hands ───────────────────────────────────────────────────────────────────────────────────────
def finetuned(*words: object) -> dict[str, Any]:
    """Run a command and return the last object that it prints."""
    found: dict[str, Any] = json.loads(_lines(*words)[-1])
    return found


def _lines(*words: object) -> list[str]:
    command = [str(Path(sys.executable).parent / "finetuned"), *map(str, words), "--json"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout.splitlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Accuracy on photographs of hands that were not trained on.

    `before`: of the labels that the model was taught first; `after`: of the same when one more had been added; `all` with
    that one; `kept` of the pictures that the plain model had told apart, how many it still does.
    """

    what: str
    before: float | None = None
    after: float | None = None
    all: float
    kept: str = ""


HANDS = SHARED / "rock_paper_scissors"
FIRST, LATER = ("paper", "rock"), "scissors"
PLAIN = SHARED / "imagenet_backbone" / "MobileNetV2_1.0_224_int8.mlmodel"
SETTINGS = (
    "-p",
    "epochs=30:1:1000",
    "-p",
    "learningRate=0.01:0:1",
    "-p",
    "miniBatchSize=8:1:64",
    "-p",
    "seed=1",
)
LABELS = ("--label", "rock=✊", "--label", "paper=✋", "--label", "scissors=✌️")


def built_hands(folder: Path) -> Iterator[Hands]:
    """Teach the two models that somebody has built with coremltools."""
    for name, how in (
        ("HandskNN", ()),
        ("Hands", ("-p", "learningRate=0.01", "-p", "epochs=30", "-p", "miniBatchSize=8")),
    ):
        model, out = (
            SHARED / "updatable_built" / f"{name}_MobileNetV2_int8_updatable.mlmodel",
            folder / f"{name}.mlmodel",
        )
        finetuned("update", model, HANDS / "train", "-o", out, *how, *LABELS)
        found = finetuned("evaluate", out, HANDS / "test", *LABELS)
        yield Hands(what=f"{name}_MobileNetV2_int8, built with coremltools", all=found["accuracy"])


def _part(folder: Path, source: str, labels: Sequence[str]) -> Path:
    """Return a folder with some of the labels' photographs."""
    part = folder / f"{source}-{'-'.join(labels)}"
    if part.exists():
        return part
    part.mkdir()
    for label in labels:
        (part / label).symlink_to(HANDS / source / label)
    return part


def stored_hands(folder: Path) -> Hands:
    """Turn a plain network into features and nearest neighbours, teach it two labels, and a third one later."""
    model, first, later = (folder / f"{name}.mlmodel" for name in ("stored", "first", "later"))
    finetuned("author", "neighbors", PLAIN, "-o", model)
    finetuned("update", model, _part(folder, "train", FIRST), "-o", first)
    old = _part(folder, "test", FIRST)
    before = finetuned("evaluate", first, old)["accuracy"]
    finetuned("update", first, _part(folder, "train", [LATER]), "-o", later)
    return Hands(
        what="MobileNetV2, features and nearest neighbours",
        before=before,
        after=finetuned("evaluate", later, old)["accuracy"],
        all=finetuned("evaluate", later, HANDS / "test")["accuracy"],
    )


def trained_hands(folder: Path) -> Hands:
    """Train the head of a plain network of 1001 labels on two more of them, and add a third one later."""
    model, first, later = (folder / f"{name}.mlmodel" for name in ("head", "widened", "trained"))
    finetuned("author", "updatable", PLAIN, "--last", 1, *SETTINGS, "-o", model)
    for label in FIRST:
        finetuned("author", "add-label", model, label, "--samples", HANDS / "train" / label, "-o", model)
    finetuned("update", model, _part(folder, "train", FIRST), "-o", first)
    old = _part(folder, "test", FIRST)
    before = finetuned("evaluate", first, old)["accuracy"]
    finetuned("author", "add-label", first, LATER, "--samples", HANDS / "train" / LATER, "-o", first)
    finetuned("update", first, HANDS / "train", "-o", later)
    return Hands(
        what="MobileNetV2, its head of 1001 labels widened and trained",
        before=before,
        after=finetuned("evaluate", later, old)["accuracy"],
        all=finetuned("evaluate", later, HANDS / "test")["accuracy"],
        kept=_kept(later),
    )


def _kept(model: Path) -> str:
    """Tell how many of the pictures are still what the plain network has called them."""
    known = json.loads((PLAIN.parent / "golden_imagenet.json").read_text())["MobileNetV2_1.0_224"]
    called = {name: row["numpy_float_top3_int8"][0][0] for name, row in known.items()}
    pictures = [PLAIN.parent / "images" / name for name in called]
    lines = _lines("predict", model, *pictures)
    hits = sum(json.loads(line)["label"] == label for line, label in zip(lines, called.values(), strict=True))
    return f"{hits} of {len(called)}"


# ── the page ────────────────────────────────────────────────────────────────────────────────────
INTRODUCTION = """\
# What personalization gains

Written by `make personal` (`benchmarks/personal.py`): other people's models and data, by the commands and functions that everyone
has. {machine}.
"""
DRAWINGS = """\
## Drawings

Apple's own UpdatableDrawingClassifier: a network makes 128 numbers of a drawing, nearest neighbours learn them. Three classes of Quick, Draw!, 1,000 drawings each; a few of each are
stored, all others are asked, {neighbors} neighbours vote; means of {draws} draws. The file has no scale for its pixels, so the network sees 0 to 255, as it would on an iPhone. Its weights look as
if they had been trained on 0 to 1: `pixel_scale = 0.00392` in the configuration, or `finetuned author set --pixel-scale 1/255`, writes that into the file.

| drawings of each class | as the file says | pixels / 255 |
| --- | --- | --- |
{rows}
"""
PIXELS = """\
## Digits

Nearest neighbours alone, on the raw pixels of MNIST's test set: the first {taught:,} digits stored, {neighbors} neighbours, the other {asked:,} asked: **{accuracy:.2%}**.
Where three neighbours are of three classes the nearest one's wins; with the smallest label, as scikit-learn has it, it would be 96.55%.
"""
PHOTOGRAPHS = """\
## Hands

Thirty photographs of rock, paper and scissors to learn from, fifteen to be asked. Two models are somebody else's, built with coremltools; the others are made by
`finetuned author` of a plain MobileNetV2 of 1001 labels. These learn rock and paper first, and scissors later: the last row's head is widened by each label, made from its
first samples, and trained. The ten photographs of rock and paper are asked before and after.

| model | all fifteen | rock and paper, before scissors came | after | pictures that the plain network knew |
| --- | --- | --- | --- | --- |
{rows}
"""


def page(drawings_: Sequence[Drawn], draws: int, share: float, taught: int, hands: Sequence[Hands]) -> str:
    """Return the page."""
    rows = [f"| {each.count} | {each.plain:.1%} | {each.scaled:.1%} |" for each in drawings_]
    photographs = [
        f"| {each.what} | {each.all:.0%} | {_share(each.before)} | {_share(each.after)} | {each.kept or '–'} |"
        for each in hands
    ]
    parts = [
        INTRODUCTION.format(machine=machine(PACKAGES)),
        DRAWINGS.format(neighbors=NEIGHBORS, draws=draws, rows="\n".join(rows)),
        PIXELS.format(taught=taught, asked=10_000 - taught, neighbors=NEIGHBORS, accuracy=share),
        PHOTOGRAPHS.format(rows="\n".join(photographs)),
    ]
    return "\n".join(parts)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one draw instead of ten; the page is left alone"
    )
    quick = parser.parse_args().quick
    draws, taught = 1 if quick else DRAWS, 8000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hands = [*built_hands(folder), stored_hands(folder), trained_hands(folder)]
    text = page(list(drawn(draws=draws)), draws, digits(taught), taught, hands)
    print(text)
    if not quick:
        OUT.write_text(text)


if __name__ == "__main__":
    main()
