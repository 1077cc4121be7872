"""The events and states that leave the daemon, typed once; MQTT.md is their prose.

`Outcome`s are durable: rows of the ledger, sent until acknowledged, with their row as `id`.  `Progress` is
told once and dropped when nobody can take it.  States are retained: the latest wins.
"""

from __future__ import annotations

import msgspec

from finetuned.service.messages import Metrics, Value, tag


class Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """The base of everything under `event/#`; `ts` is RFC 3339 UTC with milliseconds."""

    ts: str
    node: str
    model: str = ""
    user: str = ""
    task: str = ""


# ── progress ────────────────────────────────────────────────────────────────────────────────────
class Progress(Event, frozen=True, kw_only=True):
    """Never stored, never sent again."""

    attempt: int
    step: int


class TrainingBegin(Progress, tag=tag, frozen=True, kw_only=True):
    """Apple's trainingBegin."""

    parameters: dict[str, float | int | bool]
    samples: dict[str, int]
    device: str
    epochs: int
    batches: int
    held_out: int = 0


class MiniBatchEnd(Progress, tag=tag, frozen=True, kw_only=True):
    """Apple's miniBatchEnd; `metrics` holds epochIndex, miniBatchIndex, lossValue."""

    metrics: dict[str, float | int]


class EpochEnd(Progress, tag=tag, frozen=True, kw_only=True):
    """Apple's epochEnd; `metrics` holds epochIndex, lossValue."""

    metrics: dict[str, float | int]
    last_mini_batch_loss: float
    validation: Metrics | None = None


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────
class Outcome(Event, frozen=True, kw_only=True):
    """Durable; the ledger's row becomes `id` when it is sent."""


class TaskCompleted(Outcome, tag="completed", frozen=True, kw_only=True):
    """The task ended well; `promotion` is promoted or kept."""

    version: int
    parent: int
    samples: int
    before: Metrics
    after: Metrics
    promotion: str
    promotion_reason: str
    duration_seconds: float


class TaskFailed(Outcome, tag="failed", frozen=True, kw_only=True):
    """The task cannot be done."""

    fault: str
    error: str


class TaskCancelled(Outcome, tag="cancelled", frozen=True, kw_only=True):
    """Somebody asked for it; nothing was saved."""


class PaceEvent(Outcome, frozen=True, kw_only=True):
    """The budget or a person changed how a task runs; `zone`, `reading` and `trip` where a zone is the cause.

    `cores` is the share of the cores that it may use.
    """

    pace: str
    duty: float
    cores: float = 1.0
    reasons: tuple[str, ...] = ()
    zone: str = ""
    reading: float | None = None
    trip: float | None = None


class Paused(PaceEvent, tag=tag, frozen=True, kw_only=True):
    """Held at a mini-batch boundary."""


class Resumed(PaceEvent, tag=tag, frozen=True, kw_only=True):
    """Goes on."""


class PaceChanged(PaceEvent, tag=tag, frozen=True, kw_only=True):
    """Runs faster or slower."""


class SampleEvent(Outcome, frozen=True, kw_only=True):
    """Samples of one label: a burst is one event with a count; `name` is the last file's, never its path."""

    label: str = ""
    name: str = ""
    count: int = 1
    reason: str = ""


class SampleAccepted(SampleEvent, tag=tag, frozen=True, kw_only=True):
    """In the ledger, and the original is gone from the inbox."""


class SampleRejected(SampleEvent, tag=tag, frozen=True, kw_only=True):
    """Cannot be used (or is there already): `reason` says why."""


class SampleWaiting(SampleEvent, tag=tag, frozen=True, kw_only=True):
    """Its model or label is not known (yet)."""


class ModelSaved(Outcome, tag=tag, frozen=True, kw_only=True):
    """A version lies in the store."""

    version: int
    parent: int
    sha256: str


class Promoted(Outcome, tag=tag, frozen=True, kw_only=True):
    """`version` is now what is used."""

    version: int
    parent: int


class RolledBack(Outcome, tag=tag, frozen=True, kw_only=True):
    """`version` is used again, and `fromVersion` no more; 0 is the base."""

    version: int
    from_version: int


class Forgotten(Outcome, tag=tag, frozen=True, kw_only=True):
    """So many samples and versions are gone: of a model, of a user, of a label, or one sample (its SHA-256)."""

    label: str = ""
    sample: str = ""
    samples: int
    versions: int


AnyOutcome = (
    TaskCompleted
    | TaskFailed
    | TaskCancelled
    | Paused
    | Resumed
    | PaceChanged
    | SampleAccepted
    | SampleRejected
    | SampleWaiting
    | ModelSaved
    | Promoted
    | RolledBack
    | Forgotten
)
AnyProgress = TrainingBegin | MiniBatchEnd | EpochEnd


# ── states ──────────────────────────────────────────────────────────────────────────────────────
class CauseView(Value, frozen=True, kw_only=True):
    """What is behind a reason: its zone, the reading that was decided by, and the trip where it is a number."""

    reason: str
    zone: str = ""
    reading: float | None = None
    trip: float | None = None


class DaemonState(Value, frozen=True, kw_only=True):
    """The daemon at a glance (`finetuned/<node>/state`)."""

    version: str
    mode: str
    pace: str
    duty: float
    device: str
    reasons: tuple[str, ...]
    running: tuple[str, ...]
    queued: int
    waiting_samples: int
    readings: dict[str, float]
    warnings: tuple[str, ...]
    causes: tuple[CauseView, ...] = ()
    mode_left_seconds: float | None = None


class ModelState(Value, frozen=True, kw_only=True):
    """What a card shows of a model and user; what follows `task` is of its living task, `idle` where there is none."""

    model: str
    user: str
    kind: str
    current: int | None
    candidate: int | None
    samples: dict[str, int]
    metrics: Metrics | None
    candidate_metrics: Metrics | None
    task: str | None
    task_state: str
    reasons: tuple[str, ...]
    progress: float
    loss_value: float | None
    eta_seconds: float | None


class TaskStateView(Value, frozen=True, kw_only=True):
    """One task's progress (`finetuned/<node>/task/<task>/state`)."""

    task: str
    model: str
    user: str
    state: str
    reasons: tuple[str, ...]
    epoch: int
    epochs: int
    batch: int
    batches: int
    progress: float
    eta_seconds: float | None
    loss_value: float | None
    device: str
    pace: str


class Card(Value, frozen=True, kw_only=True):
    """card.json: where a version comes from and how good it is."""

    model: str
    user: str
    version: int
    parent: int
    task: str
    base: str
    sha256: str
    saved_at: str
    parameters: dict[str, float | int | bool]
    samples: dict[str, int]
    held_out: int
    before: Metrics
    after: Metrics
    promotion: str
    promotion_reason: str
    finetuned: str
