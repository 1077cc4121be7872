"""Memory, the load of others and the disk, from made-up trees and, beside psutil, from the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from finetuned.service.machine import Machine
from finetuned_plugins.kernel import Available, Busy, Disk, Pressure, finetuned_sensors, own_ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

PROC, SYSFS = Path("/proc"), Path("/sys")
HZ = os.sysconf("SC_CLK_TCK")
CORES = 4
GRACE_S, LOOK_S = 30.0, 4


# ── builders ────────────────────────────────────────────────────────────────────────────────────
def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def process(proc: Path, pid: str, *, ticks: int, parent: int = 1, children: str | None = None) -> None:
    """A process whose name is as nasty as names can be; its time is spread over its four counters."""
    spread = f"{ticks - 6} 1 2 3"
    write(proc / pid / "stat", f"{pid.replace('self', '100')} (a) S 7 (b) S {parent} {'0 ' * 9}{spread} 20 0")
    if children is not None:
        write(proc / pid / "task" / "1" / "children", children)
        write(proc / "thread-self" / "children", "")


def counted(proc: Path, **ticks: int) -> None:
    """What the kernel counted since its start; the guest's time is in the user's, as proc(5) has it."""
    user, nice, system, idle, guest = (
        ticks.get(name, 0) for name in ("user", "nice", "system", "idle", "guest")
    )
    cores = "".join(f"cpu{index} 0 0 0 0\n" for index in range(CORES))
    write(proc / "stat", f"cpu  {user} {nice} {system} {idle} 50 3 4 0 {guest} 0\n{cores}intr 7\n")


def load(busy: Busy) -> float:
    (reading,) = busy.read()
    assert reading.value is not None
    return reading.value


class Day:
    """A machine with some cores, looked at every four seconds; loads are shares of all cores."""

    def __init__(self, proc: Path, grace_s: float = GRACE_S) -> None:
        self.proc, self.busy = proc, Busy(proc, grace_s=grace_s)
        self.others = self.own = self.idle = 1000
        self.look()

    def look(self) -> float:
        """Return what the sensor says now, %."""
        counted(self.proc, user=self.others + self.own, idle=self.idle)
        process(self.proc, "self", ticks=self.own, children="")
        return load(self.busy)

    def goes_on(self, *, others: float = 0.0, own: float = 0.0, looks: int = 1) -> list[float]:
        """Return what it says at each of the next looks, %."""
        step = LOOK_S * HZ * CORES
        said = []
        for _ in range(looks):
            self.others += round(others * step)
            self.own += round(own * step)
            self.idle += step - round(others * step) - round(own * step)
            said.append(self.look())
        return said


# ── memory ──────────────────────────────────────────────────────────────────────────────────────
def test_pressure_is_the_share_of_ten_seconds_in_which_some_task_waited(tmp_path: Path) -> None:
    lines = (
        "some avg10=23.75 avg60=1.00 avg300=0.50 total=12\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=3\n"
    )
    write(tmp_path / "pressure" / "memory", lines)
    (reading,) = Pressure(proc=tmp_path).read()
    assert (reading.zone, reading.name, reading.value) == ("memory", "some avg10", 23.75)


def test_a_kernel_that_keeps_no_pressure_has_no_such_zone(tmp_path: Path) -> None:
    assert Pressure(proc=tmp_path).read() == ()


@pytest.mark.parametrize("text", ["", "some avg10=", "full avg10=1.00 ", "some avg10=much avg60=0"])
def test_pressure_that_cannot_be_read_is_a_missing_reading(tmp_path: Path, text: str) -> None:
    write(tmp_path / "pressure" / "memory", text)
    (reading,) = Pressure(proc=tmp_path).read()
    assert reading.value is None
    assert reading.why == f"/proc/pressure/memory says {text!r}"


def test_available_memory_is_what_psutil_says() -> None:
    (reading,) = Available(proc=PROC, sysfs=Path("/nowhere")).read()
    memory = psutil.virtual_memory()
    assert reading.value == pytest.approx(100 * memory.available / memory.total, abs=5)


GROUPS: Mapping[str, tuple[dict[str, str], float]] = {
    "no limit": ({"a/b/memory.max": "max"}, 50.0),
    "a limit of our own": ({"a/b/memory.max": "1000", "a/b/memory.current": "900"}, 10.0),
    "a limit above us": ({"a/memory.max": "1000", "a/memory.current": "800", "a/b/memory.max": "max"}, 20.0),
    "a container's limit": ({"memory.max": "1000", "memory.current": "700"}, 30.0),
    "a high mark": ({"a/b/memory.max": "9000", "a/b/memory.high": "1000", "a/b/memory.current": "950"}, 5.0),
    "files that can be dropped": (
        {
            "a/b/memory.max": "1000",
            "a/b/memory.current": "900",
            "a/b/memory.stat": "anon 5\ninactive_file 300\n",
        },
        40.0,
    ),
    "more room than the machine": ({"a/b/memory.max": "1000", "a/b/memory.current": "10"}, 50.0),
    "above the limit": ({"a/b/memory.max": "1000", "a/b/memory.current": "1010"}, 0.0),
}


@pytest.mark.parametrize(("files", "share"), GROUPS.values(), ids=GROUPS)
def test_the_tightest_limit_on_our_group_counts(tmp_path: Path, files: dict[str, str], share: float) -> None:
    write(tmp_path / "meminfo", "MemTotal:    4000 kB\nMemFree:  10 kB\nMemAvailable:   2000 kB\n")
    write(tmp_path / "self" / "cgroup", "4:memory:/old\n0::/a/b\n")
    for name, text in files.items():
        write(tmp_path / "fs" / "cgroup" / name, f"{text}\n")
    (reading,) = Available(proc=tmp_path, sysfs=tmp_path).read()
    assert (reading.name, reading.value) == ("available", share)


def test_meminfo_without_its_numbers_is_a_missing_reading(tmp_path: Path) -> None:
    write(tmp_path / "meminfo", "MemTotal:  4000 kB\n")
    (reading,) = Available(proc=tmp_path, sysfs=tmp_path).read()
    assert (reading.value, reading.why) == (None, "/proc/meminfo has no MemTotal or no MemAvailable")


@pytest.mark.parametrize(
    ("zones", "places"),
    [
        (("memory",), ["memory pressure"]),
        (("memory", "memory/available"), ["memory pressure", "available memory"]),
        (("memory/some*",), ["memory pressure"]),
    ],
)
def test_available_memory_is_read_only_where_a_zone_has_that_place(
    zones: tuple[str, ...], places: list[str]
) -> None:
    sensors = finetuned_sensors(Machine(zones=zones))
    assert [sensor.name for sensor in sensors if sensor.zone == "memory"] == places


# ── the load of other processes ─────────────────────────────────────────────────────────────────
def test_a_load_that_stays_is_told_in_full_once_the_grace_period_has_seen_it(tmp_path: Path) -> None:
    said = Day(tmp_path).goes_on(others=0.5, looks=10)
    assert said == sorted(said)
    assert said[:2] == pytest.approx([100 * 0.5 * 4 / 30, 100 * 0.5 * 8 / 30], abs=0.1)
    assert said[7:] == pytest.approx([50.0, 50.0, 50.0], abs=0.1)


def test_a_short_spike_moves_little_at_a_start_and_later(tmp_path: Path) -> None:
    day = Day(tmp_path)
    at_start = day.goes_on(others=1.0)
    later = day.goes_on(looks=20) and day.goes_on(others=1.0)
    assert at_start == pytest.approx([100 * 4 / 30], abs=0.1)
    assert later == pytest.approx([100 * 4 / 32], abs=0.1)
    assert day.goes_on(looks=9)[-1] == 0.0


def test_the_first_look_says_that_nobody_is_busy(tmp_path: Path) -> None:
    counted(tmp_path, user=10_000)
    process(tmp_path, "self", ticks=10, children="")
    assert load(Busy(tmp_path, grace_s=0.0)) == 0.0


def test_without_a_grace_period_a_look_tells_of_the_time_since_the_last_one(tmp_path: Path) -> None:
    day = Day(tmp_path, grace_s=0.0)
    assert day.goes_on(others=0.25) + day.goes_on(others=1.0) == pytest.approx([25.0, 100.0])


def test_what_we_do_ourselves_is_not_the_load_of_others(tmp_path: Path) -> None:
    assert Day(tmp_path).goes_on(own=0.9, others=0.1, looks=10)[-1] == pytest.approx(10.0, abs=0.1)


def test_the_time_of_children_and_of_those_that_ended_is_ours(tmp_path: Path) -> None:
    process(tmp_path, "self", ticks=100, children="200 300")
    process(tmp_path, "200", ticks=1000, children="400")
    process(tmp_path, "400", ticks=10_000, children="")
    assert own_ticks(tmp_path) == 11_100  # 300 vanished between the two reads


def test_a_kernel_that_does_not_tell_children_is_searched_for_them_by_their_parents(tmp_path: Path) -> None:
    process(tmp_path, "self", ticks=100)
    for pid, parent, ticks in (("200", 100, 1000), ("400", 200, 10_000), ("500", 1, 100_000)):
        process(tmp_path, pid, parent=parent, ticks=ticks)
    (tmp_path / "600").mkdir()  # gone between listing and reading
    assert own_ticks(tmp_path) == 11_100


def test_a_descendant_that_leaves_us_with_its_time_makes_no_load_of_more_than_was_busy(
    tmp_path: Path,
) -> None:
    day = Day(tmp_path, grace_s=0.0)
    day.own, day.others = 10, day.others + 990  # an hour of a core now belongs to init's child
    assert day.goes_on(own=0.5) == pytest.approx([50.0])
    assert day.goes_on(own=0.5) == [0.0]


def test_a_machine_that_slept_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    day = Day(tmp_path)
    before = day.goes_on(others=0.5, looks=10)[-1]
    assert day.look() == before  # hours later, but no tick was counted


def test_counters_that_go_back_begin_anew(tmp_path: Path) -> None:
    day = Day(tmp_path, grace_s=0.0)
    day.goes_on(others=1.0, looks=3)
    day.idle = day.others = day.own = 500
    assert day.look() == 0.0
    assert day.goes_on(others=0.5) == pytest.approx([50.0])


def test_waiting_for_the_disk_is_idle_and_a_guest_is_counted_once(tmp_path: Path) -> None:
    busy = Busy(tmp_path, grace_s=0.0)
    process(tmp_path, "self", ticks=10, children="")
    counted(tmp_path)
    busy.read()
    counted(tmp_path, user=100, nice=20, system=30, idle=850, guest=100)
    assert load(busy) == pytest.approx(15.0)


def test_where_proc_shows_processes_alone_there_is_no_such_zone(tmp_path: Path) -> None:
    assert Busy(tmp_path, grace_s=GRACE_S).read() == ()


BURN = """
import subprocess, sys, time
if len(sys.argv) > 1:
    burn = [sys.executable, sys.argv[0]]
    subprocess.run(burn, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)  # ended: its time is its parent's
    child = subprocess.Popen(burn, stdout=subprocess.PIPE)
    child.stdout.readline()
while time.process_time() < 0.2:
    pass
print("burnt", flush=True)
sys.stdin.read()
"""


def test_the_ticks_of_a_real_tree_are_those_that_psutil_counts(tmp_path: Path) -> None:
    script = write(tmp_path / "burn.py", BURN)

    def counted_by_psutil() -> float:
        me = psutil.Process()
        times = [each.cpu_times() for each in (me, *me.children(recursive=True))]
        return HZ * sum(t.user + t.system + t.children_user + t.children_system for t in times)

    with subprocess.Popen(
        [sys.executable, str(script), "child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as top:
        try:
            assert top.stdout is not None
            top.stdout.readline()
            before, found, after = counted_by_psutil(), own_ticks(PROC), counted_by_psutil()
        finally:
            top.kill()
    assert before - 1 <= found <= after + 1
    assert found >= 0.6 * HZ


# ── the disk ────────────────────────────────────────────────────────────────────────────────────
def test_the_free_space_is_what_psutil_says(tmp_path: Path) -> None:
    free_mb = psutil.disk_usage(str(tmp_path)).free / 2**20
    assert Disk(folder=tmp_path).read().value == pytest.approx(free_mb, rel=0.05)


def test_a_folder_that_is_gone_is_an_error_that_the_governor_tells(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Disk(folder=tmp_path / "gone").read()
