"""How the configuration reaches the daemon: checked by the command, handed over as JSON in memory.

pydantic, which checks it, costs twelve megabytes; the daemon, which only reads it, goes without.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

if TYPE_CHECKING:
    from finetuned.edge.config import Config

MODULE = "finetuned.edge.daemon"
TABLES = frozenset({"labels", "parameters"})
"""The keys whose values are tables of a person's own making, not sections."""
NAMED = frozenset({"models", "places", "commands"})
"""The keys whose values are sections by names of a person's own making."""


def become_daemon(config: Config) -> NoReturn:
    """Replace this process by the daemon, which gets the configuration through an inherited memory file."""
    memory = os.memfd_create("finetuned configuration", 0)
    os.write(memory, config.model_dump_json().encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.execv(sys.executable, (sys.executable, "-P", "-m", MODULE, str(memory)))  # noqa: S606 - our own module


def received(descriptor: int) -> Config:
    """Return the configuration that `become_daemon` left behind this descriptor: the same attributes, unchecked."""
    with os.fdopen(descriptor, "rb") as memory:
        return cast("Config", _section(msgspec.json.decode(memory.read())))


def _section(values: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**{key: _value(key, value) for key, value in values.items()})


def _value(key: str, value: Any) -> Any:  # noqa: ANN401 - whatever TOML can say
    if key in NAMED:
        return {name: _section(entry) for name, entry in value.items()}
    return _section(value) if isinstance(value, dict) and key not in TABLES else value
