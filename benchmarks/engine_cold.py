"""The whole cold job, as a user has it: a fresh process reads a model, decodes a hundred photographs, trains and saves.

`finetuned update` against a PyTorch script (engine_cold_torch.py), in turns.  The memory is what the largest process had at its peak (`ru_maxrss`);
in a run of its own, which is not timed, the sum over all processes is watched (PSS: shared pages are divided).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from engine_duel import Ratio, cores, ratio
from engine_models import MOBILENET, SHARED, shared_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.model import Model

PICTURES, EPOCHS = 100, 10
PHOTOGRAPHS = "rock_paper_scissors/train"
WATCHED_EVERY_S = 0.01
LABELS = ("✊", "✋", "✌️")
Command = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took: seconds, and MB of its largest process."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """What the job costs by contender, and how many times as much as finetuned's."""

    threads: int
    costs: dict[str, Cost]
    sums_mb: dict[str, float]
    time: Ratio | None
    memory: float | None


def measured(threads: int, rounds: int) -> Cold:
    """Measure the job."""
    with tempfile.TemporaryDirectory(prefix="finetuned-cold-") as name:
        folder = Path(name)
        commands = _commands(folder, threads)
        runs: dict[str, list[Cost]] = {each: [] for each in commands}
        for make in commands.values():  # what the files' cache holds is no part of it
            _run(make(), threads)
        for _ in range(rounds):
            for each, make in commands.items():
                runs[each].append(_run(make(), threads))
        sums = {each: _watched(make(), threads) for each, make in commands.items()}
    costs = {
        each: Cost(seconds=median(c.seconds for c in run), memory_mb=median(c.memory_mb for c in run))
        for each, run in runs.items()
    }
    return _compared(threads, runs, costs, sums)


def _compared(
    threads: int, runs: dict[str, list[Cost]], costs: dict[str, Cost], sums: dict[str, float]
) -> Cold:
    if "PyTorch" not in runs:
        return Cold(threads=threads, costs=costs, sums_mb=sums, time=None, memory=None)
    times = {each: [cost.seconds for cost in run] for each, run in runs.items()}
    return Cold(
        threads=threads,
        costs=costs,
        sums_mb=sums,
        time=ratio(times["PyTorch"], times["finetuned"]),
        memory=costs["finetuned"].memory_mb / costs["PyTorch"].memory_mb,
    )


# ── the job ─────────────────────────────────────────────────────────────────────────────────────
def _commands(folder: Path, threads: int) -> dict[str, Callable[[], Command]]:
    """Return the command of each contender; everything that it reads is made here."""
    data = folder / "data"
    _repeat(SHARED / PHOTOGRAPHS, data)
    model, out = SHARED / MOBILENET, folder / "updated.mlmodel"
    mapped = [word for label in zip(_labels(), LABELS, strict=True) for word in ("--label", "=".join(label))]
    ours = [sys.executable, "-m", "finetuned", "update", str(model), str(data), "-o", str(out), *mapped]
    ours += ["-p", f"epochs={EPOCHS}", "--threads", str(threads), "--json"]
    found: dict[str, Callable[[], Command]] = {"finetuned": lambda: _fresh(out, ours)}
    if find_spec("torch") is not None:
        script, weights = Path(__file__).with_name("engine_cold_torch.py"), folder / "mobilenet.pt"
        _save_for_torch(shared_model(MOBILENET), weights)
        places = [str(each) for each in (weights, data, folder / "updated.pt", EPOCHS, threads)]
        found["PyTorch"] = lambda: [sys.executable, str(script), *places]
    return found


def _labels() -> list[str]:
    return sorted(path.name for path in (SHARED / PHOTOGRAPHS).iterdir() if path.is_dir())


def _repeat(source: Path, data: Path) -> None:
    """Copy photographs until there are a hundred, each a file of other bytes: a sample is its content."""
    photographs = sorted(source.glob("*/*.jpg"))
    for number in range(PICTURES):
        photograph = photographs[number % len(photographs)]
        place = data / photograph.parent.name / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        # What follows a JPEG's end is read by nobody.
        place.write_bytes(photograph.read_bytes() + number.to_bytes(2, "big"))


def _fresh(out: Path, command: Command) -> Command:
    out.unlink(missing_ok=True)
    shutil.rmtree(out.with_suffix(".checkpoint"), ignore_errors=True)
    return command


def _save_for_torch(model: Model, weights: Path) -> None:
    """Write what the script reads, in a process of its own: torch's memory is not ours."""
    from engine_frozen import arrays, described  # noqa: PLC0415

    weights.with_suffix(".json").write_text(json.dumps(described(model)))
    raw = weights.with_suffix(".npz")
    np.savez(raw, **arrays(model))  # type: ignore[arg-type]
    code = (
        "import sys, numpy, torch; "
        "torch.save({n: torch.from_numpy(a) for n, a in numpy.load(sys.argv[1]).items()}, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(raw), str(weights)], check=True)  # noqa: S603 - our own line


# ── a process from outside ──────────────────────────────────────────────────────────────────────
def _start(command: Command, threads: int) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(  # noqa: S603 - our own programs
        ["taskset", "-c", ",".join(map(str, cores(threads))), *command],  # noqa: S607
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _run(command: Command, threads: int) -> Cost:
    began = time.perf_counter()
    process = _start(command, threads)
    assert process.stderr is not None  # noqa: S101 - a pipe
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}: {said.decode()[-500:]}")
    return Cost(seconds=seconds, memory_mb=usage.ru_maxrss * 1024 / 1e6)


def _watched(command: Command, threads: int) -> float:
    """Return the most MB that all its processes had together."""
    process, most = _start(command, threads), 0.0
    while process.poll() is None:
        most = max(most, sum(map(_pss_mb, _tree(process.pid))))
        time.sleep(WATCHED_EVERY_S)
    assert process.stderr is not None  # noqa: S101 - a pipe
    process.stderr.close()
    return most


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _pss_mb(pid: int) -> float:
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:  # it has gone
        return 0.0
    return int(found[1]) * 1024 / 1e6 if found else 0.0
