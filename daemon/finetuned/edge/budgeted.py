"""The budget of a foreground task: as `mode always`, since a person waits: only what would harm the machine holds it.

The same sensors and the same decision as the daemon's, asked between two mini-batches.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.policy.budget import Budget, Mode
from finetuned.policy.kinds import guards
from finetuned.service import plugins
from finetuned.service.asked import STANDSTILL
from finetuned.service.governor import Governor
from finetuned.service.machine import SYSFS, Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from finetuned.policy.budget import Verdict


@dataclass(slots=True)
class Guard:
    """Looks at the sensors every `interval_s`, and stays in `rest` for as long as they want the task held."""

    governor: Governor
    say: Callable[[Verdict], None]
    interval_s: float = 4.0
    looked_at: float = -float("inf")
    # One loop for all looks: a sensor that answers late must find the loop that asked it.
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def rest(self) -> None:
        """Look, if it is time; return when nothing holds the task."""
        if time.monotonic() - self.looked_at < self.interval_s:
            return
        verdict = self._look()
        held = verdict.pace in STANDSTILL
        if held:
            self.say(verdict)
        while verdict.pace in STANDSTILL:
            time.sleep(self.interval_s)
            verdict = self._look()
        if held:
            self.say(verdict)

    def _look(self) -> Verdict:
        self.looked_at = time.monotonic()
        return self.runner.run(self.governor.look())


def guard(say: Callable[[Verdict], None], sysfs: Path = SYSFS) -> Guard:
    """Return the guard of this machine."""
    budget = Budget(zones=guards(), mode=Mode.always)
    machine = Machine(sysfs=sysfs, zones=tuple(zone.name for zone in budget.zones))
    return Guard(Governor(plugins.load().sensors(machine), budget), say)
