"""Time that can be reckoned with, on a machine whose wall clock may jump.

*Lived* seconds are how long finetuned has lived on this state folder.  While it runs they go with CLOCK_BOOTTIME, which
never goes back and counts suspend to RAM; over restarts they are carried by the ledger's `clock` row.  The time that the
daemon was off counts only where the wall clock could be believed both before and after, since nothing else knows it: on
a machine without a real-time clock it does not, and a wait goes on where it stopped.

The wall clock's times are shown.  Ages are reckoned from them only once the kernel calls the clock synchronised.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

log = logging.getLogger(__name__)

STA_UNSYNC, TIME_ERROR = 0x40, 5  # linux/timex.h
YEAR_S = 365.25 * 86_400
LIVED_S = 100 * YEAR_S
OFF_S = 10 * YEAR_S
"""Nobody lives longer, and nobody is off for longer: a larger number in the ledger is damage."""
SET_S = (1_577_836_800.0, 1e10)  # 2020 to 2286: a wall clock that was set says nothing else


# ── can the wall clock be believed? ─────────────────────────────────────────────────────────────
class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)), and room for the rest of it; `modes` 0 only reads."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def ask_kernel() -> tuple[int, int]:
    """Return what adjtimex(2) returns, and `status`; OSError where the kernel, a sandbox or the C library refuses."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except AttributeError:
        raise OSError(0, "this C library has no adjtimex") from None
    if state < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return state, timex.status


def synchronised(ask: Callable[[], tuple[int, int]] = ask_kernel) -> bool:
    """Say whether the wall clock is kept by NTP, PTP or the like; not, where the kernel will not tell.

    To doubt a good clock costs little (answers are kept by their number, not by their age); to believe a bad one would
    delete what is young.
    """
    try:
        state, status = ask()
    except OSError:
        return False
    return state != TIME_ERROR and not status & STA_UNSYNC


def boottime() -> float:
    """Return the seconds since the kernel's start, suspend to RAM included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# ── lived seconds ───────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The clocks at one moment: lived seconds, the wall clock (seconds since 1970), and whether that can be believed."""

    lived_s: float
    wall_s: float
    synchronised: bool


class LivedClock:
    """Call it for the lived seconds; they begin where `last`, the ledger's reading, ended (None: at 0)."""

    def __init__(self, last: Reading | None, now: Reading, boot: Callable[[], float] = boottime) -> None:
        """Begin at `now`, whose lived seconds are not looked at; `boot` is a clock that never goes back."""
        self._boot = boot
        self._offset = (last.lived_s + time_off(last, now) if last else 0.0) - boot()

    def __call__(self) -> float:
        """Return the lived seconds; they never go back."""
        return self._offset + self._boot()


def time_off(last: Reading, now: Reading) -> float:
    """Return the seconds between two readings, 0 where the wall clock could not be believed at both or went back."""
    if not (last.synchronised and now.synchronised):
        return 0.0
    return min(max(0.0, now.wall_s - last.wall_s), OFF_S)


def begun(last: Reading | None) -> LivedClock:
    """Return the clock of a daemon that starts now on this machine."""
    return LivedClock(last, Reading(lived_s=0.0, wall_s=time.time(), synchronised=synchronised()))


# ── in the ledger ───────────────────────────────────────────────────────────────────────────────
def save_clock(db: sqlite3.Connection, reading: Reading) -> None:
    """Keep the reading: within a transaction that is open as a part of it, else as one of its own."""
    db.execute(
        "INSERT INTO clock (id, lived_s, wall_s, synchronised) VALUES (1, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " lived_s = excluded.lived_s, wall_s = excluded.wall_s, synchronised = excluded.synchronised"
        " WHERE excluded.lived_s >= lived_s OR lived_s IS NULL OR lived_s > ?",  # a damaged one must not stand for good
        (reading.lived_s, reading.wall_s, reading.synchronised, LIVED_S),
    )


def load_clock(db: sqlite3.Connection) -> Reading | None:
    """Return the last reading that was kept, None on a new ledger; no task was made, started or ended behind it.

    What no clock can have said (a damaged row) is said in the log and not believed: lived time goes on behind the tasks.
    """
    row = db.execute("SELECT lived_s, wall_s, synchronised FROM clock").fetchone()
    if row is None:
        return None
    kept = _believable(row["lived_s"], row["wall_s"], synchronised=bool(row["synchronised"]))
    unsaved_s = max(0.0, _told_s(db) - kept.lived_s)
    return Reading(
        lived_s=kept.lived_s + unsaved_s, wall_s=kept.wall_s + unsaved_s, synchronised=kept.synchronised
    )


def _believable(lived_s: float | None, wall_s: float | None, *, synchronised: bool) -> Reading:
    """Return the row's reading; a NaN is read as None."""
    lived = lived_s if lived_s is not None and 0 <= lived_s <= LIVED_S else None
    wall = wall_s if wall_s is not None and math.isfinite(wall_s) else None
    set_right = wall is not None and SET_S[0] <= wall <= SET_S[1]
    if lived is None or wall is None or (synchronised and not set_right):
        log.warning("the ledger's clock says what cannot be (lived %s s, wall clock %s s)", lived_s, wall_s)
        return Reading(lived_s=lived or 0.0, wall_s=0.0, synchronised=False)
    return Reading(lived_s=lived, wall_s=wall, synchronised=synchronised)


def _told_s(db: sqlite3.Connection) -> float:
    """Return the latest lived seconds that a task knows of, 0 where none does."""
    (told_s,) = db.execute(
        "SELECT coalesce(max(s), 0) FROM (SELECT created_s AS s FROM tasks UNION ALL SELECT started_s FROM tasks"
        " UNION ALL SELECT ended_s FROM tasks) WHERE s BETWEEN 0 AND ?",
        (LIVED_S,),
    ).fetchone()
    return float(told_s)
