"""The campaign's broker, a process that can be killed and come back: mosquitto where there is one, else the embedded one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from brokers import MOSQUITTO, free_port
from finetuned.edge.broker import LOOPBACK
from finetuned.edge.embedded import serve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER, PASSWORD = "finetuned", "a password of the campaign"
PATIENCE_S = 20.0


@dataclass(kw_only=True)
class Broker:
    """A broker on a loopback port that stays the same."""

    folder: Path
    environ: Mapping[str, str]
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def password_file(self) -> Path:
        """What the daemon reads its password from."""
        path = self.folder / "password"
        if not path.exists():
            path.write_text(PASSWORD)
            path.chmod(0o600)
        return path

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=dict(self.environ))
        until = time.monotonic() + PATIENCE_S
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                raise SystemExit(f"the broker does not start; see {self.folder / 'broker.log'}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a farewell to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _command(self) -> list[str]:
        if MOSQUITTO is None:
            return [sys.executable, "-m", "torture.broker", str(self.port), str(self.password_file)]
        lines = ("user root", f"listener {self.port} {LOOPBACK}", "allow_anonymous true", "persistence false")
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text("\n".join([*lines, ""]))
        return [MOSQUITTO, "-c", str(configuration)]

    def _answers(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), 1).close()
        except OSError:
            return False
        return True


async def _serve(port: int, password: str) -> None:
    async with serve(LOOPBACK, port, USER, password):
        await asyncio.Event().wait()


if __name__ == "__main__":
    from pathlib import Path

    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]).read_text()))
