"""The sections `[budget…]`: what the machine may spend on training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from finetuned.edge.section import FilePath, Seconds, Section, Word, matching
from finetuned.policy import schedule

Celsius = Annotated[float, Field(ge=0, le=120)]
Percent = Annotated[float, Field(ge=0, le=100)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]
Place = Annotated[str, matching(r"[^\x00-\x1f]{1,64}", "name of a zone (1 to 64 characters)")]
Name = Annotated[str, matching(r"[A-Za-z0-9_-]{1,32}", "name of a command (1 to 32 of a-z A-Z 0-9 _ -)")]


def _window(text: str) -> str:
    schedule.window(text)
    return text


Window = Annotated[str, AfterValidator(_window)]


class Heat(Section):
    """Trip points in °C."""

    ascending = ("resume", "throttle", "pause")
    throttle: Celsius
    pause: Celsius
    resume: Celsius


class Thermal(Heat):
    """Trip points of the hottest CPU or SoC zone, and of single zones by their names."""

    throttle: Celsius = 70.0
    pause: Celsius = 80.0
    resume: Celsius = 65.0
    places: dict[Place, Heat] = Field(default_factory=dict)


class Gpu(Heat):
    """Trip points of the hottest accelerator."""

    throttle: Celsius = 75.0
    pause: Celsius = 85.0
    resume: Celsius = 70.0


class Battery(Section):
    """Trip points in % of charge."""

    ascending = ("pause", "resume")
    on_battery: Literal["ignore", "throttle", "pause"] = "throttle"
    pause: Percent = 30.0
    resume: Percent = 40.0


Low = Annotated[float, Field(gt=0, le=100)]
High = Annotated[float, Field(ge=0, lt=100)]
"""Percentages beyond which a reading can lie: one that none can pass would hold a task for ever."""


class Memory(Section):
    """Trip points in % of the time that somebody waits for memory, and in % of it that is available."""

    ascending = ("resume", "throttle", "pause")
    throttle: Percent = 20.0
    pause: Percent = 60.0
    resume: Low = 10.0
    available_throttle: Percent = 10.0
    available_pause: Percent = 5.0
    available_resume: High = 15.0

    def mistakes(self) -> list[tuple[str, str]]:
        """What is available has its trips the other way around."""
        falling = ("available_pause", "available_throttle", "available_resume")
        return [*super().mistakes(), *self.falling_short(falling)]


class CpuBusy(Section):
    """Trip points in % of all cores that other processes use."""

    ascending = ("resume", "throttle", "pause")
    enabled: bool = False
    throttle: Percent = 25.0
    pause: Percent = 75.0
    resume: Low = 15.0
    grace_s: Annotated[float, Field(gt=0, le=3600)] = 30.0


class Schedule(Section):
    """When tasks may run; no window: always."""

    # TOML has arrays only, hence not strict.
    windows: Annotated[tuple[Window, ...], Field(strict=False)] = ()


class Idle(Section):
    """How long nobody must have been at the machine; 0: that does not matter."""

    after_s: Seconds = 0.0


class Disk(Section):
    """How much must be free where finetuned keeps its state."""

    min_free_mb: Annotated[int, Field(ge=0, le=10_000_000)] = 200


class Command(Section):
    """A program that prints a number, and the number's trips."""

    run: Annotated[tuple[Word, ...], Field(strict=False)]
    throttle: Number | None = None
    pause: Number | None = None
    resume: Number

    def mistakes(self) -> list[tuple[str, str]]:
        """There is a trip, and all of them lie on the same side of `resume`, the harder one farther away."""
        trips = [each for each in (self.throttle, self.pause) if each is not None]
        line = [self.resume, *trips]
        if not self.run:
            return [("run", 'needs a program: ["/usr/local/bin/name", "argument"]')]
        if not trips:
            return [("resume", "needs throttle or pause, or both, to resume from")]
        if line != sorted(set(line)) and line != sorted(set(line), reverse=True):
            return [("resume", "resume, throttle and pause must rise or fall in this order")]
        return []


class Budget(Section):
    """What the machine may spend on training."""

    mode: Literal["auto", "always", "never"] = "auto"
    interval_s: Annotated[float, Field(ge=0.01, le=3600)] = 4.0
    min_paused_s: Seconds = 60.0
    min_running_s: Seconds = 30.0
    release_after_s: Seconds = 300.0
    max_hold_s: Annotated[float, Field(ge=0, le=31_536_000)] = 21_600.0
    missing: Literal["ignore", "throttle", "pause"] = "ignore"
    sysfs: FilePath = "/sys"
    proc: FilePath = "/proc"
    thermal: Thermal = Thermal()
    gpu: Gpu = Gpu()
    battery: Battery = Battery()
    memory: Memory = Memory()
    cpu_busy: CpuBusy = CpuBusy()
    schedule: Schedule = Schedule()
    idle: Idle = Idle()
    disk: Disk = Disk()
    commands: dict[Name, Command] = Field(default_factory=dict)
