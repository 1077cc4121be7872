"""A real daemon under faults: its folders, its lives, its processes, and when it is quiet."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torture import configuration
from torture.broker import Broker
from torture.configuration import LEAST
from torture.ear import Ear
from torture.load import Dropped
from torture.shim import Role, Shim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torture.configuration import Ways
    from torture.load import Subject

ROOT = Path(__file__).parents[2]
START_S, STOP_S, QUIET_S = 40.0, 30.0, 60.0
STEP_S = 0.02
TMPFS = "96m"
MODULES = {
    Role.daemon: "finetuned.edge.daemon",
    Role.worker: "finetuned.service.worker",
    Role.decoder: "finetuned.service.decoder",
}


class NeverQuietError(Exception):
    """The house does not come to rest; the message says what is still going on."""


@dataclass(kw_only=True)
class House:
    """One daemon after the other on one state folder.

    `subjects` are the models that it learns; `on_tmpfs` says whether its disk is a small one of its own.  `judged` are the
    versions that were compared already, `unheard` the outcomes that a broker may have taken with it.
    """

    folder: Path
    library: Path
    subjects: Mapping[str, Subject]
    parameters: Mapping[str, Mapping[str, int]]
    ways: Ways
    on_tmpfs: bool = False
    users: Sequence[str] = ("anna", "bert")
    dropped: Dropped = field(default_factory=Dropped)
    judged: set[tuple[str, str, int]] = field(default_factory=set)
    unheard: set[int] = field(default_factory=set)
    lives: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Make the folders, the control file, the broker and the subscriber; no daemon lives yet."""
        for folder in (self.disk, self.folder / "home", self.folder / "run", self.folder / "sys"):
            folder.mkdir(parents=True)
        if self.on_tmpfs:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "torture", self.disk], check=True)
        self.state.mkdir()
        self.shim = Shim(self.library, self.folder / "control", self.state)
        paths = os.pathsep.join(str(ROOT / each) for each in ("daemon", "plugins", "tests"))
        self.environ = {**os.environ, "PYTHONPATH": paths, "ORT_DISABLE_TELEMETRY": "1"}
        self.broker = Broker(folder=self.folder, environ=self.environ)
        self.broker.start()
        self.ear = Ear(self.broker.port)
        configuration.write(self)

    # ── places ──────────────────────────────────────────────────────────────────────────────────
    @property
    def disk(self) -> Path:
        """What the state folder lies on."""
        return self.folder / "disk"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.disk / "state"

    @property
    def inbox(self) -> Path:
        """Where samples are dropped."""
        return self.state / "inbox"

    @property
    def node(self) -> str:
        """The daemon's name."""
        return f"{os.uname().nodename}-{(self.state / 'instance').read_text().strip()}"

    def versions(self, row: sqlite3.Row) -> Path:
        """Return where the versions of a row's (model, user) lie."""
        model, user = str(row["model"]), str(row["user"])
        return self.state / "models" / model / (user or "_") / "versions"

    def put(self, place: str, content: bytes) -> None:
        """Drop a file as a good producer does: written aside, renamed into place."""
        path = self.inbox / place
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.part")
        aside.write_bytes(content)
        aside.rename(path)

    # ── lives ───────────────────────────────────────────────────────────────────────────────────
    @property
    def alive(self) -> bool:
        """Whether a daemon lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What the daemon of this life wrote to standard error."""
        return self._log(self.lives).read_text(errors="replace")

    def logs(self) -> list[tuple[str, str]]:
        """Return the name and text of every life's log."""
        paths = sorted(self.folder.glob("daemon-*.log"))
        return [(path.name, path.read_text(errors="replace")) for path in paths]

    def _log(self, life: int) -> Path:
        return self.folder / f"daemon-{life:03}.log"

    def spawn(self) -> None:
        """Start a daemon, and do not wait for it."""
        self.lives += 1
        runtime = {"RUNTIME_DIRECTORY": str(self.folder / "run"), "HOME": str(self.folder / "home")}
        command = [sys.executable, "-P", "-m", "finetuned", "run", "-c", str(self.folder / "finetuned.toml")]
        with self._log(self.lives).open("wb") as stderr:
            self.process = subprocess.Popen(
                command, env={**self.environ, **runtime, **self.shim.environ}, stderr=stderr, cwd=self.folder
            )

    def start(self) -> bool:
        """Start a daemon and wait until it is ready; False where it ends before that."""
        self.spawn()
        wait_until(lambda: '"ready"' in self.log or not self.alive, START_S)
        return self.alive and '"ready"' in self.log

    def kill(self) -> None:
        """Cut its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int | None:
        """Ask it to leave, as systemd does; return its exit status, None where it did not obey in time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def processes(self) -> dict[int, str]:
        """Return the command line of every process of this house, by pid."""
        mark = f"FINETUNED_FAULTS={self.shim.control}".encode()
        found: dict[int, str] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def pid_of(self, role: Role) -> int | None:
        """Return the process that plays this role now, if any does."""
        if role is Role.daemon:
            return self.process.pid if self.process is not None and self.alive else None
        return next((pid for pid, line in self.processes().items() if MODULES[role] in line), None)

    # ── the ledger, as anybody can read it ──────────────────────────────────────────────────────
    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return what the ledger says, without changing it."""
        path = self.state / "ledger.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return db.execute(query, values).fetchall()

    def alive_tasks(self) -> list[sqlite3.Row]:
        """Return the tasks that have not ended."""
        return self.rows("SELECT * FROM tasks WHERE state NOT IN ('completed', 'failed') ORDER BY id")

    def ask(self, verb: str, **body: object) -> dict[str, Any] | None:
        """Ask the daemon for something; None where it does not answer."""
        with suppress(FileNotFoundError):
            return self.ear.ask(self.node, verb, body, lambda: self.alive)
        return None

    # ── rest ────────────────────────────────────────────────────────────────────────────────────
    def become_quiet(self, nudge: Callable[[], object] = lambda: None) -> None:
        """Wait until nothing is left to be done, and `nudge` now and then; NeverQuietError where that does not come."""
        until = time.monotonic() + QUIET_S
        while reasons := self._unrest():
            if not self.alive or time.monotonic() > until:
                raise NeverQuietError("; ".join(reasons))
            nudge()
            time.sleep(0.1)

    def _unrest(self) -> list[str]:
        """Return what is still to be done, as far as anybody can see it."""
        if not self.alive:
            return [f"the daemon has ended by itself; its last words: {last_words(self.log)}"]
        try:
            return [*self._unread(), *self._undone(), *self._unsent()]
        except sqlite3.Error as error:
            return [f"the ledger cannot be read: {error}"]

    def _unread(self) -> list[str]:
        left = [path for path in self.inbox.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return [f"{len(left)} files lie in the inbox, {left[0].name} among them"] if left else []

    def _undone(self) -> list[str]:
        alive = [f"task {row['id']} is {row['state']} {row['reasons']}" for row in self.alive_tasks()]
        return alive or [f"{n} samples of {model}, {user} are new" for model, user, n in self.due()]

    def due(self) -> list[tuple[str, str, int]]:
        """Return the (model, user)s with enough that is new for a task, and how much that is."""
        query = (
            "SELECT model, user, count(*) FROM samples WHERE task IS NULL GROUP BY 1, 2 HAVING count(*) >= ?"
        )
        return [(row[0], row[1], row[2]) for row in self.rows(query, LEAST)]

    def _unsent(self) -> list[str]:
        ((last,),) = self.rows("SELECT coalesce(max(id), 0) FROM outcomes")
        sent = self.rows("SELECT outcome FROM sinks WHERE name = 'mqtt'")
        return [] if sent and sent[0]["outcome"] >= last else ["not every outcome has been sent"]

    # ── the end ─────────────────────────────────────────────────────────────────────────────────
    def close(self, *, keep: bool) -> None:
        """End everything; the folder stays only where `keep` says so."""
        for pid in [pid for pid in (self.process.pid if self.process else None, *self.processes()) if pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill()
        self.ear.close()
        self.broker.kill()
        if self.on_tmpfs:
            if keep:
                shutil.copytree(self.disk, self.folder / "kept", symlinks=True)
            subprocess.run(["umount", "--lazy", self.disk], check=True)
        if not keep:
            shutil.rmtree(self.folder)


def wait_until(what: Callable[[], object], patience_s: float) -> bool:
    """Wait until `what()` is true; False where it did not become so in time."""
    until = time.monotonic() + patience_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(STEP_S)
    return True


def last_words(log: str) -> str:
    """Return the last line of a log, without its dress."""
    line = (log.strip().splitlines() or ["nothing"])[-1]
    with suppress(ValueError):
        said = json.loads(line)
        return " ".join(str(value) for key, value in said.items() if key not in {"ts", "level"})
    return line
