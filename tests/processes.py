"""The processes that a process has started, as /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path


def children(pid: int, module: str) -> list[int]:
    """Return the pids of the children of a process's main thread that run a module; none where it has ended."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in pids if module.encode() in _command(Path("/proc", child))]


def _command(process: Path) -> bytes:
    """Return a process's command line, empty where it has ended.

    It is empty for a moment also when the process has begun its program (`exec`) and whoever started it goes on.
    """
    try:
        while not (line := (process / "cmdline").read_bytes()) and not _has_ended(process):
            os.sched_yield()
    except (FileNotFoundError, ProcessLookupError):
        return b""
    return line


def _has_ended(process: Path) -> bool:
    state = (process / "stat").read_text().rpartition(") ")[2][0]
    return state in "ZX"
