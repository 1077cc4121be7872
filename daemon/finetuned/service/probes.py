"""Sensors read in threads, under a deadline: one that hangs, fails or returns nonsense is a missing reading.

Theory of operation.  What a look costs is mostly its threads.  So sensors that are quick share one, which reads them in
turn, and those that are slow, or of which nobody knows yet, have each their own.  Where the shared one takes too long, it
is left alone with the sensor that it is at, and those behind have each their own: however many hang, and wherever, all of
it is over at the deadline.  A sensor is not read again before its thread returns: threads never pile up, and being
daemonic they hold up no exit either.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.policy.zones import Reading, checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.policy.zones import Sensor

    Readings = tuple[Reading, ...]

QUICK_S = 0.05
"""A sensor that takes longer has a thread of its own from then on."""
SHARED_S = 0.5
"""The patience with a shared thread; so many quick sensors take that long together that hardly one of them hangs."""


@dataclass(slots=True, eq=False)
class Probe:
    """A sensor, whether a thread is with it, and how long it took the last time: of a new one nobody knows."""

    sensor: Sensor
    busy: bool = False
    took_s: float = math.inf

    def missing(self, why: str) -> Readings:
        """Return what is said of it instead of a reading."""
        return (Reading(zone=self.sensor.zone, name=self.sensor.name, value=None, why=why),)

    def read(self) -> Readings:
        """Return the plausible readings; whatever the sensor raises or returns instead is a missing one."""
        began = time.monotonic()
        try:
            answer = self.sensor.read()
            readings = (answer,) if isinstance(answer, Reading) else tuple(answer)
            return tuple(checked(reading) for reading in readings)
        except BaseException as error:  # noqa: BLE001 - a sensor is a stranger's code; even SystemExit ends this thread only
            said = (error.strerror if isinstance(error, OSError) else None) or str(error)
            return self.missing(f"fails: {type(error).__name__}: {said}")
        finally:
            self.took_s = time.monotonic() - began


async def read_all(probes: Sequence[Probe], deadline_s: float) -> Readings:
    """Read every sensor once, all of them within `deadline_s`, and return what they say."""
    free = [probe for probe in probes if not probe.busy]
    quick = [probe for probe in free if probe.took_s <= QUICK_S]
    alone = [probe for probe in free if probe.took_s > QUICK_S]
    said = [probe.missing("still hangs") for probe in probes if probe.busy]
    said += await asyncio.gather(
        _read_in_turn(quick, deadline_s), *(_Turn([probe]).ended(deadline_s) for probe in alone)
    )
    return tuple(reading for readings in said for reading in readings)


async def _read_in_turn(probes: Sequence[Probe], deadline_s: float) -> Readings:
    """Read these in one thread; where that takes too long, those behind in threads of their own."""
    if not probes:
        return ()
    patience_s = min(SHARED_S, deadline_s / 2)
    turn = _Turn(probes)
    if await turn.waited(patience_s):
        return turn.said()
    behind = turn.left_alone()
    left_s = deadline_s - patience_s
    rest = await asyncio.gather(turn.ended(left_s), *(_Turn([probe]).ended(left_s) for probe in behind))
    return tuple(reading for readings in rest for reading in readings)


class _Turn:
    """One thread's turn at some sensors, which begins at once."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = list(probes)
        self._readings: list[Readings] = []
        self._lock = threading.Lock()
        self._met = 0
        self._ended = self._begun()

    def _begun(self) -> asyncio.Future[None]:
        """Begin in a new daemonic thread; asyncio's own would be waited for at exit."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        def work() -> None:
            self._read()
            with contextlib.suppress(RuntimeError):  # it took so long that the loop is closed
                loop.call_soon_threadsafe(tell)

        names = ", ".join(probe.sensor.name for probe in self._probes)
        threading.Thread(target=work, name=f"sensors {names}", daemon=True).start()
        return ended

    def _read(self) -> None:
        while (probe := self._next()) is not None:
            probe.busy = True
            try:
                self._readings.append(probe.read())
            finally:
                probe.busy = False

    def _next(self) -> Probe | None:
        with self._lock:
            self._met += 1
            return self._probes[self._met - 1] if self._met <= len(self._probes) else None

    def left_alone(self) -> list[Probe]:
        """Let the thread end with the sensor that it is at; return those behind it."""
        with self._lock:
            behind, self._probes = self._probes[self._met :], self._probes[: self._met]
        return behind

    async def waited(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False where it does not come in time."""
        done, _ = await asyncio.wait({self._ended}, timeout=timeout_s)
        return bool(done)

    async def ended(self, timeout_s: float) -> Readings:
        """Return what was read; what has not been by then hangs."""
        await self.waited(timeout_s)
        return self.said()

    def said(self) -> Readings:
        """Return what was read, and of the rest that it hangs."""
        came = [*self._readings]
        came += [probe.missing("hangs") for probe in self._probes[len(came) :]]
        return tuple(reading for readings in came for reading in readings)
