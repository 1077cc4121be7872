"""What systemd hears, on a real datagram socket; and what it thinks of the unit, asked by its own tools."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from finetuned.edge.systemd import Notifier
from shared import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's end: the NOTIFY_SOCKET that it hands out, and what it listens on."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@finetuned-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        listener.settimeout(10)
        yield address, listener


def test_every_message_is_one_datagram_of_assignments(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.ready("2 models")
    notifier.status("training\nREADY=0")
    notifier.stopping()
    said = [listener.recv(4096).decode() for _ in range(3)]
    assert said[:2] == ["READY=1\nSTATUS=2 models", "STATUS=training READY=0"]
    assert said[2] == "STOPPING=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_service_manager_nothing_happens(environ: dict[str, str]) -> None:
    Notifier.from_environment(environ).ready("nobody hears it")


def test_a_full_socket_does_not_hold_up_the_daemon(manager: tuple[str, socket.socket]) -> None:
    address, _ = manager
    for _ in range(2000):
        Notifier(address=address).status("nobody reads")


async def test_the_watchdog_is_fed_as_long_as_the_loop_turns(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    feeding = asyncio.create_task(Notifier.from_environment(environ).watchdog())
    loop = asyncio.get_running_loop()
    assert [await loop.sock_recv(listener, 4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    feeding.cancel()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # meant for somebody else
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
async def test_the_watchdog_is_fed_only_where_this_process_is_watched(
    environ: dict[str, str], seconds: float | None
) -> None:
    notifier = Notifier.from_environment(environ)
    assert notifier.watchdog_s == seconds
    if seconds is None:
        await notifier.watchdog()  # ends at once


# ── the unit ────────────────────────────────────────────────────────────────────────────────────
def run(tool: str, *arguments: str | Path) -> str:
    """Run a tool of systemd; it succeeds and says what is returned."""
    if not shutil.which(tool):
        missing(f"left out: there is no {tool} here")
    done = subprocess.run([tool, *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_unit_is_well_formed(tmp_path: Path) -> None:
    unit = tmp_path / "finetuned.service"
    text = (SYSTEMD / unit.name).read_text()
    unit.write_text(
        text.replace("/usr/bin/finetuned ", f"{shutil.which('true')} ")
    )  # it is not installed there
    assert run("systemd-analyze", "verify", unit) == ""


def test_the_unit_is_hardened() -> None:
    run("systemd-analyze", "security", "--offline=yes", "--threshold=20", SYSTEMD / "finetuned.service")


def test_the_inbox_is_open_to_the_daemons_group_and_the_rest_of_the_state_to_nobody(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("left out: only root can create users and folders for them")
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "finetuned.sysusers")
    run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "finetuned.tmpfiles")
    (user,) = (line.split(":") for line in (tmp_path / "etc/passwd").read_text().splitlines())
    state = tmp_path / "var/lib/finetuned"
    modes = [(path.stat().st_uid, oct(path.stat().st_mode & 0o7777)) for path in (state, state / "inbox")]
    assert modes == [(int(user[2]), "0o710"), (int(user[2]), "0o2770")]
