"""What a house's daemon is told: everything quick, and a few ways to be different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torture.broker import USER

if TYPE_CHECKING:
    from torture.house import House

LEAST = 10
SILENCE_S = 7.0
"""A sound worker speaks every five seconds."""
CONFIGURATION = """\
state = "{state}"
[ingest]
users = true
settle_s = 0.1
rescan_s = 1.5
[trigger]
min_new_samples = {least}
quiet_s = 0.3
[budget]
mode = "always"
sysfs = "{sysfs}"
proc = "{sysfs}"
[budget.disk]
min_free_mb = 0
[worker]
threads = 1
max_running = {max_running}
warm_s = {warm_s}
checkpoint_s = {checkpoint_s}
silence_s = {silence_s}
retry_s = 0.3
[history]
versions = 6
[mqtt]
host = "127.0.0.1"
port = {port}
username = "{user}"
password_file = "{password}"
batch_events_per_second = 20.0
[log]
format = "json"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What houses may differ in, of `[worker]`."""

    max_running: int
    warm_s: float
    checkpoint_s: float


def write(house: House) -> None:
    """Write the house's finetuned.toml."""
    text = CONFIGURATION.format(
        state=house.state,
        least=LEAST,
        sysfs=house.folder / "sys",
        max_running=house.ways.max_running,
        warm_s=house.ways.warm_s,
        checkpoint_s=house.ways.checkpoint_s,
        silence_s=SILENCE_S,
        port=house.broker.port,
        user=USER,
        password=house.broker.password_file,
    )
    models = (_model(house, name) for name in house.subjects)
    (house.folder / "finetuned.toml").write_text("".join([text, *models]))


def _model(house: House, name: str) -> str:
    subject = house.subjects[name]
    labels = ", ".join(f'{folder} = "{label}"' for folder, label in subject.labels.items())
    parameters = ", ".join(f"{key} = {value}" for key, value in house.parameters[name].items())
    lines = (f"[models.{name}]", f'path = "{subject.model}"', f"labels = {{ {labels} }}")
    return "\n".join([*lines, f"parameters = {{ {parameters} }}", ""])
