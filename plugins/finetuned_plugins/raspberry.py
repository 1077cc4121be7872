"""A Raspberry Pi's word on its supply and its heat: whether the firmware holds the processor back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned import Reading, hookimpl
from finetuned_plugins.attributes import complaint, number, read, text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from finetuned import Machine, Sensor

log = logging.getLogger(__name__)

# Up to the Pi 4 `soc/soc:firmware`, on the Pi 5 `soc@107c000000/soc@107c000000:firmware`.  Raspberry Pi's own kernels have the
# file, and the word "deprecated" in their log when it is first read; but nothing else tells of more than under-voltage.
FIRMWARE = "devices/platform/soc*/soc*:firmware/get_throttled"
# All kernels since 4.20 have this instead, or beside it: whether the voltage was too low within the last two seconds.
HWMON, ALARM = "rpi_volt", "in0_lcrit_alarm"

# The bits of what is so now.  Sixteen places higher stands what was so since the start, which holds nothing back any more.
FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Return the sensor of the firmware's flags; on any other machine it has no reading."""
    return [Firmware(machine=machine)]


@dataclass(slots=True, kw_only=True)
class Firmware:
    """Reads 1 while the firmware says that the supply or the heat limits the processor, else 0.

    Which of its flags are set is logged whenever that changes.
    """

    machine: Machine
    name: str = "firmware"
    zone: str = "power"
    _said: tuple[str, ...] = ()

    def read(self) -> Sequence[Reading]:
        """Return one reading, none where the machine is no Raspberry Pi."""
        sources = [(flags, path) for path in sorted(self.machine.sysfs.glob(FIRMWARE))]
        sources += [(alarm, chip / ALARM) for chip in _chips(self.machine.sysfs / "class" / "hwmon")]
        why = ""
        for source, path in sources:
            try:
                found = source(path)
            except (OSError, ValueError) as error:
                why = complaint(error)
            else:
                self._say(found)
                return (self._reading(float(bool(found))),)
        return (self._reading(None, why),) if sources else ()

    def _reading(self, value: float | None, why: str = "") -> Reading:
        return Reading(zone=self.zone, name=self.name, value=value, why=why)

    def _say(self, found: tuple[str, ...]) -> None:
        if found != self._said:
            self._said = found
            level = logging.WARNING if found else logging.INFO
            log.log(level, "the Raspberry Pi's firmware says: %s", ", ".join(found) or "all is well again")


def _chips(folder: Path) -> list[Path]:
    return [chip for chip in sorted(folder.glob("hwmon*")) if text(chip / "name") == HWMON]


def flags(path: Path) -> tuple[str, ...]:
    """Return the words for the flags that are set now; the file has a hexadecimal number without `0x`."""
    said = read(path)
    try:
        bits = int(said, 16)
    except ValueError:
        raise ValueError(f"{path.name} says {said!r:.40}" if said else f"{path.name} is empty") from None
    return tuple(word for bit, word in FLAGS.items() if bits >> bit & 1)


def alarm(path: Path) -> tuple[str, ...]:
    """Return the word for under-voltage while the kernel's alarm is set."""
    return (FLAGS[0],) if number(path) else ()
