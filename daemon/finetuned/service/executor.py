"""The executor: where workers run.  The socket that every executor fills, the bundled one (`local`) and a cluster's alike.

The daemon submits a task's spec under an attempt number, controls it, and listens to one stream of reports for all attempts.
What it can rely on:

* Every report carries task, attempt and a sequence number that counts from 1 in each attempt.
* Exactly one last word (`messages.LAST`) ends each attempt that was submitted.  `Failed` is the task's fault, in the
  worker's own words; `Lost` is the executor's, where the worker died, hangs or cannot be reached.
* Before `Completed` comes, the result lies at `messages.result_path(spec, attempt)`; before `Checkpointed` comes, the
  checkpoint lies below `spec.folder`: both fsynced.  Wherever the worker runs, the executor brings them there.

What an executor need not do is remember: to resume a released or lost task is to submit it again, under the next attempt
number and with the checkpoints to go on from.  Reports that come twice, late, or of an attempt that the daemon has given
up do no harm: the ledger fences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from finetuned.service.messages import CheckpointRef, Control, ModelInfo, Report, Scaled, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an executor can do: `places` is how many attempts it runs at once."""

    places: int = 1


@runtime_checkable
class Executor(Protocol):
    """Runs attempts of tasks."""

    @property
    def name(self) -> str:
        """The word that the configuration chooses it by."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do now; it may change."""

    async def submit(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> None:
        """Start an attempt, from the first sound checkpoint of `resume_from`, the newest first, or from the start.

        HostError where it cannot be taken; then no report of it ever comes.
        """

    async def control(self, task: str, attempt: int, command: Control) -> None:
        """Tell an attempt; nothing happens where there is no such attempt (any more).

        `Pause` holds it at a mini-batch boundary, `Cancel` ends it there, `Release` lets it go there with a checkpoint, and
        `Kill` ends it at once, as `Lost`.
        """

    def events(self) -> AsyncIterator[Report]:
        """Yield what all attempts say, for its one listener, until `close`."""

    async def drain(self, grace_s: float) -> None:
        """Take no more; release what runs, and kill what has not let go after `grace_s` seconds."""

    async def close(self) -> None:
        """End everything at once; `events` ends."""


class Describer(Protocol):
    """Reads a stranger's model; always on this machine."""

    async def describe(
        self, path: Path, *, beyond_coreml: bool = False, scaled: Scaled | None = None
    ) -> ModelInfo:
        """Return what the model at `path` is; ModelError where it cannot be read, HostError where the reader is lost.

        `beyond_coreml`: judge it by what the arithmetic allows, not by Core ML's rules alone.  `scaled`: write that, and
        describe it instead.
        """
