"""What the daemon and its worker and decoder processes say to each other.

JSON lines over an inherited socket (`service/channel.py`); a worker elsewhere, say on a cluster, will get and send the
same.  Keys are camelCase as in every payload.  A decoder's answer is one line followed by `size` raw bytes.

Whatever a worker reports carries `task`, `attempt` and `seq` (counted from 1 in each attempt), so that a late word of an
older attempt, or one that comes twice, can be told from the present one's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from finetuned.service.description import (
    FeatureInfo,
    InputSpec,
    LayerInfo,
    ModelInfo,
    ParameterInfo,
    Value,
)

# What a model is described with is taken from here, too.
__all__ = ["FeatureInfo", "InputSpec", "LayerInfo", "ModelInfo", "ParameterInfo", "Value"]


class Message(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"
):
    """The base of all messages; the tag is the class's name in camelCase."""


def tag(name: str) -> str:
    """Return the `type` of a message class: its name with a small first letter."""
    return name[0].lower() + name[1:]


# ── values inside messages ──────────────────────────────────────────────────────────────────────
class SampleRef(Value, frozen=True, kw_only=True):
    """A sample of a task: its digest (SHA-256, hex), label, and whether it is held out for validation."""

    digest: str
    label: str
    held_out: bool = False


class CheckpointRef(Value, frozen=True, kw_only=True):
    """A checkpoint: its file below the task's folder, the SHA-256 of its content, and the mini-batches behind it."""

    path: str
    sha256: str
    step: int


class Adjustment(Value, frozen=True, kw_only=True):
    """A learning rate that holds once `step` mini-batches are done; None: from wherever the attempt begins."""

    learning_rate: float
    step: int | None = None


class Growth(Value, frozen=True, kw_only=True):
    """How a model grows that holds its samples: `most` of them (0: any number), and what goes `when_full`.

    `duplicates`: the same sample twice is held twice.
    """

    most: int = 0
    when_full: Literal["oldest", "balanced"] = "oldest"
    duplicates: bool = False


class TaskSpec(Value, frozen=True, kw_only=True):
    """Everything that a worker needs to know of a task: the same for every attempt, but for `adjustments`.

    `model_path` is what is trained (the current version or the base), `base_path` the base where the task begins with that
    and `model_path` is only measured, `growth` how such a model grows; `inputs_path` is the inputs.db with the decoded
    samples, `folder` the task's own: an attempt writes into `folder/<attempt>/` and nowhere else.  `seed` is used where
    neither model nor parameters have one; `threads` never changes within a task.  `devices` are where it computes, the
    most wanted first, in onnxruntime's words (`cuda`, `openvino`, `cpu`).  `adjustments`, in order, are the learning
    rates that were asked for on the way.  `beyond_coreml`: somebody asked by name for what Apple's validator refuses.
    A checkpoint is written every `checkpoint_s`, and at the end of an epoch.  `report_interval_s` is the least time
    between two miniBatchEnd reports; negative: none.
    """

    task: str
    model: str
    user: str = ""
    model_path: str
    model_digest: str
    base_digest: str
    base_path: str = ""
    growth: Growth = Growth()
    inputs_path: str
    input_signature: str
    samples: tuple[SampleRef, ...]
    folder: str
    parameters: dict[str, float | int | bool] = msgspec.field(default_factory=dict)
    adjustments: tuple[Adjustment, ...] = ()
    seed: int = 0
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    beyond_coreml: bool = False
    checkpoint_s: float = 60.0
    report_interval_s: float = 0.2


class Metrics(Value, frozen=True, kw_only=True):
    """How good a model is on samples: the fields of its kind.

    What is not finite (a sample is too large) is null, and so is the loss of what has none (nearest neighbours).
    """

    samples: int
    loss_value: float | None
    accuracy: float | None = None
    mean_absolute_error: float | None = None


# ── daemon → worker ─────────────────────────────────────────────────────────────────────────────
class Scaled(Value, frozen=True, kw_only=True):
    """The model as one whose pixels are multiplied by `pixel_scale`, written to `out`."""

    pixel_scale: float
    out: str


class Describe(Message, tag=tag, frozen=True, kw_only=True):
    """Read and check the model at `path`, by Core ML's rules or beyond; answered by `Described` or `Failed`.

    `scaled`: write this one, and describe it instead.
    """

    path: str
    beyond_coreml: bool = False
    scaled: Scaled | None = None


class Start(Message, tag=tag, frozen=True, kw_only=True):
    """Run the task; `resume_from` are checkpoints to go on from, the newest first: the first that is sound counts."""

    spec: TaskSpec
    attempt: int = 1
    resume_from: tuple[CheckpointRef, ...] = ()


class Pace(Message, tag=tag, frozen=True, kw_only=True):
    """Work so from the next mini-batch on: with this duty (0 < duty ≤ 1), on this share of the cores (0 < cores ≤ 1).

    `accelerated` false: on the CPU, whatever the spec's `devices` say.
    """

    duty: float = 1.0
    cores: float = 1.0
    accelerated: bool = True


class Pause(Message, tag=tag, frozen=True, kw_only=True):
    """Hold at the next mini-batch boundary; memory is kept."""


class Resume(Message, tag=tag, frozen=True, kw_only=True):
    """Go on."""


class Adjust(Message, tag=tag, frozen=True, kw_only=True):
    """Change parameters from the next mini-batch on, held or not; only learningRate may change."""

    parameters: dict[str, float]


class Cancel(Message, tag=tag, frozen=True, kw_only=True):
    """Stop after the mini-batch in flight and save nothing."""


class Release(Message, tag=tag, frozen=True, kw_only=True):
    """Write a checkpoint after the mini-batch in flight and let go: nothing stays in memory."""


class Kill(Message, tag=tag, frozen=True, kw_only=True):
    """End the worker itself, at once; an executor does it, no worker is asked."""


Command = Describe | Start | Pace | Pause | Resume | Adjust | Cancel | Release
Control = Pace | Pause | Resume | Adjust | Cancel | Release | Kill


# ── worker → daemon ─────────────────────────────────────────────────────────────────────────────
class Report(Message, frozen=True, kw_only=True):
    """The base of what a worker says of a task; `step` counts mini-batches from the task's start."""

    task: str = ""
    attempt: int = 0
    seq: int = 0
    step: int = 0


class Described(Report, tag=tag, frozen=True, kw_only=True):
    """The answer to `Describe`."""

    info: ModelInfo


class Prepared(Report, tag=tag, frozen=True, kw_only=True):
    """So many samples have gone through the frozen part of the model."""

    done: int
    total: int


class TrainingBegin(Report, tag=tag, frozen=True, kw_only=True):
    """Apple's trainingBegin; `parameters` are those in force, the chosen seed among them."""

    parameters: dict[str, float | int | bool]
    samples: dict[str, int]
    held_out: int
    device: str
    epochs: int
    batches: int


class MiniBatchEnd(Report, tag=tag, frozen=True, kw_only=True):
    """Apple's miniBatchEnd; indices count from 0, the mini-batch index restarts each epoch."""

    epoch_index: int
    mini_batch_index: int
    loss_value: float


class EpochEnd(Report, tag=tag, frozen=True, kw_only=True):
    """Apple's epochEnd; `loss_value` is the epoch's mean over its samples."""

    epoch_index: int
    loss_value: float
    last_mini_batch_loss: float
    validation: Metrics | None = None


class Restored(Report, tag=tag, frozen=True, kw_only=True):
    """Where an attempt that was given checkpoints begins: at `step`; `refused` says what was wrong with newer ones."""

    refused: tuple[str, ...] = ()


class Checkpointed(Report, tag=tag, frozen=True, kw_only=True):
    """A checkpoint is on the disk; None: it could not be written, and `error` says why."""

    checkpoint: CheckpointRef | None = None
    error: str = ""


class Adjusted(Report, tag=tag, frozen=True, kw_only=True):
    """The learning rate holds from `step` on."""

    learning_rate: float


class Held(Report, tag=tag, frozen=True, kw_only=True):
    """The worker stands at a mini-batch boundary, or (`held` false) goes on."""

    held: bool


class Moved(Report, tag=tag, frozen=True, kw_only=True):
    """From here on it computes on `device`; `why` says, where that was not asked for, what is wrong with a wanted one."""

    device: str
    why: str = ""


class Heartbeat(Report, tag=tag, frozen=True, kw_only=True):
    """Alive, though there is nothing to say (a hold, a long step)."""


class Completed(Report, tag=tag, frozen=True, kw_only=True):
    """The updated model lies at `result_path`, fsynced.

    `before` and `after` were measured on the same samples: those held out, or else trained on (`held_out` tells).
    """

    sha256: str
    before: Metrics
    after: Metrics
    held_out: bool


class Cancelled(Report, tag=tag, frozen=True, kw_only=True):
    """The answer to `Cancel`."""


class Released(Report, tag=tag, frozen=True, kw_only=True):
    """The answer to `Release`: the worker has let go, its last checkpoint was told before."""


class Failed(Report, tag=tag, frozen=True, kw_only=True):
    """The task cannot go on; `fault` is the class word of errors.py."""

    fault: str
    error: str


class Lost(Report, tag=tag, frozen=True, kw_only=True):
    """The attempt is gone without a word of its own: the executor's fault, told by the executor."""

    error: str


WorkerReport = (
    Described
    | Prepared
    | Restored
    | TrainingBegin
    | MiniBatchEnd
    | EpochEnd
    | Checkpointed
    | Adjusted
    | Held
    | Moved
    | Heartbeat
    | Completed
    | Cancelled
    | Released
    | Failed
)
LAST = (Completed, Cancelled, Released, Failed, Lost)
"""One of these ends every attempt."""


def result_path(spec: TaskSpec, attempt: int) -> Path:
    """Return where an attempt's updated model lies when it is completed."""
    return Path(spec.folder) / str(attempt) / "result.mlmodel"


# ── decoder ─────────────────────────────────────────────────────────────────────────────────────
class Decode(Message, tag=tag, frozen=True, kw_only=True):
    """Decode the private copy at `path` into `want`; `name` is the original file name (its suffix tells the format)."""

    path: str
    name: str
    want: InputSpec


class Decoded(Message, tag=tag, frozen=True, kw_only=True):
    """`size` raw bytes follow: the array in C order, element type `want.dtype`, shape `want.shape`."""

    size: int


class Undecodable(Message, tag=tag, frozen=True, kw_only=True):
    """The file is no sample for this input; `reason` is a sentence for a person."""

    reason: str


DecoderReply = Decoded | Undecodable
