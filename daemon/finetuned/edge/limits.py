"""The configuration's `[budget]` as the policy takes it, and the machine as its sensors do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.policy import kinds
from finetuned.policy.budget import Budget, Missing, Mode, OnBattery, battery_zone, thermal_zone
from finetuned.policy.schedule import window
from finetuned.service.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.edge.budget_sections import Budget as Section
    from finetuned.edge.budget_sections import Heat
    from finetuned.policy.budget import Zone


def budget_of(section: Section) -> Budget:
    """Return the budget that the configuration asks for."""
    return Budget(
        zones=tuple(_zones(section)),
        min_paused_s=section.min_paused_s,
        min_running_s=section.min_running_s,
        release_after_s=section.release_after_s,
        max_hold_s=section.max_hold_s,
        missing=Missing(section.missing),
        mode=Mode(section.mode),
    )


def machine_of(section: Section, state: Path) -> Machine:
    """Return what the sensors need to know; `state` is the folder whose disk must have room."""
    return Machine(
        sysfs=Path(section.sysfs),
        proc=Path(section.proc),
        state=state,
        zones=tuple(zone.name for zone in _zones(section)),
        grace_s=section.cpu_busy.grace_s,
        windows=tuple(window(text) for text in section.schedule.windows),
        commands={name: command.run for name, command in section.commands.items()},
    )


def _zones(section: Section) -> Iterator[Zone]:
    yield thermal_zone(**_trips(section.thermal))
    for place, heat in section.thermal.places.items():
        yield replace(thermal_zone(**_trips(heat)), name=f"thermal/{place}")
    yield kinds.gpu_zone(**_trips(section.gpu))
    yield kinds.power_zone()
    yield _battery(section)
    yield from _memory(section)
    yield kinds.disk_zone(min_free_mb=section.disk.min_free_mb)
    yield from _habits(section)
    for name, command in section.commands.items():
        yield kinds.command_zone(name, throttle=command.throttle, pause=command.pause, resume=command.resume)


def _trips(heat: Heat) -> dict[str, float]:
    return {"throttle": heat.throttle, "pause": heat.pause, "resume": heat.resume}


def _battery(section: Section) -> Zone:
    battery = section.battery
    return battery_zone(on_battery=OnBattery(battery.on_battery), pause=battery.pause, resume=battery.resume)


def _memory(section: Section) -> Iterator[Zone]:
    memory = section.memory
    yield kinds.memory_zone(throttle=memory.throttle, pause=memory.pause, resume=memory.resume)
    yield kinds.available_zone(
        throttle=memory.available_throttle, pause=memory.available_pause, resume=memory.available_resume
    )


def _habits(section: Section) -> Iterator[Zone]:
    """Yield what is off unless it is asked for: regard for a machine's people."""
    busy = section.cpu_busy
    if busy.enabled:
        yield kinds.busy_zone(throttle=busy.throttle, pause=busy.pause, resume=busy.resume)
    if section.schedule.windows:
        yield kinds.schedule_zone()
    if section.idle.after_s:
        yield kinds.idle_zone(after_s=section.idle.after_s)
