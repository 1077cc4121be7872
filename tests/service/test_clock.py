"""Lived time goes on over restarts, suspends and clocks that jump, and never goes back."""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.service.clock import (
    LIVED_S,
    STA_UNSYNC,
    TIME_ERROR,
    LivedClock,
    Reading,
    ask_kernel,
    begun,
    boottime,
    load_clock,
    save_clock,
    synchronised,
    time_off,
)
from finetuned.service.ledger import connect
from finetuned.service.ledger_tasks import create_task
from ledgers import a_task, with_model, with_samples

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

NOON = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(connect(Path(":memory:"))) as db:
        yield db


def a_reading(lived_s: float = 0.0, wall_s: float = NOON, *, believed: bool = True) -> Reading:
    return Reading(lived_s=lived_s, wall_s=wall_s, synchronised=believed)


class Boot:
    """CLOCK_BOOTTIME, as the test wants it."""

    now = 500.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


# ── lived seconds ───────────────────────────────────────────────────────────────────────────────
def test_a_new_state_folder_has_lived_for_as_long_as_the_daemon_runs() -> None:
    boot = Boot()
    clock = LivedClock(None, a_reading(), boot)
    assert clock() == 0.0
    boot.now += 7.5  # a suspend to RAM is in it: CLOCK_BOOTTIME counts that
    assert clock() == 7.5


@pytest.mark.parametrize(
    ("last", "now", "off_s"),
    [
        (a_reading(wall_s=NOON), a_reading(wall_s=NOON + DAY), DAY),
        (a_reading(wall_s=NOON), a_reading(wall_s=NOON - DAY), 0.0),
        (a_reading(wall_s=NOON, believed=False), a_reading(wall_s=NOON + DAY), 0.0),
        (a_reading(wall_s=NOON), a_reading(wall_s=NOON + DAY, believed=False), 0.0),
        (a_reading(wall_s=0.0, believed=False), a_reading(wall_s=NOON, believed=False), 0.0),
    ],
)
def test_the_time_that_the_daemon_was_off_counts_where_the_wall_clock_knew_it(
    last: Reading, now: Reading, off_s: float
) -> None:
    assert time_off(last, now) == off_s
    boot = Boot()
    clock = LivedClock(last, now, boot)
    boot.now += 1.0
    assert clock() == pytest.approx(off_s + 1.0)


@given(
    runs=st.lists(
        st.tuples(
            st.floats(0, 1e6),  # for how long it ran
            st.floats(-1e9, 4e9),  # what the wall clock said at the start
            st.floats(0, 1e6),  # the time since boot at the start
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_lived_time_never_goes_back_whatever_the_clocks_say(
    runs: list[tuple[float, float, float, bool]],
) -> None:
    boot, lived = Boot(), 0.0
    with contextlib.closing(connect(Path(":memory:"))) as db:
        for ran_s, wall_s, boot_s, believed in runs:
            boot.now = boot_s
            clock = LivedClock(load_clock(db), a_reading(wall_s=wall_s, believed=believed), boot)
            started = clock()
            assert started >= lived - 1e-3
            boot.now += ran_s
            lived = clock()
            assert lived - started == pytest.approx(ran_s, abs=1e-3)
            save_clock(db, a_reading(lived, wall_s + ran_s, believed=believed))


def test_the_daemons_clock_goes_on_where_the_last_one_was_saved() -> None:
    clock = begun(a_reading(lived_s=1000.0, believed=False))
    assert 1000.0 <= clock() <= clock()


def test_the_clock_behind_it_is_the_one_that_suspends_do_not_stop() -> None:
    earlier = time.monotonic()
    assert boottime() >= earlier
    assert boottime() == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=5.0)


# ── in the ledger ───────────────────────────────────────────────────────────────────────────────
def test_a_new_ledger_has_no_reading_and_an_older_reading_does_not_replace_a_newer(
    db: sqlite3.Connection,
) -> None:
    assert load_clock(db) is None
    save_clock(db, a_reading(10.0))
    save_clock(db, a_reading(9.0, believed=False))
    assert load_clock(db) == a_reading(10.0)


def test_what_was_noted_after_the_last_saving_is_not_in_the_future(db: sqlite3.Connection) -> None:
    with_model(db)
    with_samples(db, 1)
    save_clock(db, a_reading(1.0, NOON))
    create_task(db, a_task(40))  # made at 40 lived seconds; then a kill -9
    assert load_clock(db) == a_reading(40.0, NOON + 39.0)


@pytest.mark.parametrize("lived_s", [1e300, float("inf"), -1e300, LIVED_S + 1])
def test_a_damaged_row_does_not_stop_lived_time_and_is_replaced(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture, lived_s: float
) -> None:
    with_model(db)
    with_samples(db, 1)
    create_task(db, a_task(40))
    db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, 1)", (lived_s, NOON))
    boot = Boot()
    clock = LivedClock(load_clock(db), a_reading(wall_s=NOON + DAY), boot)
    assert len(caplog.records) == 1
    assert "the ledger's clock says what cannot be" in caplog.text
    assert clock() == pytest.approx(40.0)  # behind what the task knows
    boot.now += 1.0
    save_clock(db, a_reading(clock(), NOON + DAY))
    assert load_clock(db) == a_reading(clock(), NOON + DAY)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("wall_s", [-1e300, float("-inf"), 0.0, 1e300])
def test_a_damaged_wall_clock_does_not_make_lived_time_leap(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture, wall_s: float
) -> None:
    db.execute("INSERT INTO clock VALUES (1, 7.0, ?, 1)", (wall_s,))
    clock = LivedClock(load_clock(db), a_reading(), Boot())
    assert clock() == 7.0
    assert "what cannot be" in caplog.text


def test_a_time_of_a_task_that_cannot_be_is_not_gone_on_from(db: sqlite3.Connection) -> None:
    with_model(db)
    with_samples(db, 1)
    create_task(db, a_task(40))
    save_clock(db, a_reading(50.0))
    db.execute("UPDATE tasks SET ended_s = 1e300")
    assert load_clock(db) == a_reading(50.0)


def test_a_machine_without_a_set_clock_is_nothing_to_warn_of(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    save_clock(db, a_reading(7.0, 12.0, believed=False))
    assert load_clock(db) == a_reading(7.0, 12.0, believed=False)
    assert caplog.records == []


# ── can the wall clock be believed? ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("state", "status", "believed"),
    [
        (0, 0x2001, True),  # chrony and systemd-timesyncd: STA_PLL, STA_NANO
        (0, 0, True),
        (3, 0x2001, True),  # a leap second is being inserted
        (TIME_ERROR, STA_UNSYNC, False),  # nobody has set the clock
        (TIME_ERROR, 0x2001, False),
        (0, STA_UNSYNC, False),
    ],
)
def test_the_clock_is_believed_where_the_kernel_calls_it_synchronised(
    state: int, status: int, *, believed: bool
) -> None:
    assert synchronised(lambda: (state, status)) is believed


def test_where_the_kernel_does_not_tell_the_clock_is_not_believed() -> None:
    def refused() -> tuple[int, int]:
        raise PermissionError(errno.EPERM, "a sandbox without adjtimex")

    assert synchronised(refused) is False


def test_the_kernel_is_asked_and_its_clock_left_alone() -> None:
    state, status = ask_kernel()
    assert 0 <= state <= TIME_ERROR
    assert (status, state) == ask_kernel()[::-1]
    assert synchronised() is (state != TIME_ERROR and not status & STA_UNSYNC)
