"""The sections of the configuration: their keys, defaults and allowed values, checked by pydantic."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from finetuned.errors import RequestError
from finetuned.service.names import model_name

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 60  # characters of a wrong value that a message repeats
YEAR_S = 31_536_000
LARGEST = 2**63 - 1  # what the daemon's JSON can hold


def _absolute(path: str) -> str:
    """Expand `~`; a relative path would depend on where the daemon was started."""
    if not path:
        return path
    if "\0" in path:
        raise ValueError("no path has a zero character in it")
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error}; give an absolute path") from None
    if not expanded.is_absolute():
        raise ValueError(f"{path!r:.{SHOWN}} is relative; give an absolute path, or one that begins with ~/")
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
    if not abs(value) <= LARGEST:  # NaN is not, either
        raise ValueError("is infinite, too large or no number at all")
    return value


Word = Annotated[str, StringConstraints(min_length=1)]
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
    max_wait_s: Annotated[float, Field(gt=0, le=YEAR_S)] = 3600.0
    min_per_label: Annotated[int, Field(ge=0, le=1_000_000)] = 0


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
    release_after_s: Seconds = 300.0
    missing: Literal["ignore", "throttle", "pause"] = "ignore"
    sysfs: FilePath = "/sys"
    thermal: Thermal = Thermal()
    battery: Battery = Battery()


class Worker(Section):
    """The processes that train, and where they run."""

    executor: Word = "local"
    max_running: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    checkpoint_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    warm_s: Seconds = 60.0
    silence_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    retry_s: Seconds = 5.0


class History(Section):
    """What is kept of the past."""

    versions: Annotated[int, Field(ge=2, le=1_000_000)] = 10


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
    """A model that is registered by the configuration; a key that its trigger lacks is that of `[trigger]`."""

    path: Annotated[Word, AfterValidator(_absolute)]
    fit: Literal["stretch", "crop"] = "stretch"
    labels: dict[str, str] = {}
    parameters: dict[str, Annotated[bool | int | float, BeforeValidator(_number)]] = {}
    trigger: Trigger = Trigger()


class Config(Section):
    """Everything that can be configured; every default is that of `config/finetuned.toml`."""

    state: FilePath = ""
    inbox: FilePath = ""
    ingest: Ingest = Ingest()
    trigger: Trigger = Trigger()
    validation: Validation = Validation()
    budget: Budget = Budget()
    worker: Worker = Worker()
    history: History = History()
    mqtt: Mqtt = Mqtt()
    log: Log = Log()
    models: dict[ModelName, ModelEntry] = {}

    @field_validator("models", mode="before")
    @classmethod
    def _fall_back(cls, models: object, info: ValidationInfo) -> object:
        """Complete the triggers of models before they are checked, so that they are checked as they will be used."""
        if not isinstance(models, dict):
            return models
        common = info.data["trigger"].model_dump() if "trigger" in info.data else AGREEABLE
        return {name: _completed(entry, common) for name, entry in models.items()}


AGREEABLE = {"quiet_s": 0.0, "max_wait_s": YEAR_S}
"""What nothing contradicts: where `[trigger]` itself is wrong, that alone is to be said."""


def _completed(entry: object, common: Mapping[str, object]) -> object:
    """Return a model's table with a complete trigger; one of a wrong type is left to the check."""
    if not isinstance(entry, dict) or not isinstance(own := entry.get("trigger", {}), dict):
        return entry
    return {**entry, "trigger": {**common, **own}}
