"""Memory does not grow with the number of samples: they and their features come from the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("memory_child.py")
FEW, MANY = 200, 2000
SAMPLE = 16 * 1024
"""Bytes of a sample's features."""
GROWTH = 8 << 20
"""A quarter of what the features of those that are more take."""


@pytest.mark.parametrize("way", ["worker", "command", "script"])
def test_ten_times_the_samples_want_no_more_memory(tmp_path: Path, way: str) -> None:
    assert (MANY - FEW) * SAMPLE > 3 * GROWTH
    done = subprocess.run(
        [sys.executable, CHILD, way, tmp_path, str(FEW), str(MANY)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stderr.split())
    assert many - few < GROWTH, f"{few / 2**20:.0f} MiB, then {many / 2**20:.0f}"
