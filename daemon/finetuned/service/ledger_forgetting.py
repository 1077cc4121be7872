"""Forgetting: what is to be forgotten leaves the ledger in one transaction, which notes the files that are to follow.

    decide    rows gone, files noted in `forgotten`     a crash before it: nothing is forgotten
    finish    files gone, the note gone, the last word  a crash before it: the next start does it
    scrub     the ledger's file written anew, its log   a crash before it: the next start does it
              emptied into that

A row that is deleted is overwritten where it stands (`secure_delete`), but not where it stood before SQLite balanced its
trees: pages keep what was moved out of them until the whole file is written anew.  That it is due stands in `residue`.

A version that has learnt from a sample stays when the sample is forgotten, unless it holds the very sample (nearest
neighbours do): then all versions of the (model, user) go with it, and what is left counts as new again (`making`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from finetuned.errors import HostError, RequestError, StateError
from finetuned.service.ledger import atomic
from finetuned.service.ledger_models import find_model, get_model
from finetuned.service.ledger_outcomes import append_outcomes, note_residue
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.names import label_folder

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from finetuned.service.events import Outcome
    from finetuned.service.store import Store

ANSWERED = "this request was answered before; the answer was forgotten with what it named"


class AliveError(StateError):
    """A task of what is to be forgotten is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be forgotten: a model with all its users, a user's, or of these a label's samples or one (SHA-256, hex).

    Of samples, no user means nobody in particular; of everything, it means everybody.
    """

    model: str
    user: str = ""
    label: str = ""
    sample: str = ""

    @property
    def everybody(self) -> bool:
        """Whether it is the model itself."""
        return not (self.user or self.label or self.sample)

    @property
    def whole(self) -> bool:
        """Whether it is everything of a user or model, rather than samples."""
        return not (self.label or self.sample)

    def concerns(self, model: str, user: str) -> bool:
        """Say whether it is about this (model, user)."""
        return model == self.model and (self.everybody or user == self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What was forgotten, and how much that was."""

    wish: Wish
    samples: int
    versions: int


# ── what is meant ───────────────────────────────────────────────────────────────────────────────
def _spelt(*statements: str) -> tuple[str, ...]:
    """Return statements in which MINE and THESE are written out; their parameters are a wish's."""
    mine = "model = :model AND (:everybody OR user = :user)"
    these = f"{mine} AND (:label = '' OR label = :label) AND (:sample = '' OR digest = :sample)"
    event = "payload ->> '$.model' = :model AND (:everybody OR coalesce(payload ->> '$.user', '') = :user)"
    written = (("THESE", these), ("MINE", mine), ("EVENT", event))
    return tuple(_replaced(statement, written) for statement in statements)


def _replaced(statement: str, written: Sequence[tuple[str, str]]) -> str:
    for word, meaning in written:
        statement = statement.replace(word, meaning)
    return statement


(
    COUNT_SAMPLES,
    COUNT_SEEN,
    COUNT_LEARNT,
    COUNT_VERSIONS,
    COUNT_TASKS,
    COUNT_EVENTS,
    LIST_SAMPLES,
    LIST_TASKS,
) = _spelt(
    "SELECT count(*) FROM samples WHERE THESE",
    "SELECT count(*) FROM samples WHERE THESE AND seen",
    "SELECT count(*) FROM task_samples WHERE label = :label"
    " AND task IN (SELECT task FROM versions WHERE MINE AND NOT dropped)",
    "SELECT count(*) FROM versions WHERE MINE AND NOT dropped",
    "SELECT count(*) FROM tasks WHERE MINE",
    "SELECT count(*) FROM outcomes WHERE EVENT AND type != 'forgotten'",
    "SELECT path FROM samples WHERE THESE",
    "SELECT id FROM tasks WHERE MINE",
)
WHOLE = _spelt(
    "DELETE FROM task_samples WHERE task IN (SELECT id FROM tasks WHERE MINE)",
    "DELETE FROM current WHERE MINE",
    "DELETE FROM versions WHERE MINE",
    "DELETE FROM samples WHERE MINE",
    "DELETE FROM tasks WHERE MINE",
    "DELETE FROM outcomes WHERE EVENT",
    "DELETE FROM models WHERE :everybody AND name = :model",
)
SAMPLES = _spelt(
    "DELETE FROM outcomes WHERE EVENT AND type IN ('sampleAccepted', 'sampleRejected', 'sampleWaiting')"
    " AND (payload ->> '$.label' = :label OR payload ->> '$.name' IN (SELECT name FROM samples WHERE THESE))",
    "DELETE FROM task_samples WHERE sample IN (SELECT id FROM samples WHERE THESE)",
    "DELETE FROM samples WHERE THESE",
)
HOLDING = _spelt(
    "DELETE FROM task_samples WHERE label = :label AND task IN (SELECT id FROM tasks WHERE MINE)",
    "DELETE FROM current WHERE MINE",
    "DELETE FROM versions WHERE MINE",
    "UPDATE samples SET task = NULL WHERE MINE",
)
# An answer stays as the mark that its request was obeyed: one that comes twice is not obeyed again.
ANSWERS = (
    "UPDATE transactions SET response = json_object('transaction', id, 'status', 'error', 'error', :answered)"
    " WHERE CASE WHEN json_valid(response) THEN EXISTS (SELECT 1 FROM json_tree(response) AS node"
    " WHERE node.type = 'object' AND node.value ->> '$.model' = :model"
    " AND (:everybody OR coalesce(node.value ->> '$.user', '') = :user))"
    " OR (:named != '' AND instr(response ->> '$.error', :named)) END"
)


def _asked(wish: Wish) -> dict[str, str | bool]:
    named = wish.model if wish.everybody else wish.user
    return asdict(wish) | {"everybody": wish.everybody, "answered": ANSWERED, "named": named}


def _count(db: sqlite3.Connection, query: str, wish: Wish) -> int:
    (count,) = db.execute(query, _asked(wish)).fetchone()
    return int(count)


def check_wish(db: sqlite3.Connection, store: Store, wish: Wish) -> None:
    """Refuse what there is nothing of (RequestError)."""
    get_model(db, wish.model)
    if wish.everybody or _count(db, COUNT_SAMPLES, wish) or _is_held(db, wish):
        return
    if wish.sample:
        raise RequestError(f"there is no such sample of model {wish.model} (or not of this user)")
    if wish.label:
        raise RequestError(f"there is no sample of this label of model {wish.model} (or not of this user)")
    there = any(_count(db, query, wish) for query in (COUNT_VERSIONS, COUNT_TASKS, COUNT_EVENTS))
    if not there and not store.user_folder(wish.model, wish.user).exists():
        raise RequestError(f"there is no such user of model {wish.model}")


# ── the order ───────────────────────────────────────────────────────────────────────────────────
def forget(
    db: sqlite3.Connection,
    store: Store,
    wish: Wish,
    *,
    rejected: Sequence[str],
    tell: Callable[[Gone], Outcome],
) -> Gone:
    """Forget all that the wish means; `rejected` are folders of `rejected/` that go with it.

    Raises:
        RequestError: there is nothing like that.
        AliveError: a task of it is alive; nothing was forgotten.
        HostError: the disk refuses; what the ledger has decided by then is finished at the next start.

    What is left to be done then is `scrub`.
    """
    gone = decide(db, store, wish, rejected=rejected)
    finish(db, store, tell=tell)
    return gone


@atomic
def decide(db: sqlite3.Connection, store: Store, wish: Wish, *, rejected: Sequence[str]) -> Gone:
    """Let the rows go, and note which files are to follow; errors as for `forget`."""
    check_wish(db, store, wish)
    if any(wish.concerns(task.model, task.user) for task in alive_tasks(db)):
        raise AliveError(f"a task of model {wish.model} is alive")
    held = _is_held(db, wish)
    versions = _count(db, COUNT_VERSIONS, wish) if wish.whole or held else 0
    gone = Gone(wish=wish, samples=_count(db, COUNT_SAMPLES, wish), versions=versions)
    places = [*_places(db, store, wish), *(_holders(store, wish) if held else ())]
    paths = [str(path.relative_to(store.root)) for path in places] + [*rejected]
    db.execute(
        "INSERT INTO forgotten (model, user, label, sample, samples, versions, paths)"
        " VALUES (:model, :user, :label, :sample, :samples, :versions, :paths)",
        asdict(wish) | {"samples": gone.samples, "versions": gone.versions, "paths": json.dumps(paths)},
    )
    if not wish.sample:
        db.execute(ANSWERS, _asked(wish))
    for statement in WHOLE if wish.whole else (*SAMPLES, *(HOLDING if held else ())):
        db.execute(statement, _asked(wish))
    note_residue(db)
    return gone


def _is_held(db: sqlite3.Connection, wish: Wish) -> bool:
    """Say whether versions hold the very samples of this wish; one that no task has seen is in none.

    A label that was taken back is still in the versions that were made before.
    """
    if wish.whole or not get_model(db, wish.model).info.open_labels:
        return False
    return _count(db, COUNT_SEEN, wish) > 0 or _count(db, COUNT_LEARNT, wish) > 0


def _holders(store: Store, wish: Wish) -> Iterator[Path]:
    """Yield where versions lie."""
    yield store.current(wish.model, wish.user)
    yield store.versions(wish.model, wish.user)


def _places(db: sqlite3.Connection, store: Store, wish: Wish) -> Iterator[Path]:
    """Yield what is to be removed."""
    yield from (store.task(row["id"]) for row in db.execute(LIST_TASKS, _asked(wish)))
    if wish.everybody:
        yield store.base(wish.model).parent
        return
    folder = store.user_folder(wish.model, wish.user)
    if wish.whole:
        yield folder
        return
    yield from (store.root / row["path"] for row in db.execute(LIST_SAMPLES, _asked(wish)))
    if wish.label:
        yield folder / "samples" / label_folder(wish.label)
    # Decoded inputs are a cache, made anew when a task wants them: so nothing of these is left in its free pages.
    inputs = store.inputs(wish.model, wish.user)
    yield from (inputs.with_name(inputs.name + part) for part in ("", "-wal", "-shm"))


@atomic
def finish(db: sqlite3.Connection, store: Store, *, tell: Callable[[Gone], Outcome]) -> None:
    """Remove the files of all that was decided, and say the last word of each; HostError where the disk refuses.

    What has come since under the same names, and is known to the ledger, stays.
    """
    for row in db.execute("SELECT * FROM forgotten ORDER BY id").fetchall():
        kept = set(_known(db, store, row["model"]))
        store.remove_unknown([store.root / path for path in json.loads(row["paths"])], kept)
        db.execute("DELETE FROM forgotten WHERE id = ?", (row["id"],))
        wish = Wish(model=row["model"], user=row["user"], label=row["label"], sample=row["sample"])
        append_outcomes(db, [tell(Gone(wish=wish, samples=row["samples"], versions=row["versions"]))])


def _known(db: sqlite3.Connection, store: Store, model: str) -> Iterator[Path]:
    """Yield the files and folders of a model that the ledger knows."""
    if find_model(db, model):
        yield store.base(model)
    for row in db.execute("SELECT path FROM samples WHERE model = ?", (model,)):
        yield store.root / row["path"]
    for row in db.execute("SELECT user, version FROM versions WHERE model = ?", (model,)):
        yield store.version(model, row["user"], row["version"])
    for row in db.execute("SELECT user FROM current WHERE model = ?", (model,)):
        yield store.current(model, row["user"])


def scrub(db: sqlite3.Connection) -> None:
    """Write the ledger's file anew, if that is due, and empty its log, which holds older pages.

    HostError where the disk has no room for twice the ledger, or a reader keeps the log: then it stays due.
    """
    if not db.execute("SELECT 1 FROM residue").fetchone():
        return
    db.execute("VACUUM")
    (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise HostError("another program reads the ledger; end that, and restart the daemon")
    db.execute("DELETE FROM residue")
