"""What an interrupted `update` leaves beside OUT, and how the next one goes on from it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from finetuned import files
from finetuned.update import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from types import FrameType, TracebackType

    from finetuned.update.features import Encoded
    from finetuned.update.network import Epoch, MiniBatch, NetworkUpdate

Event = TypeVar("Event")

SUFFIX = ".checkpoint"
EVERY_S = 60.0


def beside(out: Path) -> Path:
    """Return where the checkpoint of an update to `out` lies."""
    return out.absolute().with_name(f"{out.name}{SUFFIX}")


def read(path: Path) -> bytes:
    """Return a checkpoint's bytes; HostError where there is none or it cannot be read."""
    with files.host_errors(f"reading {path}"):
        return path.read_bytes()


@dataclass(slots=True)
class Keeper:
    """Keeps the newest checkpoint of `task`, which trains on `data`, at `path`."""

    path: Path
    task: NetworkUpdate
    data: Encoded
    every_s: float = EVERY_S
    now: Callable[[], float] = time.monotonic
    identity: str = field(init=False)
    kept_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count the time."""
        self.identity = self.task.identity(self.data)
        self.kept_at = self.now()

    def go_on(self, kept: bytes) -> Generator[MiniBatch | Epoch, None, None]:
        """Take the task to where a checkpoint was made and return its steps from there.

        Raises:
            CheckpointError: it is damaged or of another task; the task stands where it stood.
        """
        snapshot = checkpoint.decode(kept, self.identity)
        steps = self.task.steps(self.data, snapshot.position)
        self.task.restore(snapshot)
        return steps

    def keep(self) -> None:
        """Write a checkpoint in place of the one before; HostError where the disk refuses."""
        self.kept_at = self.now()
        files.write_atomically(self.path, checkpoint.encode(self.task.snapshot(), self.identity))

    def keep_if_due(self) -> None:
        """Write one, if the last is old."""
        if self.now() - self.kept_at >= self.every_s:
            self.keep()

    def remove(self) -> None:
        """The result is there: nobody needs to go on."""
        files.remove(self.path)


class Interruption:
    """Ctrl-C between two mini-batches: during one, it waits for its end.  Who insists stops in the middle of it.

    `torn` says that this was so: then the weights are those of no boundary.
    """

    def __init__(self) -> None:
        self.torn = False
        self._inside = self._asked = False

    def __enter__(self) -> Self:
        """Listen."""
        self._before = signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        signal.signal(signal.SIGINT, self._before)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._inside and not self._asked:
            self._asked = True
            return
        self.torn = self._inside
        raise KeyboardInterrupt

    def step(self, steps: Iterator[Event]) -> Event | None:
        """Return the next event, or None at the end; KeyboardInterrupt if one came while the last was made."""
        if self._asked:
            raise KeyboardInterrupt
        self._inside = True
        try:
            return next(steps, None)
        finally:
            self._inside = False
