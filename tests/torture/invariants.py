"""What must be true of a quiet house, whatever happened to it; each is a sentence and a function that yields complaints."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torture.house import House
    from torture.scene import Scene

PATIENCE_S = 5.0
BAD_WORDS = re.compile(
    r"Traceback|was never retrieved|Task was destroyed|exception was never|Fatal Python|\"level\": \"critical\""
)
ENDINGS = ("completed", "failed", "cancelled")
KNOWN = {"lock", "instance", "ledger.db", "ledger.db-wal", "ledger.db-shm", "inbox", "incoming", "models"}
KNOWN |= {"tasks", "unlabelled", "rejected"}


# ── samples ─────────────────────────────────────────────────────────────────────────────────────
def no_sample_is_lost(house: House) -> Iterator[str]:
    """Every good file that was dropped is a row of the ledger under its last label, and its content lies where the row says."""
    rows = {(row["model"], row["user"], row["digest"]): row for row in house.rows("SELECT * FROM samples")}
    for key, folder in house.dropped.good.items():
        row = rows.get(key)
        label = house.subjects[key[0]].labels.get(folder, folder)
        if row is None:
            yield f"{key} is not in the ledger"
        elif row["label"] != label:
            yield f"{key} has the label {row['label']}, not {label}"
        elif _content(house.state / row["path"]) != house.dropped.contents[key[2]]:
            yield f"{row['path']} is not what was dropped"


def no_sample_is_there_twice(house: House) -> Iterator[str]:
    """The ledger has no row that nobody dropped, and samples/ no file that the ledger does not know."""
    rows = house.rows("SELECT * FROM samples")
    yield from (
        f"a row of nobody's: {row['path']}"
        for row in rows
        if (row["model"], row["user"], row["digest"]) not in house.dropped.good
    )
    known = {house.state / row["path"] for row in rows}
    files = (path for path in house.state.glob("models/*/*/samples/**/*") if path.is_file())
    yield from (f"a file too many: {path.relative_to(house.state)}" for path in files if path not in known)


def every_bad_file_is_rejected_once(house: House) -> Iterator[str]:
    """Whatever cannot be decoded lies in rejected/ once, and beside it why; nothing else does."""
    found = [path for path in house.state.glob("rejected/**/*") if path.is_file() and path.suffix != ".txt"]
    digests = Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in found)
    yield from (f"{path.name} has no reason beside it" for path in found if not _reason(path))
    for digest in house.dropped.bad | set(digests):
        expected = 1 if digest in house.dropped.bad else 0
        if digests[digest] != expected:
            names = [path.name for path in found if _is(path, digest)]
            yield f"{digest[:12]} is {digests[digest]} times in rejected/, not {expected}: {names}"


def _reason(path: Path) -> bytes:
    return (_content(path.with_name(f"{path.name}.txt")) or b"").strip()


def _is(path: Path, digest: str) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


# ── versions ────────────────────────────────────────────────────────────────────────────────────
def no_version_is_corrupt(house: House) -> Iterator[str]:
    """Every version of the ledger has its SHA-256 and its card, and no other folder lies beside them."""
    rows = house.rows("SELECT * FROM versions WHERE NOT dropped")
    for row in rows:
        folder = house.versions(row) / str(row["version"])
        data = _content(folder / "model.mlmodel")
        if data is None or hashlib.sha256(data).hexdigest() != row["sha256"]:
            yield f"{folder.relative_to(house.state)} is not what the ledger says"
        elif json.loads(_content(folder / "card.json") or b"{}") != json.loads(row["card"]):
            yield f"the card of {folder.relative_to(house.state)} is not the ledger's"
    known = {house.versions(row) / str(row["version"]) for row in rows}
    folders = house.state.glob("models/*/*/versions/*")
    yield from (f"a stray folder: {path.relative_to(house.state)}" for path in folders if path not in known)


def current_is_what_the_ledger_says(house: House) -> Iterator[str]:
    """`current` leads to the version that the ledger has as current, and is missing where that is the base."""
    wanted = {
        house.versions(row).parent / "current": f"versions/{row['version']}"
        for row in house.rows("SELECT * FROM current")
    }
    links = {
        path: str(path.readlink()) for path in house.state.glob("models/*/*/current") if path.is_symlink()
    }
    yield from (f"{path.parent.name}/current is {links.get(path)}, not {wanted.get(path)}"
                for path in wanted.keys() | links.keys() if wanted.get(path) != links.get(path))  # fmt: skip


# ── tasks and outcomes ──────────────────────────────────────────────────────────────────────────
def every_task_has_one_end(house: House) -> Iterator[str]:
    """An ended task has exactly one terminal outcome, of its own kind; a living one has none."""
    ends: dict[str, list[str]] = {}
    for row in house.rows("SELECT type, payload FROM outcomes ORDER BY id"):
        if row["type"] in ENDINGS:
            ends.setdefault(json.loads(row["payload"])["task"], []).append(row["type"])
    for row in house.rows("SELECT * FROM tasks"):
        told = ends.pop(row["id"], [])
        if told != _ends_of(row):
            yield f"task {row['id']} is {row['state']} ({row['error']!r}) and was told as {told}"
    yield from (f"an end of no task: {task} {told}" for task, told in ends.items())


def _ends_of(row: sqlite3.Row) -> list[str]:
    ends = {"completed": ["completed"], "failed": ["cancelled" if row["error"] == "cancelled" else "failed"]}
    return ends.get(row["state"], [])


def every_outcome_was_heard(house: House) -> Iterator[str]:
    """Every outcome of the ledger has come to a subscriber at least once, where there was a broker to bring it."""
    ids = {row["id"] for row in house.rows("SELECT id FROM outcomes")}
    missing = sorted(ids - house.ear.outcomes - house.unheard)
    if missing:
        yield f"outcomes that nobody heard: {missing[:10]}"


def nothing_is_retained_of_ended_tasks(house: House) -> Iterator[str]:
    """No state of a task that has ended is retained."""
    alive = {row["id"] for row in house.alive_tasks()}
    kept = {state["task"] for state in house.ear.retained("task").values()}
    yield from (f"a state of task {task} is still retained" for task in kept - alive)


# ── what is left over ───────────────────────────────────────────────────────────────────────────
def nothing_temporary_is_left(house: House) -> Iterator[str]:
    """No temporary file, no folder of an ended task, no private copy, and nothing in the state folder that has no name there."""
    alive = {row["id"] for row in house.alive_tasks()}
    strays = [path for path in house.state.rglob("*") if path.name.endswith(".tmp")]
    strays += house.state.glob("incoming/*")
    strays += [path for path in house.state.glob("tasks/*") if path.name not in alive]
    strays += [path for path in house.state.iterdir() if path.name not in KNOWN]
    yield from (f"left over: {path.relative_to(house.state)}" for path in strays)


def no_process_is_left(house: House) -> Iterator[str]:
    """Every process of the house is the daemon or a child of it."""
    assert house.process is not None
    for pid, line in house.processes().items():
        if pid != house.process.pid and _parent(pid) != house.process.pid:
            yield f"process {pid} is nobody's: {line}"


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - no path of the project's
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def no_log_holds_a_traceback(house: House) -> Iterator[str]:
    """Whatever goes wrong is said in words."""
    for name, text in house.logs():
        if found := BAD_WORDS.search(text):
            yield f"{name}: …{text[max(0, found.start() - 300) : found.end() + 1500]}"


INVARIANTS: tuple[Callable[[House], Iterator[str]], ...] = (
    no_sample_is_lost,
    no_sample_is_there_twice,
    every_bad_file_is_rejected_once,
    no_version_is_corrupt,
    current_is_what_the_ledger_says,
    every_task_has_one_end,
    every_outcome_was_heard,
    nothing_is_retained_of_ended_tasks,
    nothing_temporary_is_left,
    no_process_is_left,
    no_log_holds_a_traceback,
)


def no_task_failed_of_it(scene: Scene, before: set[str]) -> Iterator[str]:
    """A task fails only where the fault is one that a task may fail of, and then with a reason."""
    for row in scene.house.rows("SELECT * FROM tasks WHERE state = 'failed'"):
        blameless = row["error"] == "cancelled" or (scene.may_fail and row["error"])
        if row["id"] not in before and not blameless:
            yield f"no_task_failed_of_it: task {row['id']}, attempt {row['attempt']}: {row['error']!r}"


def complaints(house: House, patience_s: float = PATIENCE_S) -> Iterator[str]:
    """Yield what is wrong, once the house had a moment to finish what nobody waits for."""
    for invariant in INVARIANTS:
        until = time.monotonic() + patience_s
        while (found := list(invariant(house))) and time.monotonic() < until:
            time.sleep(0.1)
        yield from (f"{invariant.__name__}: {each}" for each in found[:5])
