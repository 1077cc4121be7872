"""Sensors read in threads, under a deadline: one that hangs, fails or returns nonsense is a missing reading.

Theory of operation.  What a look costs is mostly its threads.  So sensors that are quick share one, which reads them in
turn, and those that are slow have each their own.  Where the shared one meets a sensor that hangs, it is left alone with
it; the sensors behind are read in another.  A sensor is not read again before its thread returns: threads never pile up,
and being daemonic they hold up no exit either.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.policy.zones import Reading, checked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.policy.zones import Sensor

    Readings = tuple[Reading, ...]

QUICK_S = 0.05
"""A sensor that takes longer has a thread of its own from then on."""


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
        except Exception as error:  # noqa: BLE001 - a sensor is a stranger's code and may raise anything
            said = (error.strerror if isinstance(error, OSError) else None) or str(error)
            return self.missing(f"fails: {type(error).__name__}: {said}")
        finally:
            self.took_s = time.monotonic() - began


async def read_all(probes: Sequence[Probe], deadline_s: float) -> Readings:
    """Read every sensor once, and return what all of them say; none may take longer than `deadline_s`."""
    free = [probe for probe in probes if not probe.busy]
    quick = [probe for probe in free if probe.took_s <= QUICK_S]
    rounds = [quick, *([probe] for probe in free if probe.took_s > QUICK_S)]
    said = [probe.missing("still hangs") for probe in probes if probe.busy]
    said += await asyncio.gather(*(_read_in_turn(each, deadline_s) for each in rounds if each))
    return tuple(reading for readings in said for reading in readings)


async def _read_in_turn(probes: Sequence[Probe], deadline_s: float) -> Readings:
    """Read these in one thread; where one hangs, those behind it in another."""
    said: list[Reading] = []
    while probes:
        turn = _Turn(probes)
        done, _ = await asyncio.wait({turn.begun()}, timeout=deadline_s)
        readings = turn.readings if done else turn.given_up()
        said += (reading for each in readings for reading in each)
        probes = probes[len(readings) :]
    return tuple(said)


@dataclass(slots=True, eq=False)
class _Turn:
    """One thread's turn at some sensors."""

    probes: Sequence[Probe]
    readings: list[Readings] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def begun(self) -> asyncio.Future[None]:
        """Begin in a new daemonic thread (asyncio's own would be waited for at exit); the future ends with it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not future.done():
                future.set_result(None)

        def work() -> None:
            self._read()
            with contextlib.suppress(RuntimeError):  # it took so long that the loop is closed
                loop.call_soon_threadsafe(tell)

        names = ", ".join(probe.sensor.name for probe in self.probes)
        threading.Thread(target=work, name=f"sensors {names}", daemon=True).start()
        return future

    def _read(self) -> None:
        for probe in self.probes:
            if self.over.is_set():
                return
            probe.busy = True
            readings = probe.read()
            if not self.over.is_set():
                self.readings.append(readings)
            probe.busy = False

    def given_up(self) -> list[Readings]:
        """Leave the thread alone with the sensor that it is at; return what came before, and what is said of that one."""
        self.over.set()
        came = list(self.readings)
        return [*came, *(probe.missing("hangs") for probe in self.probes[len(came) :][:1])]
