"""How well a worker keeps its pace: the share of the processor that it takes, for duties and shares of the cores.

`python benchmarks/duty.py` prints a line for each; it takes about two minutes.  A real worker trains as an executor lets it
train; what it takes is the scheduler's own count, against full speed in turns, and of these the median.  On a machine that has
nothing else to do, both numbers of a line are the duty: the share of the time that the worker runs or waits for a core, and
its CPU time, of what it takes at full speed.  On a busy one it waits for cores, which is not the work that it rests for: then
the first is more than the duty, and the second is as good as the machine is steady.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from finetuned.errors import HostError
from finetuned.service import inputs
from finetuned.service.local import LocalExecutor
from finetuned.service.messages import (
    LAST,
    Held,
    InputSpec,
    Kill,
    MiniBatchEnd,
    Pace,
    Pause,
    Resume,
    SampleRef,
    TaskSpec,
)
from finetuned.spec import author

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from finetuned.service.messages import Report

LABELS = ["a", "b", "c", "d"]
DUTIES = (0.5, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A training by the length of its mini-batches; each line is measured in rounds of so long."""

    name: str
    features: int
    hidden: int
    batch: int
    window_s: float
    rounds: int


SMALL = Size(name="small", features=16, hidden=16, batch=1, window_s=1.0, rounds=9)
LARGE = Size(name="large", features=4096, hidden=4096, batch=2048, window_s=6.0, rounds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Cores in use, the share of the time at work, and milliseconds from one mini-batch to the next."""

    cores: float
    at_work: float
    cycle_ms: float


# ── a task ──────────────────────────────────────────────────────────────────────────────────────
def model_of(size: Size) -> bytes:
    """Return a network of two trained layers."""
    chance = np.random.default_rng(0)

    def dense(outputs: int, width: int) -> author.Dense:
        weights = chance.normal(scale=0.01, size=(outputs, width)).astype(np.float32)
        return author.Dense(weights=weights, bias=np.zeros(outputs, np.float32), updatable=True)

    whole = author.Limits(default=size.batch, minimum=1, maximum=4096)
    rate = author.Limits(default=1e-4, minimum=0, maximum=1)
    return author.classifier(
        input=author.ArrayInput(size=size.features),
        layers=[
            dense(size.hidden, size.features),
            author.Activation(kind="ReLU"),
            dense(len(LABELS), size.hidden),
        ],
        labels=LABELS,
        training=author.Training(
            optimizer=author.SGD(learning_rate=rate, batch=whole),
            epochs=author.Limits(default=10**6, minimum=1, maximum=10**6),
        ),
    )


def task_of(folder: Path, size: Size, threads: int) -> TaskSpec:
    """Write model and samples, and return a task without an end."""
    data = model_of(size)
    (folder / "base.mlmodel").write_bytes(data)
    want = InputSpec(name="features", shape=(size.features,))
    arrays = np.random.default_rng(1).normal(size=(max(size.batch, 32), size.features)).astype("<f4")
    digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    with inputs.opened(folder / "inputs.db") as db:
        rows = zip(digests, (array.tobytes() for array in arrays), strict=True)
        inputs.put_inputs(db, want.signature, rows)
    digest = hashlib.sha256(data).hexdigest()
    return TaskSpec(
        task=size.name,
        model=size.name,
        model_path=str(folder / "base.mlmodel"),
        model_digest=digest,
        base_digest=digest,
        inputs_path=str(folder / "inputs.db"),
        input_signature=want.signature,
        samples=tuple(
            SampleRef(digest=each, label=LABELS[number % len(LABELS)]) for number, each in enumerate(digests)
        ),
        folder=str(folder / "task"),
        threads=threads,
        report_interval_s=0.05,
    )


# ── measuring ───────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Trial:
    """A worker at work on a task without an end."""

    executor: LocalExecutor
    events: AsyncIterator[Report]
    task: str
    pid: int = field(default=0)

    async def report(self, kind: type[Report]) -> Report:
        """Return the next report of a kind."""
        async for report in self.events:
            if isinstance(report, LAST):
                raise HostError(f"the worker has ended: {report}")
            if isinstance(report, kind):
                return report
        raise HostError("the executor ended")

    async def over(self, pace: Pace, window_s: float) -> Measured:
        """Measure from the end of one mini-batch to that of another, at least so long after it."""
        await self.executor.control(self.task, 1, pace)
        for _ in range(3):  # what was under way before the pace came
            first = await self.report(MiniBatchEnd)
        began, taken = time.monotonic(), taken_s(self.pid)
        last = first
        while time.monotonic() - began < window_s:
            last = await self.report(MiniBatchEnd)
        return self._since(began, taken, last.step - first.step)

    async def held(self, window_s: float) -> Measured:
        """Measure while it is held."""
        await self.executor.control(self.task, 1, Pause())
        await self.report(Held)
        began, taken = time.monotonic(), taken_s(self.pid)
        await asyncio.sleep(window_s)
        found = self._since(began, taken, 1)
        await self.executor.control(self.task, 1, Resume())
        return found

    def _since(self, began: float, taken: tuple[float, float], steps: int) -> Measured:
        passed_s, now = time.monotonic() - began, taken_s(self.pid)
        return Measured(
            cores=(now[0] - taken[0]) / passed_s,
            at_work=(now[1] - taken[1]) / passed_s,
            cycle_ms=1000 * passed_s / steps,
        )


def taken_s(pid: int) -> tuple[float, float]:
    """Return the CPU time of all threads, and how long the first has run or waited for a core, in seconds.

    The count that is made at ticks never sees a worker that sleeps from tick to tick.
    """
    threads = {
        each.parent.name: each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/schedstat")
    }
    ran, waited, _ = threads[str(pid)]
    return sum(int(each[0]) for each in threads.values()) / 1e9, (int(ran) + int(waited)) / 1e9


def worker_pid() -> int:
    """Return the one child of this process."""
    (pid,) = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()
    return int(pid)


async def measure(size: Size, threads: int) -> None:
    """Print the lines of a size."""
    with tempfile.TemporaryDirectory() as folder:
        executor = LocalExecutor(nice=0)
        trial = Trial(executor=executor, events=executor.events(), task=size.name)
        try:
            await executor.submit(task_of(Path(folder), size, threads), 1)
            await trial.report(MiniBatchEnd)
            trial.pid = worker_pid()
            print(f"{size.name} mini-batches, threads: {threads}")
            await (by_duty if threads == 1 else by_cores)(trial, size)
            await executor.control(size.name, 1, Kill())
        finally:
            await executor.close()


async def by_duty(trial: Trial, size: Size) -> None:
    """Print what is left of the processor's time at each duty."""
    for duty in DUTIES:
        await in_turns(trial, size, f"duty {duty:g}", Pace(duty=duty))
    held = await trial.held(size.window_s)
    print(f"  held: {held.at_work:.3f} of the time at work, {held.cores:.3f} cores in use")


async def by_cores(trial: Trial, size: Size) -> None:
    """Print how many cores are in use where it may use half of them."""
    await in_turns(trial, size, "half of the cores", Pace(cores=0.5))


async def in_turns(trial: Trial, size: Size, what: str, pace: Pace) -> None:
    """Measure this pace against full speed."""
    ratios, shares, cores = [], [], []
    for _ in range(size.rounds):
        whole = await trial.over(Pace(), size.window_s)
        found = await trial.over(pace, size.window_s)
        ratios.append(found.cores / whole.cores)
        shares.append(found.at_work)
        cores.append((whole.cores, found.cores))
    before, after = cores[sorted(range(len(ratios)), key=ratios.__getitem__)[len(ratios) // 2]]
    print(
        f"  {what}: {median(shares):.3f} of the time at work, {median(ratios):.3f} of the CPU time"
        f" ({after:.2f} instead of {before:.2f} cores; mini-batches of {whole.cycle_ms:.2f} ms)"
    )


async def main() -> None:
    """Measure everything."""
    await measure(SMALL, 1)
    await measure(LARGE, 1)
    if (cores := len(os.sched_getaffinity(0))) > 1:
        await measure(LARGE, cores)


if __name__ == "__main__":
    asyncio.run(main())
