"""The machine as its sensors see it: where they read, and what the configuration asks of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.policy.schedule import HOUR, inside
from finetuned.service import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from finetuned.policy.schedule import Window

SYSFS, PROC = Path("/sys"), Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a plugin's sensors may need to know; they read nothing else.

    `sysfs` and `proc` are where these are mounted, `state` is finetuned's folder.  `zones` are the names of the budget's
    zones: a kind that is not among them need not be read, and `thermal/nvme*` asks for a place that is usually left out.
    `grace_s` is over how long the load of other processes is averaged, `windows` are those of the schedule, `commands` the
    programs (with their arguments) that print a number, by name.  `synchronised` says whether the clock can be believed.
    """

    sysfs: Path = SYSFS
    proc: Path = PROC
    state: Path = Path("/")
    zones: tuple[str, ...] = ()
    grace_s: float = 30.0
    windows: tuple[Window, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    synchronised: Callable[[], bool] = clock.synchronised

    def places(self, kind: str) -> tuple[str, ...]:
        """Return the places (shell patterns, lower case) that have a zone of this kind of their own."""
        found = (name.partition("/") for name in self.zones)
        return tuple(place.lower() for of, _, place in found if of == kind and place)

    def is_open(self, at: datetime) -> bool:
        """Say whether the local time `at` lies inside a window."""
        return inside(self.windows, at.weekday(), at.hour * HOUR + at.minute)
