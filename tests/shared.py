"""Other people's models and data, and the optional oracles: there, or a skip that says what is missing.

In CI nothing may skip (`FINETUNED_NOTHING_MAY_SKIP=1`): there what is missing is a failure.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ.get("FINETUNED_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


def missing(what: str) -> None:
    """Skip the test, or fail it where nothing may skip."""
    if os.environ.get("FINETUNED_NOTHING_MAY_SKIP") == "1":
        pytest.fail(f"{what}, and nothing may be left out here")
    pytest.skip(what)


def shared(name: str) -> Path:
    """Return a folder or file of the shared data."""
    path = FOLDER / name
    if not path.exists():
        missing(f"left out: the shared data has no {name} (looked in {FOLDER})")
    return path


def oracle(module: str) -> Any:  # noqa: ANN401 - an optional module has no type here
    """Import an independent oracle (`torch`, `coremltools` …), an extra of the project."""
    try:
        return importlib.import_module(module)
    except ImportError:
        missing(f"left out: {module} is not installed (pip install 'finetuned[oracle]')")
