"""A process that works on a state folder and dies where it is told to.

`save ROOT`, `accept ROOT` and `trim ROOT` do one job again and again, each time in a fresh folder ROOT/1, ROOT/2 …, in a
forked process that is gone (`os._exit`) just before its 1st, 2nd … step that reaches the disk, until one
gets through.  `finish ROOT/1 ROOT/2 …` does the second job once more in each, as a restarted daemon would.
`trim ROOT` lets go of old versions and tasks, `forget ROOT` of all that a user left, dying likewise.  `add ROOT WHO` adds models when told to go.
"""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from finetuned import files
from finetuned.errors import RequestError
from finetuned.service import ledger_forgetting as forgetting
from finetuned.service.events import Forgotten, Outcome, SampleAccepted
from finetuned.service.ledger import opened
from finetuned.service.ledger_forgetting import Gone, Wish
from finetuned.service.ledger_models import register_model
from finetuned.service.ledger_samples import Acceptance, Kind, accept_batch
from finetuned.service.ledger_tasks import begin_attempt, create_task
from finetuned.service.ledger_versions import complete_task
from finetuned.service.retention import trim_history
from finetuned.service.store import Store
from ledgers import (
    NODE,
    a_baseline,
    a_sample,
    a_task,
    a_version,
    at,
    completed,
    moment,
    with_history,
    with_model,
    with_samples,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

DIED = 9
FORGOTTEN = "brünhilde"
STEPS = ("fsync", "replace", "rename", "symlink", "unlink", "mkdir", "rmdir", "chmod")


class Fuse:
    """Counts steps, and ends the process before the last that it allows."""

    def __init__(self, allowed: int) -> None:
        self.left = allowed

    def step(self) -> None:
        """Count one step, which is not done if it was the last."""
        self.left -= 1
        if self.left == 0:
            os._exit(DIED)

    def arm(self, db: sqlite3.Connection) -> None:
        """Count from now on what reaches the disk through `os` and this connection."""
        for name in STEPS:
            setattr(os, name, self._counted(getattr(os, name)))
        db.set_trace_callback(
            lambda statement: self.step() if statement in {"BEGIN IMMEDIATE", "COMMIT", "VACUUM"} else None
        )

    def _counted(self, function: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **kwargs: object) -> object:
            self.step()
            return function(*args, **kwargs)

        return counted


def die_at_every_step(root: Path, job: Callable[[Store, Fuse], None]) -> None:
    for number in itertools.count(1):
        pid = os.fork()
        if pid == 0:
            job(Store(root / str(number)), Fuse(number))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status != DIED:
            sys.exit(status)


def save(store: Store, fuse: Fuse) -> None:
    """Save version 2 in the order of a save, where version 1 is current."""
    store.prepare()
    with opened(store.ledger) as db:
        with_model(db)
        with_samples(db)
        for number in (1, 2):
            task = create_task(db, a_task(number))
            begin_attempt(db, task.id, moment=moment(number))
            result = store.task(task.id) / "result.mlmodel"
            files.make_folder(result.parent)
            result.write_bytes(b"version %d" % number)
            if number == 2:
                fuse.arm(db)
            version = a_version(task, number)
            store.save_version("gestures", "", number, result=result, card=version.card)
            complete_task(
                db, version, promoted=True, moment=moment(99), outcomes=[completed(task.id, number)]
            )
            store.set_current("gestures", "", number)


def accept(store: Store, fuse: Fuse | None = None) -> None:
    """Accept what lies in the inbox: claimed, in the ledger, in its place, and only then gone from the inbox."""
    store.prepare()
    original = store.inbox / "1.jpg"
    if fuse:
        original.write_bytes(b"a picture")
    with opened(store.ledger) as db:
        if fuse:
            with_model(db)
            fuse.arm(db)
        for file in store.inbox.glob("*.jpg"):
            claimed = store.incoming / file.name
            files.write_durably(claimed, file.read_bytes())
            (acceptance,) = accept_batch(db, [a_sample(1)], tell)
            place(store, claimed, acceptance)
            files.remove(file)


def trim(store: Store, fuse: Fuse) -> None:
    """Keep two of five versions; the third is current, the first was before it."""
    store.prepare()
    with opened(store.ledger) as db:
        with_history(db, store, parents=(0, 1, 1, 3, 3), promoted=(1, 3))
        fuse.arm(db)
        trim_history(db, store, 1)


def forget(store: Store, fuse: Fuse) -> None:
    """Forget a user who has samples on the disk, decoded inputs, a rejected file and a version."""
    store.prepare()
    with opened(store.ledger) as db:
        with_history(db, store, parents=(0,), promoted=(1,))
        with_samples(db, 2, user=FORGOTTEN)
        kept = store.user_folder("gestures", FORGOTTEN)
        for path in (
            kept / "samples/✊/1.jpg",
            kept / "inputs.db",
            store.rejected / "gestures" / FORGOTTEN / "no",
        ):
            files.make_folder(path.parent)
            path.write_text(f"of {FORGOTTEN}")
        fuse.arm(db)
        wish = Wish(model="gestures", user=FORGOTTEN)
        forgetting.forget(db, store, wish, rejected=[f"rejected/gestures/{FORGOTTEN}"], tell=last_word)
        forgetting.scrub(db)


def last_word(gone: Gone) -> Forgotten:
    return Forgotten(ts=at(1), node=NODE, model=gone.wish.model, samples=gone.samples, versions=gone.versions)


def tell(acceptances: tuple[Acceptance, ...]) -> list[Outcome]:
    event = SampleAccepted(ts=at(1), node=NODE, model="gestures", label="✊", name="1.jpg")
    return [event for acceptance in acceptances if acceptance.kind is Kind.accepted]


def place(store: Store, claimed: Path, acceptance: Acceptance) -> None:
    kept = store.root / acceptance.row.path
    if acceptance.kind in {Kind.accepted, Kind.relabelled} or not kept.exists():
        files.move(claimed, kept)
    else:
        files.remove(claimed)


def add(store: Store, who: str) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with opened(store.ledger) as db:
        for number in range(10):
            register_model(db, store, a_baseline(f"{who}-{number}"), at=at(number))
        answer = "refused"
        with suppress(RequestError):
            register_model(db, store, a_baseline("wanted", data=who.encode()), at=at(0))
            answer = "added"
    sys.stdout.write(answer + "\n")


JOBS = {"save": save, "accept": accept, "trim": trim, "forget": forget}


def main(verb: str, root: Path, *rest: str) -> None:
    if verb in JOBS:
        die_at_every_step(root, JOBS[verb])
    elif verb == "finish":
        for one in (root, *map(Path, rest)):
            accept(Store(one))
    else:
        add(Store(root), *rest)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
