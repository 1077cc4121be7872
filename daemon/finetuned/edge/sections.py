"""The sections of the configuration: their keys, defaults and allowed values, checked by pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from finetuned.edge.budget_sections import Budget
from finetuned.edge.section import (
    LARGEST,
    SHOWN,
    YEAR_S,
    FilePath,
    Level,
    ModelName,
    Seconds,
    Section,
    Word,
    absolute,
    matching,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Device = Annotated[str, matching(r"[a-z0-9]{1,32}", "device, such as cpu, cuda or openvino")]
RequestVerb = Literal[
    "train", "pause", "resume", "cancel", "promote", "rollback", "mode", "rescan", "forget", "status"
]
OBEYED = tuple(verb for verb in get_args(RequestVerb) if verb != "forget")
"""What cannot be undone is obeyed only where somebody says so."""


def _number(value: object) -> object:
    """Say in one sentence what a union of three types would say in three."""
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{value!r:.{SHOWN}} is neither a number nor true or false")  # noqa: TRY004 - pydantic collects ValueErrors only
    if not abs(value) <= LARGEST:  # NaN is not, either
        raise ValueError("is infinite, too large or no number at all")
    return value


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


class Worker(Section):
    """The processes that train, and where they run."""

    executor: Word = "local"
    max_running: Annotated[int, Field(ge=1, le=64)] = 1
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    # No device named: the CPU.
    devices: Annotated[tuple[Device, ...], Field(strict=False)] = ("cpu",)
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
    allow: Annotated[tuple[RequestVerb, ...], Field(strict=False)] = OBEYED
    # What payloads and topics tell of labels, users and file names (`disclosure`).
    disclose: Literal["all", "counts", "none"] = "all"
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


class HomeAssistant(Section):
    """Discovery by Home Assistant, on an external broker only."""

    enabled: bool = True
    prefix: Level = "homeassistant"
    language: Literal["en", "de", "es", "fr", "nl"] = "en"


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class ModelEntry(Section):
    """A model that is registered by the configuration; a key that its trigger lacks is that of `[trigger]`."""

    path: Annotated[Word, AfterValidator(absolute)]
    fit: Literal["stretch", "crop"] = "stretch"
    beyond_coreml: bool = False
    # How a model grows that holds its samples (nearest neighbours), and what its file is to say of its pixels.
    max_samples: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    when_full: Literal["oldest", "balanced"] = "oldest"
    duplicates: bool = False
    pixel_scale: Annotated[float, Field(ge=0, le=1000)] = 0.0
    priority: Literal["normal", "urgent"] = "normal"
    labels: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, Annotated[bool | int | float, BeforeValidator(_number)]] = Field(
        default_factory=dict
    )
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
    homeassistant: HomeAssistant = HomeAssistant()
    log: Log = Log()
    models: dict[ModelName, ModelEntry] = Field(default_factory=dict)

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
