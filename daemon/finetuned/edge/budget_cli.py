"""`finetuned budget`: each zone, its trips, its reading now, and what that makes the daemon do; no daemon is asked.

The readings are of this moment; the verdict is where it would end if they stayed so.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.edge import config as configuration
from finetuned.edge import console
from finetuned.edge.budget_view import show
from finetuned.edge.folders import places
from finetuned.edge.limits import budget_of, machine_of
from finetuned.edge.prospect import found
from finetuned.edge.simulation import simulated
from finetuned.service import plugins
from finetuned.service.probes import Probe, read_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetuned.edge.config import Config
    from finetuned.policy.budget import Budget, Reading, Sensor

DEADLINE_S = 2.0
TWICE = frozenset({"cpuBusy"})
LOOK_S = 0.5
"""The kinds of zone that are a difference of two looks, and how far apart these are."""


def budget(simulate: Sequence[str] | None, config: Path | None, *, json: bool) -> None:
    """Show where this machine stands in its budget, or would with the readings that are simulated.

    Raises:
        ParameterError: a simulated zone or value is none; the message says what is allowed.
        ConfigurationError: the configuration is wrong.
    """
    loaded = configuration.load(config)
    limits = budget_of(loaded.budget)
    sensors, errors = _sensors(loaded, limits)
    readings = asyncio.run(read(sensors))
    taken = simulated(limits, readings, simulate or ())
    prospect = found(limits, taken, simulate=simulate or (), interval_s=loaded.budget.interval_s)
    if json:
        console.line(prospect.as_json())
        return
    show(prospect, errors)


def _sensors(config: Config, limits: Budget) -> tuple[list[Sensor], list[str]]:
    """Return the sensors of the budget's zones, and a sentence for every plugin that is left out."""
    machine = replace(machine_of(config.budget, _standing(places(config).state)), grace_s=LOOK_S)
    loaded = plugins.load()
    wanted = {zone.reason for zone in limits.zones}
    sensors = [sensor for sensor in loaded.sensors(machine) if sensor.zone in wanted]
    return sensors, [str(error) for error in loaded.errors]


def _standing(folder: Path) -> Path:
    """Return the folder, or the first above it that is there: before its first start the daemon has none."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir() or each == Path("/"))


async def read(sensors: Sequence[Sensor]) -> tuple[Reading, ...]:
    """Read each sensor under the governor's deadline, all at once; those that need it, twice."""
    probes = [Probe(sensor) for sensor in sensors]
    if again := [probe for probe in probes if probe.sensor.zone in TWICE]:
        await read_all(again, DEADLINE_S)
        await asyncio.sleep(LOOK_S)
    return await read_all(probes, DEADLINE_S)
