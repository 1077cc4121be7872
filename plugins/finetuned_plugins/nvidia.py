"""The temperature of NVIDIA's graphics processors, from the driver's own library (the extra `nvidia`)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetuned import Reading, hookimpl
from finetuned_plugins.attributes import asleep, entries, may_sleep, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from finetuned import Machine, Sensor

NVIDIA, DISPLAY = "0x10de", "0x03"  # the vendor, and how the class of a graphics processor begins
# While the library is in use no device falls asleep, nor can it be seen whether anyone else needs it.  Where one may sleep, the
# library is let go after so many looks.
LOOKS = 15


@hookimpl
def finetuned_sensors(machine: Machine) -> list[Sensor]:
    """Return the sensor of NVIDIA's devices; nothing is imported before it is read."""
    return [Devices(machine=machine)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What stands still of a device; `passive` is where it begins to slow itself down, in °C; `lost` why it has no handle."""

    handle: Any
    name: str
    passive: float | None = None
    lost: str = ""


@dataclass(slots=True, kw_only=True)
class Devices:
    """Reads each device that is awake, and wakes none.

    The library is initialised once, and again after an error or when a device has woken up.
    """

    machine: Machine
    name: str = "NVIDIA"
    zone: str = "gpu"
    _pci: Sequence[Path] = field(default=(), repr=False)
    _seen: object = field(default=None, repr=False)
    _nvml: Any = field(default=None, repr=False)  # the module; False where there is none
    _opened: object = field(default=None, repr=False)
    _devices: Sequence[Device] = field(default=(), repr=False)
    _looks: int = field(default=0, repr=False)

    def read(self) -> Sequence[Reading]:
        """Return one reading for each device; none without a device that is awake, the module, or the library."""
        listed = self._listed()
        self._let_sleep(listed)
        awake = [device.name for device in listed if not asleep(device)]
        if (listed and not awake) or not self._has_module():
            return ()
        try:
            self._open(awake)
        except (self._nvml.NVMLError_LibraryNotFound, self._nvml.NVMLError_DriverNotLoaded):
            return ()
        readings = tuple(self._reading(device) for device in self._devices)
        if any(reading.value is None for reading in readings):
            self._close()
        return readings

    def _listed(self) -> Sequence[Path]:
        """Return the PCI devices; where sysfs shows none (Tegra, WSL), the library alone knows."""
        folder = self.machine.sysfs / "bus" / "pci" / "devices"
        seen = entries(folder)
        if seen != self._seen:
            self._seen = seen
            self._pci = [folder / name for name, _ in sorted(seen) if _is_graphics(folder / name)]
        return self._pci

    def _let_sleep(self, listed: Sequence[Path]) -> None:
        self._looks += 1
        if self._looks % LOOKS == 0 and any(may_sleep(device) for device in listed):
            self._close()

    def _has_module(self) -> bool:
        if self._nvml is None:
            try:
                self._nvml = import_module("pynvml")
            except ImportError:
                self._nvml = False
        return bool(self._nvml)

    def _open(self, awake: Sequence[str]) -> None:
        if awake == self._opened:
            return
        self._close()
        self._nvml.nvmlInit()
        self._opened = awake
        try:
            self._devices = list(_devices(self._nvml, awake))
        except self._nvml.NVMLError:
            self._close()
            raise

    def _close(self) -> None:
        if self._opened is None:
            return
        self._opened, self._devices = None, ()
        with suppress(self._nvml.NVMLError):  # where the driver is gone, so is what it held
            self._nvml.nvmlShutdown()

    def _reading(self, device: Device) -> Reading:
        value, why = None, device.lost
        try:
            if not device.lost:
                value = float(
                    self._nvml.nvmlDeviceGetTemperature(device.handle, self._nvml.NVML_TEMPERATURE_GPU)
                )
        except self._nvml.NVMLError as error:
            why = str(error)
        return Reading(zone=self.zone, name=device.name, value=value, why=why, passive=device.passive)


def _is_graphics(device: Path) -> bool:
    return text(device / "vendor") == NVIDIA and text(device / "class").startswith(DISPLAY)


def _devices(nvml: Any, names: Sequence[str]) -> Iterator[Device]:  # noqa: ANN401 - as above
    """Yield the devices of these PCI addresses, all where there are no names; to ask for a sleeping one would wake it."""
    asked: list[tuple[Any, bytes | int]]
    if names:
        asked = [(nvml.nvmlDeviceGetHandleByPciBusId, name.encode()) for name in names]
    else:
        asked = [(nvml.nvmlDeviceGetHandleByIndex, index) for index in range(nvml.nvmlDeviceGetCount())]
    for position, (handle_of, which) in enumerate(asked):
        try:
            yield _device(nvml, handle_of(which))
        except (nvml.NVMLError_NotFound, nvml.NVMLError_NoPermission):
            continue  # another driver's, or not for this container
        except nvml.NVMLError as error:
            yield Device(handle=None, name=f"NVIDIA {position}", lost=str(error))


def _device(nvml: Any, handle: Any) -> Device:  # noqa: ANN401 - as above
    name = f"{nvml.nvmlDeviceGetName(handle)} {nvml.nvmlDeviceGetIndex(handle)}"
    try:
        passive = nvml.nvmlDeviceGetTemperatureThreshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
    except nvml.NVMLError:
        passive = None
    return Device(handle=handle, name=name, passive=passive)
