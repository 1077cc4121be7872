"""The whole cold job, as a user has it: a fresh process reads a model, decodes a hundred photographs, trains and saves.

`finetuned update`, and a script with finetuned (engine_cold_script.py), against a PyTorch script (engine_cold_torch.py), in turns.  The memory is what the largest process had at its peak (`ru_maxrss`);
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
from dataclasses import dataclass, replace
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
COMMAND, SCRIPT, TORCH = "`finetuned update`", "a script with finetuned", "PyTorch"
Command = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run took: seconds, and MB of its largest process."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """What the job costs `who`, in seconds and MB, beside PyTorch: how many times as long, which part of its memory."""

    who: str
    threads: int
    cost: Cost
    sum_mb: float
    other: Cost | None = None
    other_sum_mb: float = 0.0
    time: Ratio | None = None

    @property
    def memory(self) -> float:
        """The part of PyTorch's memory."""
        return self.cost.memory_mb / self.other.memory_mb if self.other else 0.0


def measured(threads: int, rounds: int) -> list[Cold]:
    """Measure the job, done by each of ours."""
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
    return [_compared(each, threads, runs, sums) for each in runs if each != TORCH]


def _compared(who: str, threads: int, runs: dict[str, list[Cost]], sums: dict[str, float]) -> Cold:
    alone = Cold(who=who, threads=threads, cost=_middle(runs[who]), sum_mb=sums[who])
    if TORCH not in runs:
        return alone
    theirs, ours = ([cost.seconds for cost in runs[each]] for each in (TORCH, who))
    return replace(alone, other=_middle(runs[TORCH]), other_sum_mb=sums[TORCH], time=ratio(theirs, ours))


def _middle(costs: list[Cost]) -> Cost:
    return Cost(seconds=median(c.seconds for c in costs), memory_mb=median(c.memory_mb for c in costs))


# ── the job ─────────────────────────────────────────────────────────────────────────────────────
def _commands(folder: Path, threads: int) -> dict[str, Callable[[], Command]]:
    """Return the command of each contender; everything that it reads is made here."""
    data = folder / "data"
    _repeat(SHARED / PHOTOGRAPHS, data)
    model, out = SHARED / MOBILENET, folder / "updated.mlmodel"
    mapped = ["=".join(pair) for pair in zip(_labels(), LABELS, strict=True)]
    options = [word for label in mapped for word in ("--label", label)]
    command = ["-m", "finetuned", "update", str(model), str(data), "-o", str(out), *options]
    command += ["-p", f"epochs={EPOCHS}", "--threads", str(threads), "--json"]
    script = [str(Path(__file__).with_name("engine_cold_script.py"))]
    script += [str(each) for each in (model, data, out, EPOCHS, threads)] + mapped
    found: dict[str, Callable[[], Command]] = {
        COMMAND: lambda: _fresh(out, [sys.executable, *command]),
        SCRIPT: lambda: _fresh(out, [sys.executable, *script]),
    }
    if find_spec("torch") is not None:
        theirs, weights = Path(__file__).with_name("engine_cold_torch.py"), folder / "mobilenet.pt"
        _save_for_torch(shared_model(MOBILENET), weights)
        places = [str(each) for each in (weights, data, folder / "updated.pt", EPOCHS, threads)]
        found[TORCH] = lambda: [sys.executable, str(theirs), *places]
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
