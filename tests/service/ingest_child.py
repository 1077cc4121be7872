"""The driver of the crash tests: ingestion after ingestion on one state folder, each killed one step later.

    python -m service.ingest_child ROOT

Every change of the disk below ROOT counts as a step, and so does the fsync of a folder.  After each death another
ingestion brings it to an end.  It prints the number of rounds; the last one was not killed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.service.messages import Undecodable
from service.inbox import running

if TYPE_CHECKING:
    from finetuned.service.messages import InputSpec

MOST = 150
CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "sqlite3.connect"})
WRITES = os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY


class Simple:
    """Decodes whatever does not begin with `bad`; the decoder's process is not what is tested here."""

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes | Undecodable:
        """Answer at once."""
        content = await asyncio.to_thread(path.read_bytes)
        bad = content.startswith(b"bad")
        return Undecodable(reason=f"{name} is bad") if bad else bytes(math.prod(want.shape))


def kill_at(step: int, root: Path) -> None:
    """Arrange for this process to be killed just before it stepes the disk below `root` for the n-th time."""
    count = itertools.count(1)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if changes(event, arguments, root) and next(count) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def changes(event: str, arguments: tuple[Any, ...], root: Path) -> bool:
    """Say whether an audit event is a change of the disk below `root`, or a folder that is opened to be fsynced."""
    path, *rest = arguments or ("",)
    if event == "os.remove" and rest != [-1]:  # a name below an open folder: an original
        return True
    if not str(path).startswith(str(root)):
        return False
    return event in CHANGES or (event == "open" and bool(rest[1] & WRITES))


async def ingest(root: Path) -> None:
    """Ingest until nothing is left to do."""
    async with running(root, decoders=Simple()) as run:
        await run.emptied()


def drop(root: Path, label: str, name: str, content: str) -> None:
    """Leave a file in the inbox."""
    path = root / "inbox" / "gestures" / label / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def ingest_and_die(root: Path, step: int) -> bool:
    """Ingest in a process that is killed at a step; say whether it lived to see the end."""
    pid = os.fork()
    if pid == 0:
        kill_at(step, root)
        asyncio.run(ingest(root))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status not in {0, signal.SIGKILL}:
        sys.exit(f"round {step} ended with status {status}")
    return status == 0


def main() -> None:
    """Drop files and be killed, one step later each time, until nothing is left to be killed at."""
    root = Path(sys.argv[1])
    for number in range(MOST):
        drop(root, "rock", f"old-{number}.png", f"old {number}")
    ingest_and_die(root, 0)
    for step in range(1, MOST):
        drop_four(root, step)
        if ingest_and_die(root, step):
            sys.stdout.write(f"{step}\n")
            return
        ingest_and_die(root, 0)
    sys.exit(f"not at an end after {MOST} rounds")


def drop_four(root: Path, number: int) -> None:
    """Leave a file that is good, the same once more, one that is bad, and one that has had another label."""
    drop(root, "rock", f"good-{number}.png", f"good {number}")
    drop(root, "rock", f"again-{number}.png", f"good {number}")
    drop(root, "rock", f"bad-{number}.png", f"bad {number}")
    drop(root, "paper", f"moved-{number}.png", f"old {number}")


if __name__ == "__main__":
    main()
