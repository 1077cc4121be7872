"""Checkpoints on the disk: there whole or not at all, and believed only where the content is what was told.

How many are kept.  The ledger keeps the two newest that it was told of, and it hears of each a little after it lies here.
So a checkpoint may go only when the ledger has certainly heard of two newer ones: an attempt removes its older ones when
the next is about to be written, a whole interval after the last was told.  At that moment the two newest stay, and the
third comes beside them.  Should the ledger lag behind even then, it finds one of its two, or none and begins anew: time
is lost, the result is the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from finetuned import files
from finetuned.errors import HostError
from finetuned.service.messages import CheckpointRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

KEPT = 2
SHARE = 40
"""Checkpoints at the ends of epochs cost at most a fortieth of the time."""
FIRST_COST_S = 0.025
"""What the first one is taken to cost: a run that is over within a second has none."""


# ── when ────────────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Schedule:
    """When the next checkpoint is due: every `every_s`, and at an epoch's end where it costs little.

    `last_s` is when the last one was written (or the training began), by the clock of the caller.
    """

    every_s: float
    last_s: float
    cost_s: float = FIRST_COST_S

    def due(self, now: float, *, epoch_ended: bool) -> bool:
        """Say whether one is due at this boundary."""
        since = now - self.last_s
        return since >= self.every_s or (epoch_ended and since >= SHARE * self.cost_s)

    def written(self, began: float, now: float) -> None:
        """Note what the last one took."""
        self.last_s, self.cost_s = now, now - began


# ── writing ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True, kw_only=True)
class Keeper:
    """Writes the checkpoints of one attempt below the task's `folder`, and removes those that are too old."""

    folder: Path
    attempt: int
    _kept: list[Path] = field(default_factory=list)

    def write(self, step: int, data: bytes) -> CheckpointRef:
        """Put a checkpoint down for good; HostError where the disk refuses, and nothing is left of it then."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / str(self.attempt) / f"checkpoint-{step}-{digest[:12]}.safetensors"
        with files.host_errors("writing a checkpoint"):
            self._forget_old()
            files.make_folder(path.parent)
            _put(path, data)
        self._kept.append(path)
        return CheckpointRef(path=str(path.relative_to(self.folder)), sha256=digest, step=step)

    def _forget_old(self) -> None:
        while len(self._kept) > KEPT:
            self._kept[0].unlink(missing_ok=True)
            del self._kept[0]


def _put(path: Path, data: bytes) -> None:
    """Write aside, fsync, rename, fsync the folder; a full disk is not made fuller by half a file."""
    temporary = files.aside(path)
    try:
        files.write_durably(temporary, data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    files.fsync_folder(path.parent)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────
def first_sound(
    folder: Path, refs: Sequence[CheckpointRef], decode: Callable[[bytes], T]
) -> tuple[T | None, tuple[str, ...]]:
    """Return the first of `refs` that can be read and decoded, and a sentence for each before it that cannot."""
    refused: list[str] = []
    for ref in refs:
        try:
            return decode(read(folder, ref)), tuple(refused)
        except HostError as error:
            refused.append(f"the checkpoint of step {ref.step} ({ref.path}) is not used: {error}")
    return None, tuple(refused)


def read(folder: Path, ref: CheckpointRef) -> bytes:
    """Return a checkpoint's content; HostError where it is missing or not what was told."""
    path = folder / ref.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise HostError("it does not lie in the task's folder")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HostError(f"it cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != ref.sha256:
        raise HostError(f"it is damaged: its SHA-256 is {found[:12]}…, not {ref.sha256[:12]}…")
    return data
