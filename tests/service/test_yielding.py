"""Stepping back: which cores are left alone, and what the kernel was told, seen where the kernel shows it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from finetuned.service.yielding import Cores, chosen_cores
from shared import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALIKE = dict.fromkeys(range(4), 0)
BIG_LITTLE = {0: 446, 1: 446, 2: 446, 3: 446, 4: 1024, 5: 1024}


@pytest.mark.parametrize(
    ("share", "capacities", "cores"),
    [
        (1.0, ALIKE, {0, 1, 2, 3}),
        (0.5, ALIKE, {2, 3}),
        (0.51, ALIKE, {1, 2, 3}),
        (0.01, ALIKE, {3}),
        (0.7, dict.fromkeys(range(10), 0), set(range(3, 10))),
        (0.5, {5: 0}, {5}),
        (0.5, BIG_LITTLE, {1, 2, 3}),
        (0.75, BIG_LITTLE, {0, 1, 2, 3, 5}),
    ],
)
def test_a_share_of_the_cores_is_rounded_up_and_begins_with_the_slow_ones_and_the_last(
    share: float, capacities: dict[int, int], cores: set[int]
) -> None:
    assert chosen_cores(share, capacities) == cores


def threads() -> list[int]:
    return [int(thread.name) for thread in Path("/proc/self/task").iterdir()]


@pytest.fixture
def all_cores() -> Iterator[set[int]]:
    """The cores of this process, which has them again afterwards."""
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        missing("left out: this machine lets us have one core")
    yield cores
    for thread in threads():
        os.sched_setaffinity(thread, cores)


def test_every_thread_is_confined_also_later_ones_and_all_are_free_again(all_cores: set[int]) -> None:
    cores, done, seen = Cores(), threading.Event(), {}

    def note(name: str) -> None:
        done.wait()
        seen[name] = os.sched_getaffinity(0)

    before = threading.Thread(target=note, args=["before"])
    before.start()
    cores.use(0.01)
    after = threading.Thread(target=note, args=["after"])
    after.start()
    few = {max(all_cores)}
    assert {thread: os.sched_getaffinity(thread) for thread in threads()} == dict.fromkeys(threads(), few)
    done.set()
    before.join()
    after.join()
    assert seen == {"before": few, "after": few}
    cores.use(1.0)
    assert os.sched_getaffinity(0) == all_cores


class Growing:
    """The folder of the threads; something happens when it has been listed for the first time."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happening = [happens]

    def iterdir(self) -> list[Path]:
        """List it."""
        listed = list(Path("/proc/self/task").iterdir())
        while self._happening:
            self._happening.pop()()
        return listed


def test_a_thread_that_is_made_while_the_others_are_confined_is_confined_too(all_cores: set[int]) -> None:
    done = threading.Event()
    late = threading.Thread(target=done.wait)
    tasks: Any = Growing(late.start)
    Cores(tasks=tasks).use(0.01)
    assert late.native_id is not None
    found = os.sched_getaffinity(late.native_id)
    done.set()
    late.join()
    assert found == {max(all_cores)}


def test_where_threads_are_not_shown_the_own_one_is_confined(tmp_path: Path, all_cores: set[int]) -> None:
    Cores(tasks=tmp_path / "nowhere").use(0.01)
    assert os.sched_getaffinity(0) == {max(all_cores)}


def test_slow_cores_are_found_in_sysfs(tmp_path: Path, all_cores: set[int]) -> None:
    for core in all_cores:
        folder = tmp_path / f"cpu{core}"
        folder.mkdir()
        (folder / "cpu_capacity").write_text("446\n" if core == min(all_cores) else "1024\n")
    Cores(sysfs=tmp_path).use(0.01)
    assert os.sched_getaffinity(0) == {min(all_cores)}


# ioprio_get(2) and getpriority(2) are the kernel's own words; 252 and 31 are its numbers beside ioprio_set's.
SHOW = """
import ctypes, os, pathlib, platform
from finetuned.service.yielding import step_back
nice = os.nice
{before}
step_back(7)
number = {{"x86_64": 252, "aarch64": 31, "riscv64": 31}}[platform.machine()]
print(nice(0), ctypes.CDLL(None).syscall(number, 1, 0) >> 13, pathlib.Path("/proc/self/oom_score_adj").read_text())
"""
REFUSE = """
def refuse(_):
    raise PermissionError
os.nice = refuse
"""


@pytest.mark.parametrize(("before", "nicer"), [("", 7), (REFUSE, 0)], ids=["allowed", "refused"])
def test_a_worker_is_the_last_to_compute_read_and_write_and_the_first_to_be_taken_for_its_memory(
    before: str, nicer: int
) -> None:
    script = SHOW.format(before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(os.nice(0) + nicer), "3", "900"]
