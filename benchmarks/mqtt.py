"""What MQTT costs, and how soon it tells: `python benchmarks/mqtt.py [speed|latency|cost|day]`.

Real daemons, a real mosquitto, subscribers in processes of their own.  Without a part everything is measured, which takes about
a quarter of an hour.  What was measured is printed, and replaces that part's table in docs/figures.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.errors import FinetunedError

if TYPE_CHECKING:
    from governor import Figure

PAGE = Path(__file__).parents[1] / "docs" / "figures.md"
HEADING = "\n## MQTT\n"
"""Where on the page this begins; `figures.py`, which writes what is above, keeps it."""
PARTS = {
    "speed": ("mqtt_speed", "Training with subscribed batch events"),
    "latency": ("mqtt_latency", "Latency"),
    "cost": ("mqtt_cost", "Cost of the bridge"),
    "day": ("mqtt_day", "A busy day"),
}
"""Each is a module with `measured(folder)`, and its heading."""


def measured(name: str) -> str:
    """Measure one part; return its section of the page."""
    module, heading = PARTS[name]
    print(f"{name}: {heading} …", file=sys.stderr)
    room = importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="finetuned-mqtt-") as folder:
        figures: list[Figure] = asyncio.run(room.measured(Path(folder)))
    rows = "".join(f"| {figure.what} | {figure.value} | {figure.remark} |\n" for figure in figures)
    head = (
        f"### {heading}\n\n`python benchmarks/mqtt.py {name}`, {datetime.now(UTC):%Y-%m-%d}. {room.HOW}\n\n"
    )
    return f"{head}| what | figure | how |\n| --- | --- | --- |\n{rows}"


def with_section(page: str, section: str) -> str:
    """Return the page with this section in the place of the one with the same heading, or at its end."""
    above, _, ours = page.partition(HEADING)
    old = [f"### {each.strip()}\n" for each in ours.split("### ")[1:]]
    heading = section.splitlines()[0]
    kept = [section if each.splitlines()[0] == heading else each for each in old]
    if section not in kept:
        kept.append(section)
    return above.rstrip() + "\n" + HEADING + "\n" + "\n".join(f"{each.rstrip()}\n" for each in kept)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS)
    asked = parser.parse_args()
    try:
        for name in [asked.part] if asked.part else PARTS:
            section = measured(name)
            print(section, flush=True)
            PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), section), encoding="utf-8")
    except FinetunedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
