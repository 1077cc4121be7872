"""The figures that finetuned is measured by: `make figures` prints them and writes docs/figures.md.

A real daemon process is given the demo's material and then left alone; workers are started as the daemon starts them; the trainer is
compared with PyTorch (where it is installed) in processes of their own, in turns.  It takes about six minutes, of which
the daemon idles one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import governor
from daemons import NAME, PATIENCE_S, QUIET_S, SETTLE_S, cpu_s, daemon, drop
from governor import Figure
from mqtt import HEADING

from finetuned.edge import client
from finetuned.edge.demo_data import DROPS, pictures
from finetuned.errors import HostError
from finetuned.files import sha256_of
from finetuned.service.ledger import opened
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_samples import list_samples
from finetuned.service.local import LocalExecutor
from finetuned.service.messages import LAST, Checkpointed, SampleRef, TaskSpec, TrainingBegin
from finetuned.service.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from finetuned.edge.broker import Address
    from finetuned.service.messages import Report

OUT = Path(__file__).parents[1] / "docs" / "figures.md"
IDLE_S = 30.0
STARTS, ROUNDS = 5, 5
LONG_EPOCHS = 1000
# What a process has in its memory of these shows in its maps.
FORBIDDEN = ("numpy", "onnxruntime", "onnx", "google/_upb", "PIL")
PACKAGES = ("numpy", "onnxruntime", "onnx", "torch")

# The head that is trained: 1280 numbers in, 10 labels out, by Adam.
INPUTS, LABELS, SAMPLES, BATCH, EPOCHS = 1280, 10, 512, 32, 60


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
async def drop_and_wait(address: Address, inbox: Path) -> tuple[float, float]:
    """Drop the demo's pictures; return the seconds from the last one to `completed`, and those of the task."""
    async with client.connected(address, events=True) as known:
        await asyncio.to_thread(drop, inbox)
        dropped = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            async for topic, payload in known.events():
                if topic == "event/completed":
                    return time.monotonic() - dropped, float(payload["durationSeconds"])
    raise HostError("the daemon said nothing of an end")


# ── a process from outside ──────────────────────────────────────────────────────────────────────
def memory_mb(pid: int) -> dict[str, float]:
    """Return Rss and Pss in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {
        name: int(kb) / 1000 * 1.024 for name, kb in re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE)
    }


def children(pid: int) -> list[str]:
    """Return the pids of its children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def mapped(pid: int) -> list[str]:
    """Return which of the machine-learning libraries the process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [name for name in FORBIDDEN if f"/site-packages/{name}/" in maps]


async def idle(pid: int) -> list[Figure]:
    """Leave the daemon alone, from when its decoder has gone."""
    async with asyncio.timeout(PATIENCE_S):
        while children(pid):  # noqa: ASYNC110 - another process's children send no event
            await asyncio.sleep(0.5)
    began, used = time.monotonic(), cpu_s(pid)
    await asyncio.sleep(IDLE_S)
    share = (cpu_s(pid) - used) / (time.monotonic() - began)
    memory = memory_mb(pid)
    return [
        Figure(
            what="daemon at idle, memory",
            value=f"{memory['Rss']:.0f} MB resident, {memory['Pss']:.0f} MB proportional",
            remark="embedded broker included; after a task, with decoder and worker gone",
        ),
        Figure(what="daemon at idle, CPU", value=f"{share:.2%} of a core", remark=f"over {IDLE_S:g} s"),
        Figure(
            what="machine-learning libraries in the daemon",
            value=", ".join(mapped(pid)) or "none",
            remark=f"of {', '.join(FORBIDDEN)} in its memory map",
        ),
    ]


# ── workers ─────────────────────────────────────────────────────────────────────────────────────
def spec_of(state: Path, folder: Path, checkpoint_s: float = 60.0, **parameters: float) -> TaskSpec:
    """Return what the daemon would give a worker for all samples that it has, none held out."""
    store = Store(state)
    with opened(store.ledger) as db:
        samples, model = list_samples(db, NAME, ""), get_model(db, NAME)
    return TaskSpec(
        task="figures",
        model=NAME,
        model_path=str(store.base(NAME)),
        model_digest=sha256_of(store.base(NAME)),
        base_digest=model.digest,
        inputs_path=str(store.inputs(NAME, "")),
        input_signature=model.info.sample_inputs[0].signature,
        samples=tuple(SampleRef(digest=sample.digest, label=sample.label) for sample in samples),
        folder=str(folder),
        parameters=parameters,
        checkpoint_s=checkpoint_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds from a submit to the first report and to trainingBegin."""

    first_s: float
    begin_s: float


async def worker_starts(spec: TaskSpec) -> tuple[Start, Start]:
    """Return the start of a fresh worker, and that of the same one kept warm."""
    executor = LocalExecutor(nice=0)
    events = executor.events()
    try:
        return await _start(executor, events, spec, 1), await _start(executor, events, spec, 2)
    finally:
        await executor.close()


async def _start(
    executor: LocalExecutor, events: AsyncIterator[Report], spec: TaskSpec, attempt: int
) -> Start:
    began, first, begin = time.monotonic(), 0.0, 0.0
    await executor.submit(spec, attempt)
    async for report in events:
        first = first or time.monotonic() - began
        if isinstance(report, TrainingBegin):
            begin = time.monotonic() - began
        if isinstance(report, LAST):
            return Start(first_s=first, begin_s=begin)
    raise HostError("the executor ended")


def checkpoint_cost(state: Path, folder: Path) -> tuple[float, int]:
    """Return how much longer a long task takes with checkpoints than without, and how many it has written."""
    from finetuned.service import checkpoints  # noqa: PLC0415 - this process trains

    spec = spec_of(state, folder, epochs=LONG_EPOCHS, miniBatchSize=1)
    whole, ratios, written = checkpoints.Schedule.due, [], 0
    for number in range(ROUNDS):
        checkpoints.Schedule.due = lambda *_, **__: False  # type: ignore[method-assign]
        without_s, _ = _trained(spec, 2 * number + 1)
        checkpoints.Schedule.due = whole  # type: ignore[method-assign]
        with_s, count = _trained(spec, 2 * number + 2)
        ratios.append(with_s / without_s)
        written += count
    return median(ratios), written // ROUNDS


def _trained(spec: TaskSpec, attempt: int) -> tuple[float, int]:
    """Return the seconds from trainingBegin to the end, and the checkpoints written."""
    from finetuned.service.work import Work  # noqa: PLC0415

    began, written = 0.0, 0
    for report in Work(spec, attempt).run():
        began = time.monotonic() if isinstance(report, TrainingBegin) else began
        written += isinstance(report, Checkpointed)
    return time.monotonic() - began, written


# ── the trainer, against PyTorch ────────────────────────────────────────────────────────────────
def burst(contender: str, threads: int) -> float:
    """Train in this process; return samples per second."""
    import numpy as np  # noqa: PLC0415 - for the processes that train

    rng = np.random.default_rng(0)
    features = rng.normal(size=(SAMPLES, INPUTS)).astype(np.float32)
    labels = rng.integers(LABELS, size=SAMPLES)
    return CONTENDERS[contender](features, labels, threads)


def _ours(features: Any, labels: Any, threads: int) -> float:  # noqa: ANN401 - NumPy arrays
    import numpy as np  # noqa: PLC0415

    from finetuned import UpdateTask  # noqa: PLC0415
    from finetuned.spec import author  # noqa: PLC0415

    whole = author.Limits(default=BATCH, minimum=1, maximum=1024)
    head = author.Dense(
        weights=np.zeros((LABELS, INPUTS), np.float32), bias=np.zeros(LABELS, np.float32), updatable=True
    )
    model = author.classifier(
        input=author.ArrayInput(size=INPUTS),
        layers=[head],
        labels=list(range(LABELS)),
        training=author.Training(
            optimizer=author.Adam(
                learning_rate=author.Limits(default=0.001, minimum=0, maximum=1), batch=whole
            )
        ),
    )
    task = UpdateTask(
        model, {"features": features, "label": labels}, parameters={"epochs": EPOCHS}, threads=threads
    )
    began = time.perf_counter()
    task.resume()
    return SAMPLES * EPOCHS / (time.perf_counter() - began)


def _torchs(features: Any, labels: Any, threads: int) -> float:  # noqa: ANN401 - NumPy arrays
    import torch  # noqa: PLC0415 - the extra `oracle`

    torch.set_num_threads(threads)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    head = torch.nn.Linear(INPUTS, LABELS)
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(head.parameters(), lr=0.001)
    began = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.randperm(SAMPLES).split(BATCH):
            optimizer.zero_grad()
            value = loss(head(x[rows]), y[rows])
            value.backward()
            optimizer.step()
            value.item()
    return SAMPLES * EPOCHS / (time.perf_counter() - began)


CONTENDERS = {"finetuned": _ours, "PyTorch": _torchs}


def duel(threads: int) -> list[Figure]:
    """Let both train in turns; the ratio is the median of the rounds' ratios."""
    if not _has("torch"):
        return [
            Figure(what="training against PyTorch", value="not measured", remark="torch is not installed")
        ]
    rounds = [{name: _in_a_process(name, threads) for name in CONTENDERS} for _ in range(ROUNDS)]
    ratio = median(each["finetuned"] / each["PyTorch"] for each in rounds)
    speeds = ", ".join(f"{name} {median(each[name] for each in rounds):,.0f}" for name in CONTENDERS)
    head = f"head {INPUTS} → {LABELS}, Adam, batch {BATCH}"
    return [
        Figure(
            what=f"training a {head}, {threads} thread{'s' * (threads > 1)}",
            value=f"{ratio:.1f} × PyTorch eager",
            remark=f"samples/s: {speeds}; {ROUNDS} rounds in turns, each in a process of its own",
        )
    ]


def _in_a_process(name: str, threads: int) -> float:
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--burst", name, "--threads", str(threads)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - this very file
    return float(done.stdout)


def _has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# ── all of it ───────────────────────────────────────────────────────────────────────────────────
async def measured(folder: Path) -> list[Figure]:
    """Measure daemon and workers."""
    state = folder / "state"
    async with daemon(folder) as (process, address, started):
        print("dropping the demo's pictures …", file=sys.stderr)
        waited, trained = await drop_and_wait(address, state / "inbox" / NAME)
        starts = [await worker_starts(spec_of(state, folder / "task")) for _ in range(STARTS)]
        ratio, checkpoints = await asyncio.to_thread(checkpoint_cost, state, folder / "long")
        print(f"idling: {IDLE_S:g} s after the decoder has gone …", file=sys.stderr)
        still = await idle(process.pid)
    fresh, warm = ([start[index] for start in starts] for index in (0, 1))
    count = len(pictures(DROPS))
    return [
        Figure(
            what="daemon, from its start to its first answer",
            value=f"{started:.2f} s",
            remark="with the embedded broker",
        ),
        Figure(
            what=f"last of {count} dropped pictures to `completed`",
            value=f"{waited - QUIET_S:.1f} s",
            remark=f"without the {QUIET_S:g} s of silence that the trigger waits for; with {SETTLE_S:g} s to settle",
        ),
        Figure(
            what="of these, the task itself",
            value=f"{trained:.2f} s",
            remark="a worker's start, 30 epochs, saving",
        ),
        Figure(
            what="worker, from a submit to its first report",
            value=f"{_ms(start.first_s for start in fresh)} fresh, {_ms(start.first_s for start in warm)} warm",
            remark=f"medians of {STARTS}; a fresh one imports NumPy, protobuf, onnx and onnxruntime; the model is compiled",
        ),
        Figure(
            what="worker, from a submit to `trainingBegin`",
            value=f"{_ms(start.begin_s for start in fresh)} fresh, {_ms(start.begin_s for start in warm)} warm",
            remark=f"medians of {STARTS}; features are kept",
        ),
        Figure(
            what="training with checkpoints",
            value=f"{ratio:.3f} × the time without",
            remark=f"{checkpoints} of them in {LONG_EPOCHS} epochs, median of {ROUNDS} in turns",
        ),
        *still,
    ]


def _ms(seconds: Iterable[float]) -> str:
    return f"{median(seconds) * 1000:.0f} ms"


def machine(shown: Iterable[str] = PACKAGES) -> str:
    """Describe this machine in a sentence, with the versions of these packages."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) / 1e6
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    packages = ", ".join(f"{name} {version(name)}" for name in shown if _has(name))
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB, {system}, "
        f"Python {platform.python_version()}, {packages}"
    )


def page(figures: list[Figure]) -> str:
    """Return docs/figures.md."""
    rows = "".join(f"| {figure.what} | {figure.value} | {figure.remark} |\n" for figure in figures)
    return (
        "# Figures\n\n"
        "Written by `make figures` (`benchmarks/figures.py`). Ratios travel better than absolute times.\n\n"
        f"{machine()}; {datetime.now(UTC):%Y-%m-%d}.\n\n"
        f"| what | figure | how |\n| --- | --- | --- |\n{rows}"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--burst", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.burst:
        print(burst(asked.burst, asked.threads))
        return
    with tempfile.TemporaryDirectory(prefix="finetuned-figures-") as folder:
        figures = asyncio.run(measured(Path(folder)))
        print("the governor: two minutes …", file=sys.stderr)
        figures += asyncio.run(governor.measured(Path(folder) / "governor"))
    print("the duty of a worker: two minutes …", file=sys.stderr)
    figures += governor.duties()
    print("training against PyTorch …", file=sys.stderr)
    figures += duel(1)
    text = page(figures)
    _, heading, others = OUT.read_text(encoding="utf-8").partition(HEADING)
    OUT.write_text(text + heading + others, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
