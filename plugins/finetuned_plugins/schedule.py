"""The windows of the week in which tasks may run, by the local time of the machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned import Machine, Sensor

UNBELIEVABLE = "the clock is not synchronised, so the time of day is not known"


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Bring the schedule, where the configuration has one."""
    return [Windows(machine=machine)] if machine.windows else []


def local_time() -> datetime:
    """Return the wall clock's time where the machine is now.

    The C library keeps the time zone that it once read until it is asked to look again, and a laptop travels.
    """
    time.tzset()
    return datetime.now()  # noqa: DTZ005 - windows are told in the time of day of the place, which has no offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """1 inside of a window and 0 outside; missing while the clock cannot be believed, as after a start without battery clock."""

    machine: Machine
    now: Callable[[], datetime] = local_time
    name: str = "windows"
    zone: str = "schedule"

    def read(self) -> Reading:
        """Return one reading."""
        if not self.machine.synchronised():
            return Reading(zone=self.zone, name=self.name, value=None, why=UNBELIEVABLE)
        return Reading(zone=self.zone, name=self.name, value=float(self.machine.is_open(self.now())))
