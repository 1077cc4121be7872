"""What systemd is told: sd_notify(3) by hand, which is one datagram per message."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifier:
    """Tells the service manager how the daemon is; without one (`address` is "") it says nothing.

    An address that begins with `@` is an abstract socket.  A message that cannot be delivered is dropped, since the
    daemon's work does not depend on it.
    """

    address: str = ""
    watchdog_s: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read NOTIFY_SOCKET, and WATCHDOG_USEC where WATCHDOG_PID is this process or nobody."""
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "") if mine else ""
        watchdog_s = int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 else None
        return cls(address=environ.get("NOTIFY_SOCKET", ""), watchdog_s=watchdog_s)

    def ready(self, status: str = "") -> None:
        """Started: what waits for the daemon may go on."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def stopping(self, status: str = "") -> None:
        """On its way out."""
        self._send("STOPPING=1", *_status(status))

    async def watchdog(self) -> None:
        """Say that the event loop turns, twice as often as asked; return at once where nobody watches."""
        while self.watchdog_s is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)

    def _send(self, *assignments: str) -> None:
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.setblocking(False)  # noqa: FBT003 - the socket's own signature
            channel.sendto("\n".join(assignments).encode(), address)


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={text.replace(chr(10), ' ')}",) if text else ()
