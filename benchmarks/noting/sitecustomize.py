"""Found by Python at its start where this folder is in PYTHONPATH: notes what a benchmark wants to know of a process.

In a worker: when each report leaves the work, which is the end of its mini-batch, epoch or task.  In a daemon: how often each
callback of the event loop runs and what CPU it takes.  The product knows nothing of it.  The notes lie in $FINETUNED_NOTES.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTES = os.environ.get("FINETUNED_NOTES", "")
WORKER, DAEMON = "finetuned.service.worker", "finetuned.edge.daemon"


def note_reports() -> None:
    """Write a line for each report of a worker: its type, task, step and CLOCK_MONOTONIC in ns."""
    from finetuned.service import work  # noqa: PLC0415 - only in a worker

    notes = (Path(NOTES) / f"worker-{os.getpid()}").open("a", encoding="utf-8", buffering=1 << 20)
    run = work.Work.run

    def noted(self: work.Work) -> Iterator[Any]:
        for report in run(self):
            if report is not None:
                kind = type(report).__name__
                notes.write(f"{kind} {self.spec.task} {report.step} {time.monotonic_ns()}\n")
                if kind == "Completed":
                    notes.flush()
            yield report

    work.Work.run = noted  # type: ignore[assignment, method-assign]


def count_callbacks() -> None:
    """Count, from SIGUSR1 on, what the event loop runs, and the CPU time of each; write it at SIGUSR2."""
    import asyncio  # noqa: PLC0415 - only in a daemon
    import signal  # noqa: PLC0415

    runs: Counter[str] = Counter()
    taken_ns: Counter[str] = Counter()
    run = asyncio.events.Handle._run  # noqa: SLF001 - the one place through which all callbacks go

    def counted(self: Any) -> None:  # noqa: ANN401 - asyncio's Handle
        began = time.thread_time_ns()
        run(self)
        name = _name(self._callback)
        runs[name] += 1
        taken_ns[name] += time.thread_time_ns() - began

    def begin(*_: object) -> None:
        runs.clear()
        taken_ns.clear()

    def write(*_: object) -> None:
        found = {name: (runs[name], taken_ns[name] / 1e9) for name in runs}
        (Path(NOTES) / "callbacks.json").write_text(json.dumps(found))

    asyncio.events.Handle._run = counted  # type: ignore[method-assign] # noqa: SLF001
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, write)


def _name(callback: Any) -> str:  # noqa: ANN401 - whatever is called
    """Return the task's coroutine for a task's step, else the function."""
    owner = getattr(callback, "__self__", None)
    if hasattr(owner, "get_coro"):
        coro = owner.get_coro()
        return f"task {getattr(coro, '__qualname__', type(coro).__name__)}"
    return str(getattr(callback, "__qualname__", type(callback).__name__))


if NOTES and WORKER in sys.orig_argv:
    note_reports()
if NOTES and DAEMON in sys.orig_argv:
    count_callbacks()
