"""The configuration: a TOML file becomes frozen values, or one error that lists every mistake in it.

`config/finetuned.toml` is the reference: it holds every key at its default, and a test compares the two.
"""

from __future__ import annotations

import os
import tomllib
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from finetuned.edge.folders import FILE, default_file
from finetuned.errors import ConfigurationError, RequestError
from finetuned.service.names import model_name

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 60  # characters of a wrong value that a message repeats


def _absolute(path: str) -> str:
    """Expand `~`; a relative path would depend on where the daemon was started."""
    if not path:
        return path
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error}; give an absolute path") from None
    if not expanded.is_absolute():
        raise ValueError(f"{path!r} is relative; give an absolute path, or one that begins with ~/")
    return str(expanded)


def _model_name(name: str) -> str:
    try:
        return model_name(name)
    except RequestError as error:
        raise ValueError(str(error)) from None


def _number(value: object) -> object:
    """Say in one sentence what a union of three types would say in three."""
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{value!r:.{SHOWN}} is neither a number nor true or false")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


FilePath = Annotated[str, AfterValidator(_absolute)]
Level = Annotated[str, StringConstraints(pattern=r"^[^+#/$\x00-\x1f]{1,64}$")]
ModelName = Annotated[str, AfterValidator(_model_name)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Celsius = Annotated[float, Field(ge=0, le=120)]
Percent = Annotated[float, Field(ge=0, le=100)]
RequestVerb = Literal["train", "pause", "resume", "cancel", "status"]


class Section(BaseModel):
    """The base of all sections; the keys named in `ascending` must grow from left to right."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    ascending: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if mistakes := tuple(self.mistakes()):
            raise PydanticCustomError("inconsistent", "inconsistent", {"mistakes": mistakes})
        return self

    def mistakes(self) -> list[tuple[str, str]]:
        """Return what contradicts itself within the section: pairs of key and sentence."""
        return [
            (low, f"{getattr(self, low):g} must be below {high} ({getattr(self, high):g})")
            for low, high in pairwise(self.ascending)
            if getattr(self, low) >= getattr(self, high)
        ]


class Ingest(Section):
    """How files from the inbox are taken."""

    users: bool = False
    settle_s: Seconds = 1.0
    rescan_s: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    max_file_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    decode_timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0


class Trigger(Section):
    """When there is enough to learn from."""

    ascending = ("quiet_s", "max_wait_s")
    min_new_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    quiet_s: Seconds = 5.0
    max_wait_s: Annotated[float, Field(gt=0, le=31_536_000)] = 3600.0


class Validation(Section):
    """What is held out."""

    held_out: Annotated[float, Field(ge=0, le=0.9)] = 0.2


class Thermal(Section):
    """Trip points in °C."""

    ascending = ("resume", "throttle", "pause")
    throttle: Celsius = 70.0
    pause: Celsius = 80.0
    resume: Celsius = 65.0


class Battery(Section):
    """Trip points in % of charge."""

    ascending = ("pause", "resume")
    throttle_on_battery: bool = True
    pause: Percent = 30.0
    resume: Percent = 40.0


class Budget(Section):
    """What the machine may spend on training."""

    mode: Literal["auto", "always", "never"] = "auto"
    interval_s: Annotated[float, Field(ge=0.01, le=3600)] = 4.0
    min_paused_s: Seconds = 60.0
    min_running_s: Seconds = 30.0
    missing: Literal["ignore", "throttle", "pause"] = "ignore"
    sysfs: FilePath = "/sys"
    thermal: Thermal = Thermal()
    battery: Battery = Battery()


class Worker(Section):
    """The process that trains."""

    threads: Annotated[int, Field(ge=0, le=256)] = 0
    nice: Annotated[int, Field(ge=0, le=19)] = 10


class Tls(Section):
    """TLS to an external broker."""

    enabled: bool = False
    ca_file: FilePath = ""
    cert_file: FilePath = ""
    key_file: FilePath = ""

    def mistakes(self) -> list[tuple[str, str]]:
        """A certificate without its key is of no use, nor the key without it."""
        if bool(self.cert_file) == bool(self.key_file):
            return []
        given, lacking = ("cert_file", "key_file") if self.cert_file else ("key_file", "cert_file")
        return [(given, f"needs {lacking} as well")]


class Mqtt(Section):
    """The broker and what is said and heard there."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65_535)] = 1883
    username: str = ""
    password_file: FilePath = ""
    prefix: Level = "finetuned"
    batch_events_per_second: Annotated[float, Field(ge=0, le=1000)] = 5.0
    # TOML has arrays only, hence not strict.
    allow: Annotated[tuple[RequestVerb, ...], Field(strict=False)] = get_args(RequestVerb)
    tls: Tls = Tls()

    def mistakes(self) -> list[tuple[str, str]]:
        """What belongs to an external broker needs one; a password needs a user (MQTT 3.1.1 has it so)."""
        external = {
            "username": self.username,
            "password_file": self.password_file,
            "tls.enabled": self.tls.enabled,
        }
        found = [
            (key, "is for an external broker: set mqtt.host")
            for key, value in external.items()
            if value and not self.host
        ]
        if self.host and self.password_file and not self.username:
            found.append(("password_file", "needs username as well"))
        return found


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class ModelEntry(Section):
    """A model that is registered by the configuration."""

    path: Annotated[str, StringConstraints(min_length=1), AfterValidator(_absolute)]
    fit: Literal["stretch", "crop"] = "stretch"
    labels: dict[str, str] = {}
    parameters: dict[str, Annotated[bool | int | float, BeforeValidator(_number)]] = {}


class Config(Section):
    """Everything that can be configured; every default is that of `config/finetuned.toml`."""

    state: FilePath = ""
    inbox: FilePath = ""
    ingest: Ingest = Ingest()
    trigger: Trigger = Trigger()
    validation: Validation = Validation()
    budget: Budget = Budget()
    worker: Worker = Worker()
    mqtt: Mqtt = Mqtt()
    log: Log = Log()
    models: dict[ModelName, ModelEntry] = {}


# ── from a file ─────────────────────────────────────────────────────────────────────────────────
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
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name}: not TOML: {error}") from error
    except ValidationError as error:
        mistakes = [line for details in error.errors() for line in _lines(details)]
        # No `from`: pydantic's text repeats values that a log should not have.
        raise ConfigurationError("\n".join([f"{name}:", *(f"  {line}" for line in mistakes)])) from None


SENTENCES = {
    "greater_than_equal": "{value} is too low (allowed: from {ge:g})",
    "greater_than": "{value} is too low (allowed: above {gt:g})",
    "less_than_equal": "{value} is too high (allowed: up to {le:g})",
    "literal_error": "{value} is not known (allowed: {expected})",
    "string_pattern_mismatch": "{value} is no topic level (1 to 64 characters, no / + # $ and no control characters)",
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


def _lines(details: ErrorDetails) -> list[str]:
    """Return one line for each mistake that an error of pydantic's stands for, each with its path."""
    path = [str(part) for part in details["loc"] if part != "[key]"]
    context = details.get("ctx", {})
    if details["type"] == "inconsistent":
        return [f"{'.'.join([*path, key])}: {sentence}" for key, sentence in context["mistakes"]]
    return [f"{'.'.join(path)}: {_sentence(details, path, context)}"]


def _sentence(details: ErrorDetails, path: list[str], context: Mapping[str, Any]) -> str:
    kind, value = details["type"], repr(details["input"])
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind in TYPES:
        return f"{shown} is not {TYPES[kind]}"
    return SENTENCES.get(kind, "{value}: " + details["msg"]).format(value=shown, **context)


def _unknown(path: list[str]) -> str:
    """Say that a key is unknown, and the nearest one or all that are allowed; its value may be a secret."""
    *section, key = path
    siblings = _keys(Config)
    if len(section) == 2 and section[0] == "models":  # noqa: PLR2004 - the table models, the model's name
        siblings = _keys(ModelEntry, ".".join([*section, ""]))
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
