"""The zones of a budget beside heat and charge, each with the trips that it has where nobody says otherwise."""

from __future__ import annotations

from finetuned.policy.zones import Kind, Zone, thermal_zone

DISK_AGAIN = 1.1
"""So many times the least free space must be there before tasks go on."""


def gpu_zone(*, throttle: float = 75.0, pause: float = 85.0, resume: float = 70.0) -> Zone:
    """Return the trips of the hottest accelerator, °C."""
    return Zone(name="gpu", throttle=throttle, pause=pause, resume=resume)


def memory_zone(*, throttle: float = 20.0, pause: float = 60.0, resume: float = 10.0) -> Zone:
    """Return the trips of the kernel's memory pressure, % of the time in which some task waits for memory."""
    return Zone(name="memory", throttle=throttle, pause=pause, resume=resume)


def available_zone(*, throttle: float = 10.0, pause: float = 5.0, resume: float = 15.0) -> Zone:
    """Return the trips of the memory that is available, % of all."""
    return Zone(name="memory/available", kind=Kind.below, throttle=throttle, pause=pause, resume=resume)


def disk_zone(*, min_free_mb: float = 200.0) -> Zone:
    """Return the trip of the space that is free where the models are kept, MB."""
    return Zone(
        name="disk", kind=Kind.below, throttle=None, pause=min_free_mb, resume=min_free_mb * DISK_AGAIN
    )


def power_zone() -> Zone:
    """Return the trip of a firmware that limits the processor: 1 where it does.

    It throttles only: the firmware protects the machine by itself, and one with a weak supply could never learn.
    """
    return Zone(name="power", throttle=1.0, pause=None, resume=1.0, guards=False)


def busy_zone(*, throttle: float = 25.0, pause: float = 75.0, resume: float = 15.0) -> Zone:
    """Return the trips of other processes' load, % of all cores."""
    return Zone(name="cpuBusy", throttle=throttle, pause=pause, resume=resume, guards=False)


def schedule_zone() -> Zone:
    """Return the trip of the schedule: outside of its windows the reading is 0."""
    return Zone(name="schedule", kind=Kind.below, throttle=None, pause=1.0, resume=0.5, guards=False)


def idle_zone(*, after_s: float) -> Zone:
    """Return the trip of a machine at which somebody works: less than so many seconds idle."""
    return Zone(name="idle", kind=Kind.below, throttle=None, pause=after_s, resume=after_s, guards=False)


def command_zone(name: str, *, throttle: float | None, pause: float | None, resume: float) -> Zone:
    """Return the trips of what a program prints; they lie above `resume`, or below it."""
    trip = throttle if throttle is not None else pause
    kind = Kind.above if trip is None or trip >= resume else Kind.below
    return Zone(
        name=f"command/{name}", kind=kind, throttle=throttle, pause=pause, resume=resume, guards=False
    )


def guards() -> tuple[Zone, ...]:
    """Return the zones that protect the machine, whoever waits for the task; the disk is the daemon's own."""
    return (thermal_zone(), gpu_zone(), memory_zone(), available_zone())
