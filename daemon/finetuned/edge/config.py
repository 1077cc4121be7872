"""The configuration: a TOML file becomes frozen values, or one error that lists every mistake in it.

`config/finetuned.toml` is the reference: it holds every key at its default, and a test compares the two.
"""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from finetuned.edge.budget_sections import Command, Heat
from finetuned.edge.folders import FILE, default_file
from finetuned.edge.section import SHOWN, Section
from finetuned.edge.sections import Config, Log, ModelEntry, Mqtt, Tls
from finetuned.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = ["Config", "Log", "Mqtt", "Section", "Tls", "load", "parse"]


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration at `path`, or the default one if there is one.

    Raises:
        ConfigurationError: a named file is missing, it is no TOML, or something in it is wrong: the message
            has a line for each mistake.
    """
    found = path or default_file(environ)
    try:
        text = found.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigurationError(f"{found}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{found}: cannot be read: {error}") from error
    return parse(text, str(found))


def parse(text: str, name: str = FILE) -> Config:
    """Return the configuration that a TOML text says; `name` is what its errors call it."""
    try:
        return Config.model_validate(_table(text, name))
    except ValidationError as error:
        mistakes = [line for details in error.errors() for line in _lines(details)]
        # No `from`: pydantic's text repeats values that a log should not have.
        raise ConfigurationError("\n".join([f"{name}:", *(f"  {line}" for line in mistakes)])) from None


def _table(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also of a number with more digits than Python reads
        raise ConfigurationError(f"{name}: not TOML: {error}{_hint(str(error))}") from error
    except RecursionError:
        raise ConfigurationError(f"{name}: tables or arrays are nested too deeply to be read") from None


def _hint(error: str) -> str:
    """Say what is meant where a table is written twice, once by a dotted key and once by its head."""
    if not error.startswith(("Cannot declare", "Cannot overwrite", "Cannot mutate")):
        return ""
    return "; a key `a.b.c` and a head `[a.b]` do not go together: write `c` below the head"


# ── what is wrong ───────────────────────────────────────────────────────────────────────────────
SENTENCES = {
    "greater_than_equal": "{value} is too low (allowed: from {ge:g})",
    "greater_than": "{value} is too low (allowed: above {gt:g})",
    "less_than": "{value} is too high (allowed: below {lt:g})",
    "less_than_equal": "{value} is too high (allowed: up to {le:g})",
    "literal_error": "{value} is not known (allowed: {expected})",
    "string_too_short": "must not be empty",
    "finite_number": "{value} is not a number",
    "missing": "is missing",
    "value_error": "{error}",
}
TYPES = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a string",
    "dict_type": "a table",
    "model_type": "a table",
    "tuple_type": "an array",
}


NAMED: dict[tuple[str, ...], type[Section]] = {
    ("models",): ModelEntry,
    ("budget", "commands"): Command,
    ("budget", "thermal", "places"): Heat,
}
"""Tables whose keys are names of a person's own making, and what stands under each."""


def _lines(details: ErrorDetails) -> list[str]:
    """Return one line for each mistake that an error of pydantic's stands for, each with its path."""
    path = [str(part) for part in details["loc"] if part != "[key]"]
    context = details.get("ctx", {})
    if details["type"] == "inconsistent":
        return [f"{'.'.join([*path, key])}: {sentence}" for key, sentence in context["mistakes"]]
    return [f"{'.'.join(path)}: {_sentence(details, path, context)}"]


def _sentence(details: ErrorDetails, path: list[str], context: Mapping[str, Any]) -> str:
    kind, shown = details["type"], _shown(details["input"])
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind in TYPES:
        return f"{shown} is not {TYPES[kind]}"
    return SENTENCES.get(kind, "{value}: " + details["msg"]).format(value=shown, **context)


def _shown(value: object) -> str:
    """Return what a message repeats of a wrong value; a few cannot be written out."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of levels
        return f"this {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _unknown(path: list[str]) -> str:
    """Say that a key is unknown, and the nearest one or all that are allowed; its value may be a secret."""
    *section, key = path
    siblings = _keys(Config)
    for table, kind in NAMED.items():
        if section[: len(table)] == list(table) and section[len(table) :]:
            siblings = _keys(kind, f"{'.'.join(section[: len(table) + 1])}.")
    here = {_split(path)[1]: path for path, _ in siblings if _split(path)[0] == ".".join(section)}
    anywhere = {_split(path)[1]: path for path, _ in reversed(_keys(Config))}
    for names in here, anywhere:
        if nearest := get_close_matches(key, names, n=1, cutoff=0.7):
            return f"unknown; did you mean {names[nearest[0]]}?"
    return f"unknown (allowed: {', '.join(here)})" if here else "unknown"


def _split(path: str) -> tuple[str, str]:
    section, _, key = path.rpartition(".")
    return section, key


def _keys(section: type[Section], prefix: str = "") -> list[tuple[str, Any]]:
    """Return the dotted path and default of every key, sections included."""
    found: list[tuple[str, Any]] = []
    for name, field in section.model_fields.items():
        found.append((f"{prefix}{name}", field.default))
        if isinstance(field.default, Section):
            found += _keys(type(field.default), f"{prefix}{name}.")
    return found
