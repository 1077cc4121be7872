"""The governor: reads the sensors (`probes.py`), lets the policy decide, tells its listeners."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from finetuned.policy.budget import Budget, Mode, Reading, Verdict, assess, decide, may_start
from finetuned.policy.hysteresis import PAUSED
from finetuned.policy.zones import homes, kind_of, summary
from finetuned.service.probes import Probe, read_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from finetuned.policy.budget import Sensor, Start

log = logging.getLogger(__name__)


class Governor:
    """Looks at the sensors every `interval_s` and keeps the verdict; `clock` never goes back (seconds).

    Sensors of zones that the budget does not have are left alone.  Set `accelerator` while a running task computes on one
    when it may.  Before the first `look` the verdict is full speed.
    """

    def __init__(
        self,
        sensors: Iterable[Sensor],
        budget: Budget,
        *,
        interval_s: float = 4.0,
        deadline_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read until `look` or `run`."""
        self.accelerator = False
        self._budget = budget
        wanted = {zone.reason for zone in budget.zones}
        self._probes = tuple(Probe(sensor) for sensor in sensors if sensor.zone in wanted)
        self._interval_s, self._deadline_s, self._clock = interval_s, deadline_s, clock
        self._readings: tuple[Reading, ...] = ()
        self._verdict = self._urgent = Verdict()
        self._looked = False
        self._mode_until: float | None = None
        self._said: set[str] = set()
        self._changed = asyncio.Event()
        self._looking = asyncio.Lock()

    # ── what it knows ──
    @property
    def verdict(self) -> Verdict:
        """What the tasks shall do."""
        return self._verdict

    def verdict_for(self, *, urgent: bool) -> Verdict:
        """Return what a task shall do; an urgent one heeds only what would harm the machine."""
        return self._urgent if urgent else self._verdict

    @property
    def mode(self) -> Mode:
        """What a person asked for."""
        return self._budget.mode

    @property
    def readings(self) -> dict[str, float]:
        """The last value per zone: the worst of its places."""
        return summary(self._budget.zones, self._readings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each sensor that is missing now, each once."""
        found = (f"{r.zone} sensor {r.name}: {r.why}" for r in self._readings if r.value is None)
        return tuple(sorted(set(found)))

    def pauses_for(self, reason: str) -> bool:
        """Say whether a zone of this kind stands at its pause trip, whatever the mode makes of it."""
        traces = self._verdict.traces.values()
        return any(trace.rung == PAUSED and kind_of(trace.zone) == reason for trace in traces)

    @property
    def mode_left_s(self) -> float | None:
        """For how long the mode still holds; None: until it is changed."""
        return None if self._mode_until is None else max(0.0, self._mode_until - self._clock())

    def may_start(self, held_s: float = 0.0, *, urgent: bool = False) -> Start:
        """Say whether a task may start that has been held back for `held_s` seconds."""
        return may_start(self._budget, self.verdict_for(urgent=urgent), held_s)

    # ── what it does ──
    async def run(self) -> None:
        """Look again and again, for as long as the daemon lives."""
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    async def look(self) -> Verdict:
        """Read every sensor once, all at the same time, and decide."""
        async with self._looking:
            self._readings = await read_all(self._probes, self._deadline_s)
            return self._decide(self._clock())

    def _decide(self, now: float) -> Verdict:
        self._end_mode(now)
        previous = self._verdict if self._looked else None
        self._looked = True
        verdict = decide(self._budget, previous, self._readings, now, accelerator=self.accelerator)
        self._say()
        self._tell(verdict, now)
        return verdict

    def set_mode(self, mode: Mode, for_s: float | None = None) -> None:
        """Change the mode at once; after `for_s` seconds it falls back to `auto`."""
        now = self._clock()
        self._mode_until = None if for_s is None else now + for_s
        self._budget = replace(self._budget, mode=mode)
        self._tell(assess(self._budget, self._verdict, now), now)

    async def changes(self) -> AsyncIterator[Verdict]:
        """Yield the verdict whenever its effect, the mode or the warnings change; the latest wins.

        Begins with the present one.
        """
        told: object = None
        while True:
            changed, face = self._changed, self._face()
            if face != told:
                told = face
                yield self._verdict
            else:
                await changed.wait()

    def _face(self) -> object:
        """What listeners can see of the governor, readings aside."""
        return (self._verdict.effect, self._urgent.effect, self.pauses_for("disk"), self.mode, self.warnings)

    def _tell(self, verdict: Verdict, now: float) -> None:
        """Take the verdict; wake the listeners, who compare for themselves."""
        self._verdict = verdict
        # The same history, judged as if a person waited; only since when it stands still is its own.
        sparing = replace(self._budget, mode=Mode.always) if self.mode is Mode.auto else self._budget
        self._urgent = assess(sparing, replace(verdict, paused_at=self._urgent.paused_at), now)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _end_mode(self, now: float) -> None:
        if self._mode_until is not None and now >= self._mode_until:
            self._mode_until = None
            self._budget = replace(self._budget, mode=Mode.auto)

    def _say(self) -> None:
        """Name every missing sensor, and every zone without one, once in the daemon's life."""
        for reading in self._readings:
            if reading.value is None:
                self._say_once(
                    logging.WARNING, reading.name, f"{reading.zone} sensor {reading.name}: {reading.why}"
                )
        for zone, readings in homes(self._budget.zones, self._readings).items():
            if not readings:
                self._say_once(
                    logging.INFO, zone, f"this machine has no {zone} sensor: no budget of that kind"
                )

    def _say_once(self, level: int, about: str, sentence: str) -> None:
        if about not in self._said:
            self._said.add(about)
            log.log(level, sentence)
