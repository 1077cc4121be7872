"""NVIDIA's devices, through the real pynvml and a made-up library of the driver's (`nvml.c`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finetuned.service.machine import Machine
from finetuned_plugins.nvidia import LOOKS, finetuned_sensors
from shared import missing, oracle
from trees import device

SOURCE = Path(__file__).with_name("nvml.c")
FIRST, SECOND = "0000:01:00.0", "0000:02:00.0"
LOST, NOT_LOADED, UNKNOWN = "15", "9", "999"

# Each argument is a look, or changes a file before it: `temperature.0=85`.
LOOK = """
import os, sys
from pathlib import Path
from finetuned import Machine
from finetuned_plugins.nvidia import finetuned_sensors
root = Path(os.environ["FAKE_NVML"])
(sensor,) = finetuned_sensors(Machine(sysfs=root))
for step in sys.argv[1:]:
    name, change, value = step.partition("=")
    if change:
        (root / name).write_text(value) if value else (root / name).unlink()  # no value: gone
        continue
    try:
        print("; ".join(f"{r.name}: {r.why or r.value}, {r.passive}" for r in sensor.read()))
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the made-up library once; return its folder."""
    oracle("pynvml")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        missing("left out: there is no C compiler for nvml.c (apt-get install gcc libc6-dev)")
    folder = tmp_path_factory.mktemp("nvml")
    target = str(folder / "libnvidia-ml.so.1")
    subprocess.run([compiler or "", "-Wall", "-shared", "-fPIC", "-o", target, str(SOURCE)], check=True)
    return folder


def looks(library: Path, root: Path, *steps: str) -> list[str]:
    environ = os.environ | {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(root)}
    command = [sys.executable, "-c", LOOK, *steps]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def calls(root: Path) -> list[str]:
    found = root / "calls"
    return found.read_text().split() if found.exists() else []


COOL = "Made-up A 0: 40.0, None; Made-up B 1: 40.0, None"


def test_each_device_is_read_with_its_own_slowdown_threshold_and_the_library_initialised_once(
    library: Path, tmp_path: Path
) -> None:
    steps = ("slowdown.0=95", "look", "temperature.1=86", "look", "look")
    assert looks(library, tmp_path, *steps) == [
        "Made-up A 0: 40.0, 95; Made-up B 1: 40.0, None",
        *["Made-up A 0: 40.0, 95; Made-up B 1: 86.0, None"] * 2,
    ]
    assert calls(tmp_path) == ["init"]


def test_a_device_that_is_lost_is_missing_beside_the_others_until_the_driver_has_it_again(
    library: Path, tmp_path: Path
) -> None:
    lost = f"temperature.error.0={LOST}", f"handle.error.0={LOST}"
    back = "temperature.error.0=", "handle.error.0="
    assert looks(library, tmp_path, "look", lost[0], "look", lost[1], "look", *back, "look") == [
        COOL,
        "Made-up A 0: GPU is lost, None; Made-up B 1: 40.0, None",
        "NVIDIA 0: GPU is lost, None; Made-up B 1: 40.0, None",
        COOL,
    ]
    assert calls(tmp_path) == ["init", "shutdown", "init", "shutdown", "init"]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        ("init", NOT_LOADED, ""),
        ("init", UNKNOWN, "NVMLError_Unknown"),
        ("count", UNKNOWN, "NVMLError_Unknown"),
    ],
)
def test_without_a_driver_there_is_no_reading_and_a_failing_one_fails_until_it_works_again(
    library: Path, tmp_path: Path, call: str, error: str, said: str
) -> None:
    steps = (f"{call}.error={error}", "look", "look", f"{call}.error=", "look")
    assert looks(library, tmp_path, *steps) == [said, said, COOL]


def test_a_sleeping_laptop_is_not_woken_and_its_device_is_let_go_of_now_and_then(
    library: Path, tmp_path: Path
) -> None:
    power = device(tmp_path, FIRST, status="suspended", control="auto").relative_to(tmp_path) / "power"
    device(tmp_path, "0000:01:00.1", status="active", **{"class": "0x040300"})  # its sound
    device(tmp_path, "0000:00:02.0", status="active", vendor="0x8086")
    assert looks(library, tmp_path, "look", "look") == ["", ""]
    assert calls(tmp_path) == []
    awake = f"{power}/runtime_status=active"
    assert looks(library, tmp_path, awake, *["look"] * LOOKS) == ["Made-up A 0: 40.0, None"] * LOOKS
    assert calls(tmp_path) == ["init", "shutdown", "init"]
    assert looks(library, tmp_path, f"{power}/runtime_usage=0", "look") == [""]
    assert calls(tmp_path) == ["init", "shutdown", "init"]


def test_of_two_devices_the_sleeping_one_is_not_asked_for(library: Path, tmp_path: Path) -> None:
    second = device(tmp_path, SECOND, status="suspended", control="auto").relative_to(tmp_path)
    device(tmp_path, FIRST)
    device(tmp_path, "0000:09:00.0")  # lent to a virtual machine: the driver does not know it
    steps = ("look", f"{second}/power/runtime_status=active", "look")
    assert looks(library, tmp_path, *steps) == ["Made-up A 0: 40.0, None", COOL]
    assert calls(tmp_path) == ["init", "shutdown", "init"]


def test_without_the_library_or_the_module_there_is_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle("pynvml")
    device(tmp_path, FIRST)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert looks(empty, tmp_path, "look", "look") == ["", ""]
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    (sensor,) = finetuned_sensors(Machine(sysfs=tmp_path))
    assert [sensor.read(), sensor.read()] == [(), ()]
