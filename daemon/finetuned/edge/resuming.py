"""What an interrupted `update` leaves beside OUT, and how the next one goes on from it."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from finetuned import files
from finetuned.errors import OtherTaskError, RequestError
from finetuned.update import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path
    from types import FrameType, TracebackType

    from finetuned.update.checkpoint import Snapshot
    from finetuned.update.features import Encoded
    from finetuned.update.network import Epoch, MiniBatch
    from finetuned.update.updater import Updater

Event = TypeVar("Event")

SUFFIX = ".checkpoint"
OLD = ".old"
EVERY_S = 60.0


def beside(out: Path) -> Path:
    """Return where the checkpoint of an update to `out` lies."""
    return out.absolute().with_name(f"{out.name}{SUFFIX}")


def mode_for(out: Path, model: Path) -> int:
    """Return OUT's mode, and to nobody more than MODEL's: the samples of a k-NN classifier are somebody's."""
    return 0o600 | (files.mode_of(out) & files.mode_of(model))


def check_places(out: Path) -> None:
    """Refuse an OUT that could not be written in the end, before anything runs.

    Raises:
        RequestError: OUT's folder is missing, or where OUT or its checkpoint go there is something other than a file.
        HostError: the folder cannot be looked into.
    """
    kept = beside(out)
    with files.host_errors(f"looking for {out}"):
        if not kept.parent.is_dir():
            raise RequestError(f"{out} cannot be written: there is no folder {out.parent}")
        if out.exists() and not out.is_file():
            raise RequestError(f"{out} is there and is no file: name a file as OUT")
        if kept.is_symlink() or (kept.exists() and not kept.is_file()):
            raise RequestError(
                f"{kept} is no file, and the checkpoint goes there: move it, or name another OUT"
            )


def read(path: Path) -> bytes:
    """Return a checkpoint's bytes; HostError where there is none or it cannot be read."""
    with files.host_errors(f"reading {path}"):
        return path.read_bytes()


@dataclass(slots=True)
class Keeper:
    """Keeps the newest checkpoint of `task`, which trains on `data`, at `path`."""

    path: Path
    task: Updater
    data: Encoded
    every_s: float = EVERY_S
    now: Callable[[], float] = time.monotonic
    identity: str = field(init=False)
    kept_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count the time."""
        self.identity = self.task.identity(self.data)
        self.kept_at = self.now()

    def opened(self, kept: bytes) -> Snapshot:
        """Return what a checkpoint of this task holds.

        Raises:
            RequestError: it is of another task, which somebody may want to go on with.
            CheckpointError: it is damaged.
        """
        try:
            return checkpoint.decode(kept, self.identity)
        except OtherTaskError as error:
            raise RequestError(
                f"{self.path} is not of this task: {error}. Give the arguments that it was made with; or leave out --resume,"
                f" and it is kept as {self.old.name}"
            ) from error

    def go_on(self, snapshot: Snapshot) -> Generator[MiniBatch | Epoch, None, None]:
        """Take the task to where a checkpoint was made and return its steps from there.

        Raises:
            CheckpointError: the task is never there; it stands where it stood.
        """
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

    @property
    def old(self) -> Path:
        """Where a checkpoint goes that nobody goes on from."""
        return self.path.with_name(f"{self.path.name}{OLD}")

    def set_aside(self) -> bool:
        """Rename the checkpoint that is there to `old`, in place of the one before; say whether there was one."""
        if not self.path.exists():
            return False
        files.move(self.path, self.old)
        return True

    def remove(self) -> None:
        """The result is there: nobody needs to go on.  A folder is never removed."""
        with files.host_errors(f"removing {self.path}"):
            self.path.unlink(missing_ok=True)


class Interruption:
    """Ctrl-C between two mini-batches: during one, it waits for its end.  Who insists stops in the middle of it.

    `torn` says that this was so: then the weights are those of no boundary.  What is being written is written to its end,
    however often Ctrl-C is pressed.  Where SIGINT was ignored before (nohup, a job in the background), it stays ignored.
    """

    def __init__(self) -> None:
        self.torn = False
        self._inside = self._asked = self._writing = False

    def __enter__(self) -> Self:
        """Listen."""
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        signal.signal(signal.SIGINT, self._before)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._writing or (self._inside and not self._asked):
            self._asked = True
            return
        self.torn = self._inside
        raise KeyboardInterrupt

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let a file be written whole: Ctrl-C waits for the next step."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    def step(self, steps: Iterator[Event]) -> Event | None:
        """Return the next event, or None at the end; KeyboardInterrupt if one came while the last was made."""
        if self._asked:
            raise KeyboardInterrupt
        self._inside = True
        try:
            return next(steps, None)
        finally:
            self._inside = False
