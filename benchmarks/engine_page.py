"""docs/benchmarks.md: what was measured, the aims beside it, and how to read it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine_models import NAMES
from figures import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine import Results
    from engine_cold import Cold
    from engine_duel import Outcome, Ratio
    from engine_growth import Point

PACKAGES = ("numpy", "onnxruntime", "onnx", "torch", "executorch", "onnx-ad")
NEAR, COLD, MEMORY = 1.05, 5.0, 0.5
NONE = "–"
INTRODUCTION = """\
# How fast the engine is

Written by `make bench` (`benchmarks/engine.py`). The figures of the daemon are in [figures.md](figures.md), those of k-NN's search in [neighbors.md](neighbors.md).

{machine}; {cache}load of others when it began: {load:.1f}; {date}.

**How it is measured.** Everyone in a process of its own, with the same file's weights, the same samples in the same order, the same number of threads and, by
`sched_setaffinity`, the same cores. They make bursts of a fifth of a second in turns, and begin each burst with the file's weights; while one runs, the others wait. A figure is the
**median of the rounds' ratios**, with the quartiles behind it: 2.00 means that the other takes twice finetuned's time. Before that they show their first eight losses (or
features): who computes something else is not compared, and what is said instead is in the notes. Absolute speeds are this machine's, and a medium one's; ratios travel better.

**Who.** *PyTorch eager*: `zero_grad(set_to_none=True)`, `index_select` from tensors in memory, the optimizer as it comes, `set_num_threads`. *Its best*: the fastest, in a trial before
the duel, of the optimizer as it comes, `foreach` and `fused`, `channels_last`, and `torch.compile` over forward and backward. *onnx-ad*: its derived graph of ordinary
operators in onnxruntime, bound buffers, finetuned's optimizer. *Products*: the limit, the step's matrix products alone as one onnxruntime session (a convolution's with its columns), as a
share of finetuned's step. *finetuned*: `NetworkUpdate.steps`, as a worker runs it: the loop in Python, gathering, the graph, the optimizer in NumPy.
"""


def page(results: Results) -> str:
    """Return the page."""
    parts = [
        INTRODUCTION.format(
            machine=machine(PACKAGES), cache=_cache(), load=results.load, date=f"{datetime.now(UTC):%Y-%m-%d}"
        ),
        _training("Training", "Adam; batch 32, LeNet 128.", results.main),
        _training("Small mini-batches, and SGD", _VARIED, results.varied, aims=False),
        _features(results.features),
        _cold(results.cold),
        _growth(results.growth),
        "".join(f"Left out: {why}.\n" for why in results.left_out),
    ]
    return "\n".join(part for part in parts if part)


_VARIED = """\
One thread. ExecuTorch's training module (`executorch.extension.training`) has no other optimizer than SGD, and its wheel runs the joint graph by portable kernels, in one thread. Through
convolutions and dense layers its gradients are PyTorch's; below a max pooling they are others, or its process ends, which keeps it out of the convnet."""


# ── training ────────────────────────────────────────────────────────────────────────────────────
def _training(title: str, words: str, outcomes: Sequence[Outcome], *, aims: bool = True) -> str:
    if not outcomes:
        return ""
    executed = any("executorch" in {*outcome.ratios, *outcome.absent} for outcome in outcomes)
    heads = ["task", "threads" if aims else "how", "samples/s", "× PyTorch eager"]
    heads += (["aim"] if aims else []) + ["× its best", "which"] + (["× ExecuTorch"] if executed else [])
    heads += ["× onnx-ad", "products"]
    rows = []
    for outcome in outcomes:
        setting = outcome.setting
        how = str(setting.threads) if aims else f"{NAMES[setting.optimizer]}, batch {setting.batch}"
        aim = [_met(outcome, "eager", setting.whole.aim)] if aims else []
        other = [_ratio(outcome, "executorch")] if executed else []
        row = [setting.whole.title, how, f"{outcome.rate:,.0f}", _ratio(outcome, "eager"), *aim]
        row += [_ratio(outcome, "best"), outcome.variants.get("best", NONE), *other]
        rows.append([*row, _ratio(outcome, "onnx-ad"), _share(outcome, "products")])
    return f"## {title}\n\n{words}\n\n{_table(heads, rows)}{_notes(outcomes)}"


def _ratio(outcome: Outcome, name: str) -> str:
    return _spread(outcome.ratios[name]) if name in outcome.ratios else NONE


def _spread(ratio: Ratio) -> str:
    return f"**{ratio.median:.2f}** ({ratio.low:.2f}–{ratio.high:.2f})"


def _share(outcome: Outcome, name: str) -> str:
    return f"{outcome.ratios[name].median:.0%} ({outcome.variants[name]})" if name in outcome.ratios else NONE


def _met(outcome: Outcome, name: str, aim: float) -> str:
    if name not in outcome.ratios:
        return f"≥ {aim:g}"
    return f"≥ {aim:g}: {_word(met=outcome.ratios[name].median >= aim)}"


def _word(*, met: bool) -> str:
    return "met" if met else "**missed**"


def _notes(outcomes: Iterable[Outcome]) -> str:
    """Who is not compared, and why; one line for each reason."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        for name, why in outcome.absent.items():
            found.setdefault(f"{name}: {why}", []).append(outcome.setting.whole.title)
    lines = "".join(f"* {why} ({', '.join(dict.fromkeys(tasks))}).\n" for why, tasks in found.items())
    return f"\n{lines}" if lines else ""


# ── the others ──────────────────────────────────────────────────────────────────────────────────
def _features(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    rows = []
    for outcome in outcomes:
        raw = min(
            (
                outcome.ratios[n].median
                for n in ("features: onnxruntime", "features: onnxruntime, spinning")
                if n in outcome.ratios
            ),
            default=0.0,
        )
        rows.append(
            [
                str(outcome.setting.batch),
                str(outcome.setting.threads),
                f"{outcome.rate:,.0f}",
                _ratio(outcome, "features: onnxruntime"),
                _ratio(outcome, "features: onnxruntime, spinning"),
                f"≥ {1 / NEAR:.2f}: {_word(met=raw >= 1 / NEAR)}" if raw else NONE,
                _ratio(outcome, "features: eager"),
                _ratio(outcome, "features: best"),
            ]
        )
    heads = [
        "batch",
        "threads",
        "pictures/s",
        "× onnxruntime",
        "× it with spinning threads",
        "aim: within 5 %",
    ]
    words = """\
MobileNetV2 1.0, 224 by 224, from a file with weights of 8 bits, up to the pooled 1280 numbers. onnxruntime: an ordinary graph of the same network (one operator for a layer, weights
as float32 constants) in a session with nothing set but its threads, with threads that sleep between two runs (as finetuned's do) or spin (its default). PyTorch: `inference_mode`."""
    return f"## The frozen part\n\n{words}\n\n{_table([*heads, '× PyTorch eager', '× it with channels_last'], rows)}{_notes(outcomes)}"


def _cold(found: Sequence[Cold]) -> str:
    if not found:
        return ""
    rows = [_cold_row(cold) for cold in found]
    heads = ["threads", "who", "time", "PyTorch's", "×", "aim", "largest process", "all processes", "aim"]
    words = """\
A fresh process: a MobileNetV2 is read (and compiled), 100 photographs (JPEG, 224 by 224) are decoded, their features made, a head 1280 → 10 trained for 10 epochs by SGD (batch 8), the
model saved. PyTorch is a plain script (`benchmarks/engine_cold_torch.py`) that reads the same weights from a file of its own; beside it the same with `UpdateTask`
(`engine_cold_script.py`), and the command, which also measures before and after. finetuned decodes in a fenced process of its own, for which Python starts once more."""
    return f"## A whole job, cold\n\n{words}\n\n{_table(heads, rows)}"


def _cold_row(cold: Cold) -> list[str]:
    row = [str(cold.threads), cold.who, f"{cold.cost.seconds:.2f} s"]
    if cold.other is None or cold.time is None:
        memory = [f"{cold.cost.memory_mb:.0f} MB", f"{cold.sum_mb:.0f} MB"]
        return [*row, NONE, NONE, f"≥ {COLD:g}", *memory, f"< {MEMORY:.0%}"]
    return [
        *row,
        f"{cold.other.seconds:.2f} s",
        _spread(cold.time),
        f"≥ {COLD:g}: {_word(met=cold.time.median >= COLD)}",
        f"{cold.cost.memory_mb:.0f} MB against {cold.other.memory_mb:.0f}",
        f"{cold.sum_mb:.0f} MB against {cold.other_sum_mb:.0f}",
        f"< {MEMORY:.0%}: {_word(met=cold.memory < MEMORY)}",
    ]


def _growth(found: dict[str, list[Point]]) -> str:
    if not found:
        return ""
    rows = [
        [
            what,
            f"{p.samples:,}",
            f"{p.classes:,}",
            f"{p.epochs:,}",
            f"{p.micros:.2f} µs",
            f"{p.memory_mb:.0f} MB",
        ]
        for what, points in found.items()
        for p in points
    ]
    words = """\
A head on 1280 numbers, Adam, batch 10, one thread; each figure of a fresh process. The time for one sample in one epoch is that of `UpdateTask`; the memory that of `finetuned update`
on the same .npz, at its peak, libraries included: what is more than 16 MB goes through a file."""
    heads = ["with", "samples", "classes", "epochs", "a sample in an epoch", "memory"]
    return f"## How cost grows\n\n{words}\n\n{_table(heads, rows)}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cache() -> str:
    """The caches and the widest vectors of this processor, where Linux tells them."""
    words = []
    for index in (2, 3):
        place = Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size")
        if place.exists():
            words.append(f"L{index} {place.read_text().strip()}")
    flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    wide = [name for name in ("avx512f", "avx2") if flags and name in flags[1].split()]
    return ", ".join([*words, *wide[:1], f"{len(os.sched_getaffinity(0))} of the cores used"]) + "; "
