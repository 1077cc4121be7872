"""How fast the engine is, side by side with others: `make bench` prints a table and writes docs/benchmarks.md.

PyTorch, ExecuTorch and onnx-ad are extras (`pip install 'finetuned[oracle,bench]'`); who is not there is left out with a word.  All of it takes
about ten minutes on a quiet machine; `--quick` makes one round of short bursts and writes nothing, `--only` names sections.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import engine_cold
import engine_growth
import engine_page
from engine_duel import Outcome, Pace, duel
from engine_models import MOBILENET, SHARED, TASKS, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

OUT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
THREADS = (1, 2)
TRAINERS = ("finetuned", "eager", "best", "onnx-ad", "products")
SGD_TRAINERS = ("finetuned", "eager", "best", "executorch", "onnx-ad", "products")
FEATURES = (
    "features: finetuned",
    "features: onnxruntime",
    "features: onnxruntime, spinning",
    "features: eager",
    "features: best",
)
BATCHES = {"lenet": 128}
"""Where the model allows no other."""
VARIED = ("head5", "head100", "mlp", "digits")


@dataclass(slots=True)
class Results:
    """What was measured, by section."""

    main: list[Outcome] = field(default_factory=list)
    varied: list[Outcome] = field(default_factory=list)
    features: list[Outcome] = field(default_factory=list)
    cold: list[engine_cold.Cold] = field(default_factory=list)
    growth: dict[str, list[engine_growth.Point]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0])


def threads_here() -> tuple[int, ...]:
    """Return the numbers of threads for which there are cores."""
    return tuple(threads for threads in THREADS if threads <= len(os.sched_getaffinity(0)))


def there(results: Results, needed: str) -> bool:
    """Say whether the shared data hold what is needed; what they do not is left out with a word."""
    if not needed or (SHARED / needed).exists():
        return True
    results.left_out.append(f"there is no {needed} in {SHARED.name}")
    return False


# ── sections ────────────────────────────────────────────────────────────────────────────────────
def training(results: Results, pace: Pace) -> None:
    """Every task with Adam, at one and at two threads."""
    for name, task in TASKS.items():
        if name != "tiny" and there(results, task.needs):
            for threads in threads_here():
                setting = Setting(task=name, batch=BATCHES.get(name, 32), threads=threads)
                results.main.append(told(setting, TRAINERS, pace))


def varied(results: Results, pace: Pace) -> None:
    """Small mini-batches; and SGD, which is all that ExecuTorch's training module has."""
    for name in VARIED:
        results.varied.append(told(Setting(task=name, batch=8), TRAINERS, pace))
    for name in VARIED:
        results.varied.append(told(Setting(task=name, optimizer="sgdOptimizer"), SGD_TRAINERS, pace))


def features(results: Results, pace: Pace) -> None:
    """The frozen MobileNetV2."""
    if there(results, MOBILENET):
        for batch in (1, 16):
            for threads in threads_here():
                results.features.append(
                    told(Setting(task="head5", batch=batch, threads=threads), FEATURES, pace)
                )


def cold(results: Results, pace: Pace) -> None:
    """The whole job in a fresh process."""
    if there(results, MOBILENET) and there(results, engine_cold.PHOTOGRAPHS):
        for threads in threads_here():
            print(f"the cold job, threads: {threads} …", file=sys.stderr)
            results.cold += engine_cold.measured(threads, max(1, pace.rounds - 2))


def growth(results: Results, pace: Pace) -> None:
    """Samples, classes, epochs."""
    print("growth …", file=sys.stderr)
    results.growth = engine_growth.measured(min(3, pace.rounds))


SECTIONS: dict[str, Callable[[Results, Pace], None]] = {
    "training": training,
    "varied": varied,
    "features": features,
    "cold": cold,
    "growth": growth,
}


def told(setting: Setting, contenders: Iterable[str], pace: Pace) -> Outcome:
    """Let them run, and say on the way how it went."""
    began = time.monotonic()
    outcome = duel(setting, tuple(contenders), pace)
    words = [f"{name} {ratio.median:.2f}" for name, ratio in outcome.ratios.items()]
    words += [f"{name}: {why}" for name, why in outcome.absent.items()]
    about = f"{setting.task}, {setting.optimizer}, batch {setting.batch}, threads: {setting.threads}"
    print(f"{about}: {'; '.join(words)} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
    return outcome


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round of everything; nothing is written"
    )
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections alone"
    )
    asked = parser.parse_args()
    pace = Pace(rounds=1, seconds=0.02) if asked.quick else Pace()
    results = Results()
    began = time.monotonic()
    for name in asked.only:
        SECTIONS[name](results, pace)
    text = engine_page.page(results)
    if not asked.quick and set(asked.only) == set(SECTIONS):
        OUT.write_text(text, encoding="utf-8")
    print(text)
    print(f"it took {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
