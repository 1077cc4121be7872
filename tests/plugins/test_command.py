"""Programs that print a number, and all that they may do instead; each is run for real."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from finetuned.service.machine import Machine
from finetuned_plugins.command import Command, finetuned_sensors

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.policy.zones import Reading

SOON_S, LATE_S = 0.3, 30.0


def run(script: str, *arguments: str, deadline_s: float = LATE_S) -> Reading:
    """Read the sensor of a shell script; by default its time is never up."""
    command = Command(name="room", program=("/bin/sh", "-c", script, "sh", *arguments), deadline_s=deadline_s)
    return command.read()


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("printed", "value"),
    [("42", 42.0), ("-3.5\\n", -3.5), ("  +.5 \\r\\nand more\\n", 0.5), ("1e3\\n\\n", 1000.0), ("7.", 7.0)],
)
def test_the_number_on_the_first_line_is_the_reading(printed: str, value: float) -> None:
    reading = run(f"printf -- '{printed}'")
    assert (reading.zone, reading.name, reading.value, reading.why) == ("command", "room", value, "")


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("", "prints nothing"),
        ("\\n42\\n", "prints nothing"),
        ("42 °C\\n", "prints '42 °C', not a number"),
        ("3,5\\n", "prints '3,5', not a number"),
        ("NaN\\n", "prints 'NaN', not a number"),
        ("inf\\n", "prints 'inf', not a number"),
        ("1_000\\n", "prints '1_000', not a number"),
        ("٤٢\\n", "prints '٤٢', not a number"),
        ("\\377\\033[2J\\n", "prints '�\\x1b[2J', not a number"),
        ("x" * 100, f"prints '{'x' * 39}…', not a number"),
        ("4" * 513, f"prints more than 512 bytes: '{'4' * 39}…'"),
    ],
)
def test_anything_else_is_a_missing_reading_that_quotes_it(printed: str, why: str) -> None:
    reading = run(f"printf -- '{printed}'")
    assert (reading.value, reading.why) == (None, why)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 42; exit 3", "exits with 3"),
        ("echo 42; echo first >&2; echo no sensor >&2; exit 1", "exits with 1: no sensor"),
        ("printf 'a\\033[2Jb\\n%0100d' 7 >&2; exit 1", f"exits with 1: {'0' * 80}"),
        ("printf 'a\\033[2Jb\\n' >&2; exit 1", "exits with 1: a[2Jb"),
        ("echo 42; kill -SEGV $$", "is killed by SIGSEGV"),
    ],
)
def test_a_program_that_fails_is_a_missing_reading_with_its_last_complaint(script: str, why: str) -> None:
    reading = run(script)
    assert (reading.value, reading.why) == (None, why)


def test_a_program_that_is_not_there_or_not_executable_is_a_missing_reading(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("echo 42")
    whys = [Command(name="x", program=(str(tmp_path / name),)).read().why for name in ("gone", "plain")]
    assert whys == ["cannot be run: No such file or directory", "cannot be run: Permission denied"]


# ── how it runs ─────────────────────────────────────────────────────────────────────────────────
def test_its_arguments_are_its_own_and_no_shell_reads_them() -> None:
    assert run('printf "$#"', "$(echo 1 2 3)", ";").value == 2.0


def test_it_sees_a_small_environment_an_empty_stdin_and_no_file_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET", "word")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    file = os.open(tmp_path / "open", os.O_CREAT | os.O_RDWR)
    program = f"""
import os, sys
names = set(os.environ) - {{'PWD', 'SHLVL', '_', 'LC_CTYPE'}}
files = [number for number in range(3, 50) if os.path.exists(f'/proc/self/fd/{{number}}')]
sys.exit(repr((sorted(names), sys.stdin.read(), {file} in files, os.getcwd(), os.getsid(0) == os.getpid())))
"""
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("TZ", raising=False)
    reading = Command(name="x", program=(sys.executable, "-c", program), deadline_s=LATE_S).read()
    os.close(file)
    assert reading.why == "exits with 1: (['HOME', 'LANG', 'PATH'], '', False, '/', True)"


def test_a_lot_on_stderr_stops_no_program() -> None:
    assert run("head -c 300000 /dev/zero >&2; echo 42").value == 42.0


# ── how it ends ─────────────────────────────────────────────────────────────────────────────────
class Family:
    """Run a script whose every descendant holds the same pipe open, which tells when the last of them is gone."""

    def __init__(self, script: str, folder: Path, *, deadline_s: float = LATE_S) -> None:
        pipe = folder / "pipe"
        os.mkfifo(pipe)
        end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.reading = run(f'exec 9>"$1"; {script}', str(pipe), deadline_s=deadline_s)
        self.zombies = psutil.Process().children()
        poll = select.poll()
        poll.register(end, 0)
        self.gone = bool(poll.poll(LATE_S * 1000))
        os.close(end)


ENDLESS = {
    "silent": "sleep 1000",
    "deaf": "trap '' TERM INT HUP; while :; do sleep 1000; done",
    "noisy on stderr": "yes >&2",
    "without its pipes": "exec >&- 2>&-; sleep 1000",
    "slow after the number": "echo 42; sleep 1000",
    "large": "(sleep 1000 & sleep 1000 & wait) & sleep 1000 | sleep 1000",
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_a_program_that_takes_too_long_is_killed_with_its_family_and_leaves_no_zombie(
    script: str, tmp_path: Path
) -> None:
    family = Family(script, tmp_path, deadline_s=SOON_S)
    assert (family.reading.value, family.reading.why) == (None, "takes too long, and was killed")
    assert (family.zombies, family.gone) == ([], True)


def test_a_program_that_prints_garbage_for_ever_is_stopped_at_once(tmp_path: Path) -> None:
    family = Family("yes 42", tmp_path)
    assert family.reading.why == "prints more than 512 bytes: '42'"
    assert (family.zombies, family.gone) == ([], True)


@pytest.mark.parametrize("holding", ["sleep 1000 &", "yes >&2 &"])
def test_a_child_that_holds_the_pipes_open_delays_nothing_and_does_not_stay(
    holding: str, tmp_path: Path
) -> None:
    family = Family(f"{holding} echo 42", tmp_path)
    assert (family.reading.value, family.zombies, family.gone) == (42.0, [], True)


def test_there_is_a_sensor_for_each_program_of_the_configuration() -> None:
    machine = Machine(commands={"room": ("/bin/echo", "21.5"), "ups": ("/bin/echo", "90")})
    readings = [sensor.read() for sensor in finetuned_sensors(machine)]
    assert [(r.name, r.value) for r in readings] == [("room", 21.5), ("ups", 90.0)]  # type: ignore[union-attr]
