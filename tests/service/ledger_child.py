"""A process that opens a ledger of the first schema, again and again, each time killed one step later.

    python ledger_child.py FIRST ROOT

FIRST is the ledger's dump.  Each round is a folder ROOT/1, ROOT/2 …; every SQL statement is a step, and so is every
fsync, rename, unlink and chmod.  The last round is not killed.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from finetuned.service.ledger import opened

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = ("fsync", "replace", "rename", "unlink", "chmod")


def arm(step: int) -> None:
    """Let this process be killed just before its n-th step."""
    steps, connect = itertools.count(1), sqlite3.connect

    def count() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            count()
            return function(*args, **kwargs)

        return call

    def connected(*args: str, **kwargs: bool) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]  # whatever it is called with
        db.set_trace_callback(lambda _: count())
        return db

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    sqlite3.connect = connected  # type: ignore[assignment]  # the same, and it counts


def main(first: Path, root: Path) -> None:
    for step in itertools.count(1):
        path = root / str(step) / "ledger.db"
        path.parent.mkdir()
        db = sqlite3.connect(path)
        db.executescript(first.read_text("utf-8"))
        db.close()
        pid = os.fork()
        if pid == 0:
            arm(step)
            with opened(path):
                os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
