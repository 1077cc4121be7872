"""The hands on `faults.c`: build it, set its traps, read its counts, and shift the wall clock, while the processes run."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).with_name("faults.c")
NANOSECONDS = 10**9

# The layout of `struct control` in faults.c: the clock's shift, then a slot for each role and kind.
SLOTS_AT = 128
SLOT = struct.Struct("=QQQQIi88s")


class Role(IntEnum):
    """A process of finetuned, as its command line says."""

    daemon = 0
    worker = 1
    decoder = 2


class Boundary(IntEnum):
    """What is counted: calls that change something below the state folder, or words on a socket."""

    files = 0
    words = 1


class What(IntEnum):
    """What happens at the call that a trap names."""

    nothing = 0
    kill_before = 1
    kill_after = 2
    torn = 3
    fail = 4


def build(folder: Path) -> Path:
    """Compile the library into `folder`; a machine without a C compiler is told so in words."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise SystemExit(
            "the campaign needs a C compiler for tests/torture/faults.c (apt-get install gcc libc6-dev)"
        )
    library = folder / "faults.so"
    command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """What is to happen at the `at`-th call from now on (1: the next), and at the `times` calls from there."""

    role: Role
    boundary: Boundary
    what: What
    at: int
    times: int = 1
    error: int = 0


class Shim:
    """One control file, for the processes of one house."""

    def __init__(self, library: Path, control: Path, below: Path) -> None:
        """Make the file; the processes below `below` are to be started with `environ`."""
        size = SLOTS_AT + len(Role) * len(Boundary) * SLOT.size
        control.write_bytes(bytes(size))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self.control = control
        self._environ = {
            "LD_PRELOAD": str(library),
            "FINETUNED_FAULTS": str(control),
            "FINETUNED_FAULTS_BELOW": os.path.realpath(below),
        }

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process needs to be under faults."""
        return self._environ

    def calls(self, role: Role, boundary: Boundary) -> int:
        """Return how many such calls there have been."""
        return int(self._slot(role, boundary)[0])

    def set(self, trap: Trap) -> None:
        """Set a trap; the one before it in its place is gone."""
        offset = self._offset(trap.role, trap.boundary)
        rest = SLOT.pack(0, 0, trap.times, 0, trap.what, trap.error, b"")
        self._memory[offset + 16 : offset + SLOT.size] = rest[16:]
        at = self.calls(trap.role, trap.boundary) + trap.at
        struct.pack_into("=Q", self._memory, offset + 8, at)

    def where(self, trap: Trap) -> str:
        """Return the call that the trap has struck at, "" while it has struck at none."""
        fired, where = self._slot(trap.role, trap.boundary)[3::3]
        return str(where.rstrip(b"\0").decode(errors="replace")) if fired else ""

    def release(self) -> None:
        """Take all traps away."""
        for role in Role:
            for boundary in Boundary:
                struct.pack_into("=Q", self._memory, self._offset(role, boundary) + 8, 0)

    def shift_clock(self, seconds: float) -> None:
        """Let the wall clock be wrong by so much, from now on."""
        struct.pack_into("=q", self._memory, 0, int(seconds * NANOSECONDS))

    def _slot(self, role: Role, boundary: Boundary) -> tuple[int, int, int, int, int, int, bytes]:
        return SLOT.unpack_from(self._memory, self._offset(role, boundary))

    def _offset(self, role: Role, boundary: Boundary) -> int:
        return SLOTS_AT + (role * len(Boundary) + boundary) * SLOT.size
