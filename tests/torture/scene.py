"""One round: a house, its dice, and what a fault may do with both."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torture import load
from torture.house import wait_until
from torture.shim import Boundary, Role

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from random import Random

    from torture.house import House
    from torture.shim import Trap

APPEAR_S = 6.0
STRIKE_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many calls an undisturbed start makes, and a round after it."""

    start: Mapping[tuple[Role, Boundary], int] = field(default_factory=dict)
    round: Mapping[tuple[Role, Boundary], int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault has in its hands.

    `struck` says whether it has happened, `note` where; `may_fail` whether a task may end `failed` of it, `deaf` whether
    outcomes may have gone to nobody, and `by_hand` that what is left over is swept at the next start, not before.
    """

    house: House
    rng: Random
    counts: Counts
    struck: bool = False
    note: str = ""
    may_fail: bool = False
    deaf: bool = False
    by_hand: bool = False
    stopped: list[int] = field(default_factory=list)
    errand: threading.Timer | None = None

    # ── the load, and when ──────────────────────────────────────────────────────────────────────
    def drop(self, most: int = 24) -> None:
        """Drop some files, for one or two of the (model, user)s; mostly enough for a task."""
        for _ in range(self.rng.choice((1, 1, 2))):
            load.drop(self.house, self.rng, self.rng.randint(most // 2, most))

    def moment(self, most_s: float = 2.5) -> None:
        """Wait for a random time."""
        time.sleep(self.rng.random() * most_s)

    def done(self, note: str) -> None:
        """Note that the fault has happened."""
        self.struck, self.note = True, note

    # ── signals ─────────────────────────────────────────────────────────────────────────────────
    def wait_for(self, role: Role) -> int | None:
        """Return the process of this role, once there is one."""
        wait_until(lambda: self.house.pid_of(role), APPEAR_S)
        return self.house.pid_of(role)

    def signal(self, role: Role, number: signal.Signals) -> bool:
        """Send a signal to a process; False where there is none."""
        pid = self.house.pid_of(role)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            if number is signal.SIGSTOP:
                self.stopped.append(pid)
            if number is signal.SIGKILL and role is Role.daemon:
                self.house.kill()
            return True
        return False

    # ── traps ───────────────────────────────────────────────────────────────────────────────────
    def any_call(self, role: Role, boundary: Boundary, *, starts: bool = False) -> int:
        """Return the number of one of the calls that an undisturbed round makes, each as likely as the others.

        `starts`: the daemon is about to be started, and its start counts as well.
        """
        calls = self.counts.round.get((role, boundary), 0)
        calls += self.counts.start.get((role, boundary), 0) if starts else 0
        return self.rng.randint(1, max(1, calls))

    def until_struck(self, trap: Trap) -> None:
        """Wait until the trap has struck, or the house is quiet or dead without it."""
        shim, house = self.house.shim, self.house
        calm_since = time.monotonic()
        until = time.monotonic() + STRIKE_S
        seen = -1
        while not shim.where(trap) and house.alive and time.monotonic() < until:
            now = sum(shim.calls(role, Boundary.files) for role in Role)
            calm_since = time.monotonic() if now != seen else calm_since
            seen = now
            if time.monotonic() - calm_since > 2.0:
                break
            time.sleep(0.02)
        if where := shim.where(trap):
            self.done(f"{trap.role.name} {trap.what.name} at its call {trap.at}: {where}")

    def undo(self) -> None:
        """Take everything back that would last: traps, and processes that stand still."""
        self.house.shim.release()
        for pid in self.stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
