"""A plugin for the tests of the decoder process: a file's content says what happens to its decoder."""

from __future__ import annotations

import itertools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.errors import SampleError
from finetuned.service.plugins import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.service.messages import InputSpec
    from finetuned.service.plugins import Decoder


def take_memory() -> None:
    """Ask for more than the fence allows."""
    bytearray(2**31)


def recurse(level: int = 0) -> int:
    """Never return."""
    return recurse(level + 1) + 1


def spin() -> None:
    """Never return, and be busy."""
    for _ in itertools.count():
        pass


def kill(number: str, marker: str = "") -> None:
    """Die of a signal; with a marker, only while that file exists, and then it is removed."""
    if marker and not Path(marker).exists():
        return
    if marker:
        Path(marker).unlink()
    os.kill(os.getpid(), int(number))


def write(path: str) -> None:
    """Try to leave something on the disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    Path(path).write_bytes(b"x" * 10)


def introduce() -> None:
    """Say who this is."""
    raise SampleError(f"{os.getpid()}\n  nice {os.nice(0)}")


WISHES: dict[str, Callable[..., object]] = {
    "good": bool,
    "short": bool,
    "memory": take_memory,
    "recursion": recurse,
    "hang": lambda: time.sleep(3600),
    "spin": spin,
    "signal": kill,
    "write": write,
    "introduce": introduce,
    "blunder": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Obedient:
    """Does what the file says, and decodes to three zeros where that lets it."""

    name: str = "obedient"
    suffixes: frozenset[str] = frozenset({".wish"})

    def decode(self, data: bytes, want: InputSpec) -> bytes:  # noqa: ARG002 - the socket's signature
        """Obey."""
        wish, *words = data.decode(errors="replace").split()
        if wish not in WISHES:
            raise SampleError("not a wish")
        WISHES[wish](*words)
        return b"" if wish == "short" else bytes(12)


@hookimpl
def finetuned_decoders() -> list[Decoder]:
    """Bring the obedient decoder."""
    return [Obedient()]
