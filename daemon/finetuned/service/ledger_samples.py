"""The ledger's samples: accepted once each, known by (model, user, SHA-256)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from finetuned.service.clock import save_clock
from finetuned.service.ledger import atomic
from finetuned.service.ledger_outcomes import append_outcomes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from finetuned.service.clock import Reading
    from finetuned.service.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSample:
    """A decoded file that asks to be accepted.

    `digest` is the SHA-256 (hex) of its content, `label` the model's (after mapping), `path` where it is kept,
    relative to the state folder (`Store.sample_path`), `source` names the very file in the inbox (path, inode,
    mtime), so that a leftover of our own crash is not taken for a duplicate.  `accepted_at` is shown, `accepted_s`,
    in lived seconds (`clock`), is what its age is reckoned from.
    """

    model: str
    user: str = ""
    digest: str
    label: str
    name: str
    path: str
    bytes: int
    held_out: bool
    source: str
    accepted_at: str
    accepted_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow(NewSample):
    """A sample of the ledger; `task` is the last task that saw it, None: it is new.

    `seen`: a task has taken it once, under whatever label, so whether it is held out is settled.
    """

    id: int
    task: str | None
    seen: bool


class Kind(StrEnum):
    """What became of a sample that asked to be accepted."""

    accepted = "accepted"
    duplicate = "duplicate"
    relabelled = "relabelled"
    leftover = "leftover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What became of one sample.

    `row` is what the ledger now holds; its `path` is where the file belongs.  `moved_from` is set where a
    relabelled sample lay elsewhere before.  `leftover`: accepted before a crash, nothing more is to be said;
    the file is put to `row.path` where that is missing.
    """

    kind: Kind
    row: SampleRow
    moved_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSamples:
    """What is new for a (model, user): how many per label, and between which lived seconds it was accepted.

    `seen`: a task has taken some of them before.
    """

    model: str
    user: str
    labels: dict[str, int]
    seen: bool
    oldest_s: float
    newest_s: float

    @property
    def count(self) -> int:
        """How many samples no task has seen yet."""
        return sum(self.labels.values())


@atomic
def accept_batch(
    db: sqlite3.Connection,
    samples: Sequence[NewSample],
    tell: Callable[[tuple[Acceptance, ...]], Sequence[Outcome]] = lambda _: (),
    clock: Reading | None = None,
) -> tuple[Acceptance, ...]:
    """Accept the samples in order and append the outcomes that `tell` makes of it, all in one transaction.

    `clock` is kept in the same transaction: it costs no further fsync, and no sample is ever younger than the clock.
    """
    if clock is not None:
        save_clock(db, clock)
    acceptances = tuple(_accept(db, sample) for sample in samples)
    append_outcomes(db, tell(acceptances))
    return acceptances


def _accept(db: sqlite3.Connection, sample: NewSample) -> Acceptance:
    there = find_sample(db, sample.model, sample.user, sample.digest)
    if there is None:
        return Acceptance(kind=Kind.accepted, row=_insert(db, sample))
    if there.label != sample.label:
        moved_from = there.path if there.path != sample.path else None
        return Acceptance(kind=Kind.relabelled, row=_relabel(db, there, sample), moved_from=moved_from)
    return Acceptance(kind=Kind.leftover if there.source == sample.source else Kind.duplicate, row=there)


def _insert(db: sqlite3.Connection, sample: NewSample) -> SampleRow:
    row = db.execute(
        "INSERT INTO samples (model, user, digest, label, name, path, bytes, held_out, source, accepted_at, accepted_s)"
        " VALUES (:model, :user, :digest, :label, :name, :path, :bytes, :held_out, :source, :accepted_at, :accepted_s)"
        " RETURNING *",
        asdict(sample),
    ).fetchone()
    return sample_row(row)


def _relabel(db: sqlite3.Connection, there: SampleRow, sample: NewSample) -> SampleRow:
    """Give the sample its new label; it counts as new, but whether it is held out stays settled if it was."""
    row = db.execute(
        "UPDATE samples SET label = :label, name = :name, path = :path, source = :source, accepted_at = :accepted_at,"
        " accepted_s = :accepted_s, task = NULL WHERE id = :id RETURNING *",
        asdict(sample) | {"id": there.id},
    ).fetchone()
    return sample_row(row)


def find_sample(db: sqlite3.Connection, model: str, user: str, digest: str) -> SampleRow | None:
    """Return the sample with this content, or None."""
    row = db.execute(
        "SELECT * FROM samples WHERE (model, user, digest) = (?, ?, ?)", (model, user, digest)
    ).fetchone()
    return row and sample_row(row)


def list_samples(db: sqlite3.Connection, model: str, user: str) -> tuple[SampleRow, ...]:
    """Return all samples of a (model, user) in the order of acceptance."""
    rows = db.execute("SELECT * FROM samples WHERE (model, user) = (?, ?) ORDER BY id", (model, user))
    return tuple(sample_row(row) for row in rows)


def count_labels(db: sqlite3.Connection, model: str, user: str) -> dict[str, int]:
    """Return how many samples of each label a (model, user) has."""
    return dict(
        db.execute(
            "SELECT label, count(*) FROM samples WHERE (model, user) = (?, ?) GROUP BY label ORDER BY min(id)",
            (model, user),
        ).fetchall()
    )


def new_samples(db: sqlite3.Connection) -> tuple[NewSamples, ...]:
    """Return, for every (model, user) that has samples which no task has seen, what is new."""
    pairs: dict[tuple[str, str], list[sqlite3.Row]] = {}
    for row in db.execute(
        "SELECT model, user, label, count(*) AS count, min(accepted_s) AS oldest, max(accepted_s) AS newest,"
        " max(seen) AS seen"
        " FROM samples WHERE task IS NULL GROUP BY model, user, label"
    ):
        pairs.setdefault((row["model"], row["user"]), []).append(row)
    return tuple(_summary(model, user, rows) for (model, user), rows in pairs.items())


def _summary(model: str, user: str, rows: list[sqlite3.Row]) -> NewSamples:
    return NewSamples(
        model=model,
        user=user,
        labels={row["label"]: row["count"] for row in rows},
        seen=any(row["seen"] for row in rows),
        oldest_s=min(row["oldest"] for row in rows),
        newest_s=max(row["newest"] for row in rows),
    )


def sample_row(row: sqlite3.Row) -> SampleRow:
    """Return a row of the samples table as a value; of a column that was selected twice the last counts."""
    fields = dict(zip(row.keys(), row, strict=True))
    return SampleRow(**fields | {"held_out": bool(fields["held_out"]), "seen": bool(fields["seen"])})
