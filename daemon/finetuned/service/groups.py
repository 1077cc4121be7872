"""A control group for the workers, where the daemon's has been delegated to it (systemd's `Delegate=yes`).

Theory of operation.  In cgroup v2 only a group without processes can share out among the groups in it.  So the daemon and
its other children move into `daemon`, and workers, who join by themselves (`yielding.py`), into `worker` beside it.  Then,
within what the unit has, workers come after the daemon, and what they take is counted apart.  They share the group, so
where memory runs out one of them goes, and not all (no `memory.oom.group`).  Whether the unit comes after the rest of the
machine is the unit's to say.

None of this is needed: without a delegation, with cgroup v1, or where the kernel refuses, workers stay where they are.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Attribute = Callable[[Path, str], bytes]

JOINS = "FINETUNED_CGROUP"
"""The environment variable that names a worker its group."""
DAEMON, WORKER = "daemon", "worker"
CONTROLLERS = ("cpu", "memory", "io")
LIMITS = {"cpu.weight": "10", "io.weight": "10"}
"""A weight is 100 where nothing is said."""
MARKS = ("user.delegate", "trusted.delegate")
"""The extended attributes by which systemd marks a group that is delegated."""


def worker_group(
    *,
    proc: Path = Path("/proc"),
    cgroups: Path = Path("/sys/fs/cgroup"),
    attribute: Attribute = os.getxattr,
) -> Path | None:
    """Make the workers' group, and return it; None where there can be none."""
    try:
        if (own := _own_group(proc, cgroups)) is None:
            return None
        if (unit := _delegated(own, attribute)) is None:
            return None
        return _prepared(unit, proc)
    except (OSError, ValueError):
        return None


def join(group: str) -> None:
    """Move this process into a group, if it can be."""
    with contextlib.suppress(OSError):
        _tell(Path(group) / "cgroup.procs", "0")


# ── finding it ──────────────────────────────────────────────────────────────────────────────────
def _own_group(proc: Path, cgroups: Path) -> Path | None:
    """Return this process's group in the one hierarchy of cgroup v2."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        group = cgroups / path.lstrip("/")
        if number == "0" and (group / "cgroup.controllers").exists():
            return group
    return None


def _delegated(own: Path, attribute: Attribute) -> Path | None:
    """Return the group that is ours to divide: our own, or the one above if we are its `daemon` already."""
    for group in (own, own.parent) if own.name == DAEMON else (own,):
        if any(_has(group, mark, attribute) for mark in MARKS):
            return group
    return None


def _has(group: Path, mark: str, attribute: Attribute) -> bool:
    try:
        return attribute(group, mark) == b"1"
    except OSError:
        return False


# ── dividing it ─────────────────────────────────────────────────────────────────────────────────
def _prepared(unit: Path, proc: Path) -> Path:
    for name in (DAEMON, WORKER):
        (unit / name).mkdir(exist_ok=True)
    for pid in _own_processes(unit, proc):
        with contextlib.suppress(OSError):  # it has ended
            _tell(unit / DAEMON / "cgroup.procs", pid)
    there = (unit / "cgroup.controllers").read_text().split()
    for controller in CONTROLLERS:
        if controller in there:
            with contextlib.suppress(OSError):
                _tell(unit / "cgroup.subtree_control", f"+{controller}")
    for name, value in LIMITS.items():
        with contextlib.suppress(OSError):  # without its controller there is no such file
            _tell(unit / WORKER / name, value)
    return unit / WORKER


def _own_processes(unit: Path, proc: Path) -> Iterator[str]:
    """Yield this process and its children, as far as they are in the unit's own group; strangers stay."""
    own = str(os.getpid())
    for pid in (unit / "cgroup.procs").read_text().split():
        if pid == own or _parent(pid, proc) == own:
            yield pid


def _parent(pid: str, proc: Path) -> str:
    """Return the parent's pid: the second field after the name, which stands in parentheses and may hold anything."""
    try:
        return (proc / pid / "stat").read_text().rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return ""


def _tell(file: Path, word: str) -> None:
    """Write to a file of the kernel's, which is there or is not; it is never made."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, word.encode())
    finally:
        os.close(descriptor)
