"""The signals that end the daemon (heard by the event loop; none kills it while it leaves), and those that end a command."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # a manager, a person, a terminal that was closed
BYTES = 1024


@contextmanager
def heeding(heard: Callable[[], None]) -> Iterator[None]:
    """Call `heard` in the running loop at every signal of `STOPPING`; afterwards they are ignored, to the process's end.

    Not `loop.add_signal_handler`: where the loop takes its handlers back the signals kill again, in the middle of the end.
    """
    loop = asyncio.get_running_loop()
    ear, mouth = socket.socketpair(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with ear, mouth:
        loop.add_reader(ear, _pass_on, ear, heard)
        signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            signal.signal(number, _leave_it_to_the_loop)
        try:
            yield
        finally:
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(-1)
            loop.remove_reader(ear)


def _leave_it_to_the_loop(*_: object) -> None:
    """Only signals that have a handler in Python are written to the wakeup descriptor."""


def _pass_on(ear: socket.socket, heard: Callable[[], None]) -> None:
    if not set(STOPPING).isdisjoint(ear.recv(BYTES)):
        heard()


# ── commands ────────────────────────────────────────────────────────────────────────────────────
ENDING = (signal.SIGINT, signal.SIGTERM)


def leave_at_signals() -> None:
    """Let Ctrl-C and SIGTERM end a command that has nothing to put in order, from within its loop."""
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, leave, number)


def leave(number: int) -> NoReturn:
    """End the process as a signal does, now.

    A thread that resolves a name or knocks at a door cannot be cancelled, and Python's own end waits for it.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(128 + number)
