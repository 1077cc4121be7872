"""What a desktop's services know over D-Bus: UPower of the battery, logind of when somebody was last there.

Extra: `finetuned[desktop]`.  No service is ever started: one that does not run, or no bus at all, is no zone.  A service that
told something and is gone is a missing reading.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned import Reading, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

    from finetuned import Machine, Sensor

ADDRESS, SOCKET = "DBUS_SYSTEM_BUS_ADDRESS", Path("/var/run/dbus/system_bus_socket")
LIBRARY = "dbus_fast"
NOT_RUNNING = (
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.ServiceUnknown",
)
GONE = (FileNotFoundError, ConnectionError)
DEADLINE_S, PARTING_S = 1.5, 0.2  # together less than the governor's: what does not answer is let go and said
BATTERY = 2  # UpDeviceKind
MICRO = 1e-6


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Bring UPower's battery, and logind's idle time where a zone asks for it; nothing is asked before it is read."""
    idle: list[Sensor] = [Presence()] if "idle" in machine.zones else []
    return [UPower(), *idle]


# ── the bus ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of an object on the bus."""

    path: str
    interface: str
    name: str


class SystemBus:
    """A connection to the system bus that is kept between reads, and made anew after anything went wrong.

    Its event loop runs only while something is asked, in the thread that asks.
    """

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        """Nothing is opened until something is asked."""
        self._deadline_s = deadline_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bus: MessageBus | None = None

    def get(self, service: str, properties: Sequence[Property]) -> list[Any] | None:
        """Return the properties' values; None: the service does not run, there is no bus, or no library for it.

        TimeoutError: no answer in time.  OSError: the bus, or the service, answers with an error.
        """
        if find_spec(LIBRARY) is None or not (os.environ.get(ADDRESS) or SOCKET.exists()):
            return None
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            return self._loop.run_until_complete(self._get(service, properties))
        except BaseException as error:
            self.close()
            if isinstance(error, GONE):
                return None
            raise

    def close(self) -> None:
        """Let go of the bus."""
        loop, bus, self._loop, self._bus = self._loop, self._bus, None, None
        if loop is None:
            return
        if bus is not None:
            with suppress(Exception):  # whatever it was that broke it may show once more
                loop.run_until_complete(_part(bus))
        loop.close()

    async def _get(self, service: str, properties: Sequence[Property]) -> list[Any] | None:
        try:
            async with asyncio.timeout(self._deadline_s):
                bus = self._bus = await _alive(self._bus) or await _connected()
                calls = (bus.call(_question(service, of)) for of in properties)
                return _values(await asyncio.gather(*calls))
        except TimeoutError:
            raise TimeoutError(f"{service} does not answer") from None
        except EOFError:
            raise ConnectionResetError("the bus is gone") from None


async def _connected() -> MessageBus:
    from dbus_fast import BusType  # noqa: PLC0415 - 3 MB that only a machine with a bus pays for
    from dbus_fast.aio import MessageBus  # noqa: PLC0415 - the same

    return await MessageBus(bus_type=BusType.SYSTEM).connect()


async def _alive(bus: MessageBus | None) -> MessageBus | None:
    """Return the connection, None where it ended since it was last used."""
    await asyncio.sleep(0)  # the loop stood still; now it hears of the end
    if bus is None or bus.connected:
        return bus
    with suppress(Exception):  # what it ended of is of no use any more
        await _part(bus)
    return None


async def _part(bus: MessageBus) -> None:
    bus.disconnect()
    async with asyncio.timeout(PARTING_S):
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # dbus-fast leaves its type out


def _question(service: str, of: Property) -> Message:
    from dbus_fast import Message, MessageFlag  # noqa: PLC0415 - the same

    return Message(
        destination=service,
        path=of.path,
        interface="org.freedesktop.DBus.Properties",
        member="Get",
        signature="ss",
        body=[of.interface, of.name],
        flags=MessageFlag.NO_AUTOSTART,
    )


def _values(replies: Sequence[Message]) -> list[Any] | None:
    for reply in replies:
        if reply.error_name in NOT_RUNNING:
            return None
        if reply.error_name:
            raise OSError(f"{reply.error_name}: {' '.join(map(str, reply.body))}")
    return [reply.body[0].value for reply in replies]


# ── the battery ─────────────────────────────────────────────────────────────────────────────────
UPOWER = "org.freedesktop.UPower"
DISPLAY = "/org/freedesktop/UPower/devices/DisplayDevice"
POWER = (
    Property(path="/org/freedesktop/UPower", interface=UPOWER, name="OnBattery"),
    Property(path=DISPLAY, interface=f"{UPOWER}.Device", name="Type"),
    Property(path=DISPLAY, interface=f"{UPOWER}.Device", name="IsPresent"),
    Property(path=DISPLAY, interface=f"{UPOWER}.Device", name="Percentage"),
)


class UPower:
    """The charge that a desktop shows (%), of all the machine's own batteries together."""

    name = "UPower"
    zone = "battery"

    def __init__(self, bus: SystemBus | None = None) -> None:
        """Ask over `bus`, by default a connection of its own."""
        self.bus = bus or SystemBus()
        self._told = False

    def read(self) -> Sequence[Reading]:
        """Return one reading, none where no battery is present."""
        found = self.bus.get(UPOWER, POWER)
        if found is None:
            return (_gone(self),) if self._told else ()
        on_battery, kind, present, percentage = found
        self._told = kind == BATTERY and bool(present)
        if not self._told:
            return ()
        charge = Reading(zone=self.zone, name=self.name, value=float(percentage), on_battery=bool(on_battery))
        return (charge,)


def _gone(sensor: Sensor) -> Reading:
    return Reading(zone=sensor.zone, name=sensor.name, value=None, why=f"{sensor.name} does not run any more")


# ── who is there ────────────────────────────────────────────────────────────────────────────────
LOGIND = "org.freedesktop.login1"
IDLE = tuple(
    Property(path="/org/freedesktop/login1", interface=f"{LOGIND}.Manager", name=name)
    for name in ("IdleHint", "IdleSinceHintMonotonic")
)


class Presence:
    """The seconds since a person was last there, as far as anybody told logind; suspend does not count.

    A desktop tells it some minutes after the last key was pressed, and then the seconds begin at 0; on a terminal logind
    looks itself.  Without any session (headless) it says idle since 0: since the machine's start, unless somebody was seen
    here later.
    """

    name = "logind"
    zone = "idle"

    def __init__(self, bus: SystemBus | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask over `bus`, by default a connection of its own; `clock` is CLOCK_MONOTONIC, logind's own."""
        self.bus = bus or SystemBus()
        self._clock = clock
        self._seen_s: float | None = None
        self._told = False

    def read(self) -> Sequence[Reading]:
        """Return one reading, none where logind does not run."""
        if find_spec(LIBRARY) is None:
            why = "D-Bus needs dbus-fast: pip install 'finetuned[desktop]'"
            return (Reading(zone=self.zone, name=self.name, value=None, why=why),)
        found = self.bus.get(LOGIND, IDLE)
        if found is None:
            return (_gone(self),) if self._told else ()
        self._told = True
        idle, since_us = found
        return (Reading(zone=self.zone, name=self.name, value=self._idle_s(since_us if idle else None)),)

    def _idle_s(self, since_us: int | None) -> float:
        """Return the seconds since the later of `since_us` and when somebody was seen here; None: somebody is there."""
        now = self._clock()
        if since_us is None:
            self._seen_s = now
            return 0.0
        return max(0.0, now - max(since_us * MICRO, self._seen_s or 0.0))
