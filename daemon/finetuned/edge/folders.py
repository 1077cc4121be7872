"""Where things are: what systemd hands to a unit, else XDG's folders, else (as root) the system's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.edge.config import Config

FILE = "finetuned.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are: the state folder, the inbox, and what lives only while the daemon does."""

    state: Path
    inbox: Path
    runtime: Path


def default_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the configuration is looked for when none is named."""
    return _folder("CONFIGURATION_DIRECTORY", "/etc", "XDG_CONFIG_HOME", ".config", environ) / FILE


def places(config: Config, environ: Mapping[str, str] = os.environ) -> Places:
    """Resolve the folders; what systemd hands to a unit (`$STATE_DIRECTORY`, `$RUNTIME_DIRECTORY`) wins over XDG."""
    default = _folder("STATE_DIRECTORY", "/var/lib", "XDG_STATE_HOME", ".local/state", environ)
    state = Path(config.state) if config.state else default
    return Places(
        state=state,
        inbox=Path(config.inbox) if config.inbox else state / "inbox",
        runtime=_runtime(state, environ),
    )


def _folder(unit: str, system: str, xdg: str, below_home: str, environ: Mapping[str, str]) -> Path:
    if given := environ.get(unit, ""):
        return Path(given.split(":", maxsplit=1)[0])
    if os.geteuid() == 0:
        return Path(system, "finetuned")
    base = environ.get(xdg, "")
    # A relative path in an XDG variable is invalid and ignored (XDG Base Directory Specification).
    return (Path(base) if base.startswith("/") else Path(environ.get("HOME", "/"), below_home)) / "finetuned"


def _runtime(state: Path, environ: Mapping[str, str]) -> Path:
    if given := environ.get("RUNTIME_DIRECTORY", ""):
        return Path(given.split(":", maxsplit=1)[0])
    base = environ.get("XDG_RUNTIME_DIR", "")
    return Path(base, "finetuned") if base.startswith("/") else state / "run"
