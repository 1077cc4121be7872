"""What grows in a daemon of this process, in its ledger and in its broker: for `mqtt_day.py`."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from typing import TYPE_CHECKING

from governor import Figure

from finetuned.edge.connection import Connection

if TYPE_CHECKING:
    import sqlite3

    from mqtt_places import Mosquitto

    from finetuned.service.ledger import Ledger

SETTLED_H = 8
"""From this hour on it must be flat: by then everything has happened that happens every hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What there is after an hour; sizes in MB."""

    rss: float
    pss: float
    broker: float
    ledger: float
    rows: dict[str, int]
    files: int
    tasks: int
    objects: int
    connections: int
    pending: int


def memory(pid: int) -> dict[str, float]:
    """Return Rss and Pss in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {
        name: int(kb) / 1000 * 1.024 for name, kb in re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE)
    }


async def look(ledger: Ledger, path: Path, broker_mb: float) -> Look:
    """Count; `path` is the ledger's."""
    gc.collect()
    own = memory(os.getpid())
    rows = await ledger.run(_rows)
    connections = [each for each in gc.get_objects() if isinstance(each, Connection)]
    return Look(
        rss=own["Rss"],
        pss=own["Pss"],
        broker=broker_mb,
        ledger=sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6,
        rows=rows,
        files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - a count
        tasks=len(asyncio.all_tasks()),
        objects=len(gc.get_objects()),
        connections=len(connections),
        pending=sum(len(each._acknowledgements) + len(each._client._out_messages) for each in connections),  # noqa: SLF001
    )


def _rows(db: sqlite3.Connection) -> dict[str, int]:
    tables = ("samples", "tasks", "task_samples", "checkpoints", "versions", "outcomes", "transactions")
    return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608


async def broker_mb_until_gone(broker: Mosquitto) -> float:
    """Return the most that mosquitto has taken, until it is gone."""
    most, pid = 0.0, broker.pid
    while taken := _taken(pid):
        most = max(most, taken)
        await asyncio.sleep(0.2)
    return most


def _taken(pid: int) -> float:
    """Return a process's memory in MB, 0 where it is gone."""
    try:
        return memory(pid).get("Rss", 0.0)
    except OSError:
        return 0.0


def line(hour: int, seen: Look) -> str:
    """Return all of it in a line."""
    rows = ", ".join(f"{name} {count}" for name, count in seen.rows.items())
    return (
        f"  hour {hour}: RSS {seen.rss:.1f} MB, PSS {seen.pss:.1f} MB, ledger {seen.ledger:.1f} MB, mosquitto {seen.broker:.1f} MB, "
        f"files {seen.files}, tasks {seen.tasks}, objects {seen.objects}, connections {seen.connections}, pending {seen.pending}; {rows}"
    )


def slopes(looks: list[Look]) -> list[Figure]:
    """Return how much each grows in an hour, once the day has settled."""
    late = looks[min(SETTLED_H, len(looks) // 2) - 1 :]
    hours = range(len(late))
    found = []
    for what, values, unit in (
        ("its slope (RSS)", [each.rss for each in late], "MB"),
        ("its slope (PSS)", [each.pss for each in late], "MB"),
        ("daemon's objects", [float(each.objects) for each in late], ""),
        ("mosquitto's memory, at most", [each.broker for each in late], "MB"),
        ("ledger's files", [each.ledger for each in late], "MB"),
        ("open files", [float(each.files) for each in late], ""),
    ):
        slope = linear_regression(hours, values).slope
        shown = f"{values[-1]:,.1f} {unit}".strip()
        found.append(
            Figure(
                what=what,
                value=f"{shown}; {slope:+.3g} {unit}".strip() + " an hour",
                remark=f"slope over the hours {len(looks) - len(late) + 1} to {len(looks)}; {min(values):,.1f} to {max(values):,.1f}",
            )
        )
    return [_course(looks), *found]


def _course(looks: list[Look]) -> Figure:
    """Return the memory at every fourth hour."""
    shown = [hour for hour in range(1, len(looks) + 1) if hour == 1 or hour % 4 == 0]
    return Figure(
        what="the daemon's memory (RSS)",
        value=", ".join(f"{looks[hour - 1].rss:.1f}" for hour in shown) + " MB",
        remark=f"after hours {', '.join(map(str, shown))}",
    )
