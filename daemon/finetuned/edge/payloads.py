"""What is asked and answered over MQTT, typed once: validation, the AsyncAPI document and docs/mqtt.md come from here.

Events and states stand in `service.events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from finetuned.service.events import DaemonState, ModelState, TaskStateView

if TYPE_CHECKING:
    from collections.abc import Mapping

ALL = "all"
MAX_TRANSACTION = 128
Name = Annotated[str, Meta(min_length=1)]
TaskOrAll = Annotated[str, Meta(min_length=1, description="a task's id, or `all`")]


# ── requests ────────────────────────────────────────────────────────────────────────────────────
class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of the bodies; `transaction` and `expires` (`Envelope`) are read before."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every request carries besides its body; `expires` is RFC 3339."""

    transaction: Annotated[str, Meta(min_length=1, max_length=MAX_TRANSACTION)]
    expires: str | None = None


class Train(Body, frozen=True, kw_only=True):
    """Start a task now."""

    model: Name
    user: str = ""
    parameters: dict[str, float | int | bool | str] = {}


class Pause(Body, frozen=True, kw_only=True):
    """Hold a task, or all."""

    task: TaskOrAll


class Resume(Body, frozen=True, kw_only=True):
    """Let a task, or all, go on."""

    task: TaskOrAll
    parameters: dict[str, float | int] = {}


class Cancel(Body, frozen=True, kw_only=True):
    """End a task."""

    task: Name


class Promote(Body, frozen=True, kw_only=True):
    """Use a saved version from now on; 0 is the base."""

    model: Name
    user: str = ""
    version: Annotated[int, Meta(ge=0)]


class Rollback(Body, frozen=True, kw_only=True):
    """Use the version again that was in use before the present one."""

    model: Name
    user: str = ""


class Mode(Body, frozen=True, kw_only=True):
    """Heed the budget (auto), only what would harm the machine (always), or do not train (never)."""

    mode: str
    for_seconds: float | None = None


class Rescan(Body, frozen=True, kw_only=True):
    """Look through the whole inbox now."""


class Forget(Body, frozen=True, kw_only=True):
    """Forget a model with all its users, one user's, or of these a label's samples or a single one (its SHA-256)."""

    model: Name
    user: str = ""
    label: str = ""
    sample: str = ""


class Status(Body, frozen=True, kw_only=True):
    """Ask for everything at a glance."""


# ── answers ─────────────────────────────────────────────────────────────────────────────────────
class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The base of what stands in a response's `data`."""


class TaskAnswer(Answer, frozen=True, kw_only=True):
    """A task after what was done to it."""

    task: str
    model: str
    user: str
    state: str
    reasons: tuple[str, ...]


class TasksAnswer(Answer, frozen=True, kw_only=True):
    """The tasks to which it was done; of all, those that ended meanwhile are left out."""

    tasks: tuple[TaskAnswer, ...]


class VersionAnswer(Answer, frozen=True, kw_only=True):
    """What is in use now, and what was before; 0 is the base."""

    model: str
    user: str
    version: int
    from_version: int


class ModeAnswer(Answer, frozen=True, kw_only=True):
    """The mode that holds now; `forSeconds` null: until it is changed."""

    mode: str
    for_seconds: float | None


class RescanAnswer(Answer, frozen=True, kw_only=True):
    """A look has begun; what it finds is told by events."""

    waiting_samples: int


class ForgetAnswer(Answer, frozen=True, kw_only=True):
    """What is gone."""

    model: str
    user: str
    samples: int
    versions: int


class StatusAnswer(Answer, frozen=True, kw_only=True):
    """The daemon, its models and its tasks, as they are on their topics."""

    node: str
    state: DaemonState
    models: tuple[ModelState, ...]
    tasks: tuple[TaskStateView, ...]


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of response/<verb>; `transaction` is "" where the request had none that could be read."""

    transaction: str
    status: str
    data: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A request: its body, what is answered, and whether it is obeyed where nobody configures anything."""

    body: type[Body]
    answer: type[Answer]
    allowed: bool = True


VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "train": Verb(body=Train, answer=TaskAnswer),
        "pause": Verb(body=Pause, answer=TasksAnswer),
        "resume": Verb(body=Resume, answer=TasksAnswer),
        "cancel": Verb(body=Cancel, answer=TaskAnswer),
        "promote": Verb(body=Promote, answer=VersionAnswer),
        "rollback": Verb(body=Rollback, answer=VersionAnswer),
        "mode": Verb(body=Mode, answer=ModeAnswer),
        "rescan": Verb(body=Rescan, answer=RescanAnswer),
        "forget": Verb(body=Forget, answer=ForgetAnswer, allowed=False),
        "status": Verb(body=Status, answer=StatusAnswer),
    }
)
