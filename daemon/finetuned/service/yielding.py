"""How a worker steps back behind everything else on the machine: memory, processor, disk, and cores that it leaves alone.

All of it is as good as the kernel lets it be: a container or an older kernel that refuses is right, and the work goes on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import sys
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OOM_SCORE = "900"
"""Of 1000: where memory runs out, the kernel takes the worker rather than the daemon or anything else of this machine."""

IOPRIO_SET = {
    ("x86_64", 64): 251,
    ("aarch64", 64): 30,
    ("riscv64", 64): 30,
    ("aarch64", 32): 314,  # a 32-bit system on a 64-bit kernel, as on many a Raspberry Pi
    ("armv7l", 32): 314,
    ("armv6l", 32): 314,
}
"""The number of the system call by the kernel's machine and the bits of this process; the C library has no name for it."""
_WHO_PROCESS = 1
_CLASS_IDLE = 3 << 13

_ROUNDING = 1e-9


def step_back(nice: int) -> None:
    """Be the first whom the kernel takes where memory runs out, and the last whom it lets compute, read and write."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, "ascii")
    with contextlib.suppress(OSError):  # a filter of system calls refuses it
        os.nice(nice)
    if (number := IOPRIO_SET.get((platform.machine(), sys.maxsize.bit_length() + 1))) is not None:
        ctypes.CDLL(None).syscall(number, _WHO_PROCESS, 0, _CLASS_IDLE)


# ── cores ───────────────────────────────────────────────────────────────────────────────────────
class Cores:
    """The cores that all threads of this process may use, a share of those that it had at its start."""

    def __init__(
        self, *, tasks: Path = Path("/proc/self/task"), sysfs: Path = Path("/sys/devices/system/cpu")
    ) -> None:
        self._all = frozenset(os.sched_getaffinity(0))
        self._capacities = _capacities(sysfs, self._all)
        self._tasks = tasks
        self._used = self._all

    def use(self, share: float) -> None:
        """Let every thread run on this share of the cores; those that are made later inherit it."""
        chosen = chosen_cores(share, self._capacities)
        if chosen != self._used:
            self._used = chosen
            self._confine(chosen)

    def _confine(self, cores: frozenset[int]) -> None:
        """Confine the threads, and those that one that was not yet confined has made meanwhile."""
        done: set[str] = set()
        while threads := self._threads() - done:
            for thread in threads:
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(thread), cores)
            done |= threads

    def _threads(self) -> set[str]:
        """Return the threads of this process; the one that calls, in the kernel's word, where it does not show them."""
        try:
            return {task.name for task in self._tasks.iterdir()}
        except OSError:
            return {"0"}


def chosen_cores(share: float, capacities: Mapping[int, int]) -> frozenset[int]:
    """Return a share of the cores, rounded up, at least one: the slow ones first, of equal ones the last.

    `capacities` are the cores' speeds in the kernel's unit (1024 is the fastest).  The first cores serve most interrupts.
    """
    count = max(1, ceil(share * len(capacities) - _ROUNDING))
    return frozenset(sorted(capacities, key=lambda core: (capacities[core], -core))[:count])


def _capacities(sysfs: Path, cores: frozenset[int]) -> dict[int, int]:
    return {core: _capacity(sysfs / f"cpu{core}" / "cpu_capacity") for core in cores}


def _capacity(path: Path) -> int:
    """Return a core's speed; a machine whose cores are all alike does not tell."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return 0
