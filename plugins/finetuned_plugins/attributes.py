"""The small files of sysfs, of one value each, and what can be said of a device without waking it."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES = 256  # no attribute that is read here is so long; what is, is none of them
MOST_LETTERS = 48  # of a name: it stands in logs, messages and topics

# The kernel's words (Documentation/ABI/testing/sysfs-devices-power).
SLEEPING = ("suspended", "suspending")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: Path) -> str:
    """Return what the file says, without the white space around it; raise `OSError`, also where it is too long."""
    with _opened(path) as descriptor:
        said = os.read(descriptor, MOST_BYTES)
    if len(said) == MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return said.decode("ascii", "replace").strip()


def text(path: Path) -> str:
    """Return the file's text, "" where there is none."""
    try:
        return read(path)
    except OSError:
        return ""


def title(path: Path) -> str:
    """Return the file's text as a name: printable, in one line, not long; "" where there is none."""
    words = "".join(letter if letter.isprintable() else " " for letter in text(path)).split()
    return " ".join(words)[:MOST_LETTERS]


def number(path: Path) -> float:
    """Return the file's number; raise `OSError` or `ValueError`."""
    said = read(path)
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"{path.name} says {said!r:.40}" if said else f"{path.name} is empty") from None


def optional(path: Path) -> float | None:
    """Return the file's number, None where there is none."""
    try:
        return number(path)
    except (OSError, ValueError):
        return None


def complaint(error: Exception) -> str:
    """Say in words why a file could not be read."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def entries(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return name and inode of what is in the folder; while they are the same, so are the devices behind them."""
    try:
        with os.scandir(folder) as found:
            return tuple((entry.name, entry.inode()) for entry in found)
    except OSError:
        return ()


def asleep(device: Path) -> bool:
    """Say whether the device sleeps, or is about to: it may, and nobody uses it.

    Reading from it would wake it, or keep it awake.  Where the kernel does not tell, it does not sleep.
    """
    status = text(device / "power" / "runtime_status")
    idle = status == "active" and text(device / "power" / "runtime_usage") == "0"
    return status in SLEEPING or (idle and may_sleep(device))


def may_sleep(device: Path) -> bool:
    """Say whether the kernel may let the device sleep while nobody uses it, as laptops' graphics cards do."""
    return text(device / "power" / "control") == "auto"
