"""What the kernel tells of the machine: memory, the load of other processes, the space on the disk.

`/proc` as of proc(5) and Documentation/accounting/psi.rst, groups as of Documentation/admin-guide/cgroup-v2.rst.  What a
kernel does not have is no zone; what it has and cannot be read is a missing reading.
"""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from finetuned import Machine, Sensor

PERCENT = 100.0
MB = 2**20
PRESSURE, AVAILABLE = "some avg10", "available"
SOME = re.compile(r"some avg10=(\d+\.\d+) ", re.ASCII)
NOT_HERE = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENOTDIR)
VANISHED = (FileNotFoundError, ProcessLookupError)
TICKS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The columns of /proc/stat; what follows, the time of guests, is counted in the first two already."""
BUSY = ("user", "nice", "system", "irq", "softirq")


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Bring the kernel's sensors; the available memory only where a zone has that place, since pressure is its opposite."""
    wanted = [place for place in machine.places("memory") if fnmatchcase(AVAILABLE, place)]
    available = [Available(proc=machine.proc, sysfs=machine.sysfs)] if wanted else []
    busy = Busy(machine.proc, grace_s=machine.grace_s)
    return [Pressure(proc=machine.proc), *available, busy, Disk(folder=machine.state)]


def _text(path: Path) -> str | None:
    """Return what the file says, None where this kernel has no such file."""
    try:
        return path.read_bytes().decode("ascii", "replace")
    except OSError as error:
        if error.errno in NOT_HERE:
            return None
        raise


# ── memory ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """The share of the last ten seconds in which some task waited for memory, %; no zone where the kernel keeps none."""

    proc: Path
    name: str = "memory pressure"
    zone: str = "memory"

    def read(self) -> Sequence[Reading]:
        """Return one reading."""
        text = _text(self.proc / "pressure" / "memory")
        if text is None:
            return ()
        if match := SOME.match(text):
            return (Reading(zone=self.zone, name=PRESSURE, value=float(match[1])),)
        why = f"/proc/pressure/memory says {text!r:.40}"
        return (Reading(zone=self.zone, name=PRESSURE, value=None, why=why),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """The memory that can still be had without swapping, % of all: of the machine's, or of a limit on our own group."""

    proc: Path
    sysfs: Path
    name: str = "available memory"
    zone: str = "memory"

    def read(self) -> Sequence[Reading]:
        """Return one reading: the smaller share, since whichever is used up first ends us."""
        text = _text(self.proc / "meminfo")
        if text is None:
            return ()
        known = _table(text.replace(":", " "))
        total, available = known.get("MemTotal"), known.get("MemAvailable")
        if not total or available is None:
            why = "/proc/meminfo has no MemTotal or no MemAvailable"
            return (Reading(zone=self.zone, name=AVAILABLE, value=None, why=why),)
        shares = [PERCENT * available / total, *_group_shares(self.proc, self.sysfs / "fs" / "cgroup")]
        return (Reading(zone=self.zone, name=AVAILABLE, value=max(0.0, min(shares))),)


def _table(text: str) -> dict[str, int]:
    """Return the lines `name number …` of a file of the kernel's."""
    lines = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def _group_shares(proc: Path, root: Path) -> Iterator[float]:
    """Yield what is left (%) of each limit on our own group (version 2) and those above it.

    The file pages that the kernel would drop first are counted as free, as Kubernetes does.
    """
    lines = (_text(proc / "self" / "cgroup") or "").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::/")), None)
    if own is None:
        return
    group = root / own.strip("/")
    for folder in (group, *(above for above in group.parents if above.is_relative_to(root))):
        limits = [_text(folder / name) or "max" for name in ("memory.max", "memory.high")]
        limit = min((int(text) for text in limits if text.strip() != "max"), default=0)
        if limit > 0:
            used = int(_text(folder / "memory.current") or 0)
            used -= _table(_text(folder / "memory.stat") or "").get("inactive_file", 0)
            yield PERCENT * (limit - used) / limit


# ── the load of other processes ─────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was counted since the kernel's start, in clock ticks; `total` runs with every core, and not in suspend.

    `others` is what was busy and not ours, since the first look.
    """

    total: int
    busy: int
    own: int
    cores: int
    others: int = 0


class Busy:
    """The load of other processes in % of all cores, averaged over `grace_s`.

    Ours are this process, its descendants, and those of them that ended.  What of the grace period was not seen yet counts as
    quiet: the first look says 0, and a spike moves as little after a start as at any time.  Its clock are the ticks, of which
    a suspended machine counts none.
    """

    name = "other processes"
    zone = "cpuBusy"

    def __init__(self, proc: Path, *, grace_s: float) -> None:
        """Nothing is counted yet."""
        self._proc, self._ticks = proc, grace_s * os.sysconf("SC_CLK_TCK")
        self._looks: deque[Look] = deque()

    def read(self) -> Sequence[Reading]:
        """Return one reading; there is no such zone where /proc shows processes alone (`ProcSubset=pid`)."""
        text = _text(self._proc / "stat")
        if text is None:
            return ()
        return (Reading(zone=self.zone, name=self.name, value=self._average(_look(text, self._proc))),)

    def _average(self, look: Look) -> float:
        """Take a look; return the others' share since the youngest look that is older than the grace period."""
        if self._looks and look.total < self._looks[-1].total:
            self._looks.clear()  # the kernel counts anew, as after a core was unplugged
        now = _followed(self._looks[-1], look) if self._looks else look
        self._looks.append(now)
        grace = self._ticks * now.cores
        while len(self._looks) > 2 and now.total - self._looks[1].total >= grace:  # noqa: PLR2004 - both ends stay
            self._looks.popleft()
        then = self._looks[0]
        share = (now.others - then.others) / max(now.total - then.total, grace, 1)
        return min(PERCENT, PERCENT * share)


def _followed(before: Look, now: Look) -> Look:
    """Return `now` with what the others did since `before`.

    The two counts are not of the same moment, and a descendant that another process adopts takes its time along: ours is
    at least none and at most all of what was busy.
    """
    busy = max(0, now.busy - before.busy)
    own = min(busy, max(0, now.own - before.own))
    others = before.others + busy - own
    return Look(total=now.total, busy=now.busy, own=now.own, cores=now.cores, others=others)


def _look(stat: str, proc: Path) -> Look:
    lines = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    columns = dict(zip(TICKS, map(int, lines[0][1:]), strict=False))
    busy = sum(columns.get(name, 0) for name in BUSY)
    cores = max(1, len(lines) - 1)
    return Look(total=sum(columns.values()), busy=busy, own=own_ticks(proc), cores=cores)


def own_ticks(proc: Path) -> int:
    """Return the processor time of this process and its descendants, those that ended included, in clock ticks."""
    children = _told_children if (proc / "thread-self" / "children").exists() else _found_children(proc)
    ticks, ahead = 0, [proc / "self"]
    while ahead:
        process = ahead.pop()
        try:
            ticks += sum(map(int, _fields(process)[11:15]))  # utime, stime, cutime, cstime
            ahead += [proc / pid for pid in children(process)]
        except VANISHED:  # its parent counts it from the next look on
            continue
    return ticks


def _fields(process: Path | str) -> list[str]:
    """Return what follows the name (which may hold anything) in a process's `stat`, from its state and its parent on."""
    return _stat(process).rpartition(b")")[2].decode("ascii").split()


def _stat(process: Path | str) -> bytes:
    with open(f"{process}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - twice as quick, for hundreds of processes
        return file.read()


def _told_children(process: Path) -> list[str]:
    """Return the children of all threads of a process."""
    found: list[str] = []
    for task in os.listdir(process / "task"):  # noqa: PTH208 - a few times a second at most, but then quickly
        try:
            found += (process / "task" / task / "children").read_text("ascii").split()
        except VANISHED:
            continue
    return found


def _found_children(proc: Path) -> Callable[[Path], list[str]]:
    """Return how to look up children on a kernel that does not tell them (CONFIG_PROC_CHILDREN): by every process's parent."""
    by_parent: dict[str, list[str]] = {}
    for pid in filter(str.isdecimal, os.listdir(proc)):  # noqa: PTH208 - the same
        try:
            by_parent.setdefault(_fields(f"{proc}/{pid}")[1], []).append(pid)
        except (*VANISHED, PermissionError):
            continue
    return lambda process: by_parent.get(_pid(process), [])


def _pid(process: Path) -> str:
    return _stat(process).split(maxsplit=1)[0].decode("ascii")


# ── the disk ────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The space that is free for users without privileges where finetuned's folder lies, in MB of 2^20 bytes."""

    folder: Path
    name: str = "free space"
    zone: str = "disk"

    def read(self) -> Reading:
        """Return one reading; OSError where there is no such folder."""
        found = os.statvfs(self.folder)
        return Reading(zone=self.zone, name=self.name, value=found.f_bavail * found.f_frsize / MB)
