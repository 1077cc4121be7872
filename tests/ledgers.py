"""Builders of what the ledger holds, each with a plain default for everything."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from finetuned import files
from finetuned.service.clock import Reading
from finetuned.service.events import ModelSaved, Outcome, TaskCancelled, TaskCompleted, TaskFailed
from finetuned.service.ledger_models import Baseline, ModelRow, add_model
from finetuned.service.ledger_samples import NewSample, accept_batch
from finetuned.service.ledger_tasks import TaskRow, begin_attempt, create_task, transition
from finetuned.service.ledger_versions import VersionRow, complete_task
from finetuned.service.messages import Metrics, ModelInfo
from finetuned.service.stamps import Moment, new_id, timestamp

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from finetuned.service.store import Store
    from finetuned.states import Verb

NODE = "pi-3fa2"
INFO = ModelInfo(
    updatable=True, kind="neuralNetworkClassifier", specification_version=4, class_labels=("✊", "✋")
)


def at(seconds: float) -> str:
    return timestamp(1_800_000_000 + seconds)


def moment(seconds: float) -> Moment:
    """Return a moment whose lived seconds are those of `at`."""
    return Moment(at=at(seconds), lived_s=seconds)


def a_baseline(name: str = "gestures", data: bytes = b"a model") -> Baseline:
    return Baseline(name=name, data=data, info=INFO)


def a_sample(number: int = 1, user: str = "") -> NewSample:
    """Build sample `number`; its content, file and time follow from that."""
    return NewSample(
        model="gestures",
        user=user,
        digest=f"{number:064x}",
        label="✊",
        name=f"{number}.jpg",
        path=f"models/gestures/_/samples/✊/{number}.jpg",
        bytes=1000,
        held_out=False,
        source=f"gestures/rock/{number}.jpg:{number}:0",
        accepted_at=at(number),
        accepted_s=float(number),
    )


def a_task(number: int = 1, user: str = "") -> TaskRow:
    return TaskRow(
        id=new_id(number, b"\0" * 10),
        model="gestures",
        user=user,
        seed=7,
        created_at=at(number),
        created_s=float(number),
    )


def a_version(task: TaskRow, version: int = 1) -> VersionRow:
    return VersionRow(
        model=task.model,
        user=task.user,
        version=version,
        parent=version - 1,
        task=task.id,
        sha256="5" * 64,
        card=json.dumps({"task": task.id}),
        saved_at=at(100),
    )


def completed(task: str, version: int = 1) -> TaskCompleted:
    metrics = Metrics(samples=3, loss_value=0.5, accuracy=0.8)
    return TaskCompleted(
        **_of(task),
        version=version,
        parent=version - 1,
        samples=10,
        before=metrics,
        after=metrics,
        promotion="promoted",
        promotion_reason="better on 3 held-out samples",
        duration_seconds=4.2,
    )


def failed(task: str, error: str = "it diverged") -> TaskFailed:
    return TaskFailed(**_of(task), fault="model", error=error)


def cancelled(task: str) -> TaskCancelled:
    return TaskCancelled(**_of(task))


def _of(task: str) -> dict[str, str]:
    return {"ts": at(100), "node": NODE, "model": "gestures", "task": task}


def with_model(db: sqlite3.Connection, name: str = "gestures") -> None:
    add_model(db, ModelRow(name=name, digest="b" * 64, info=INFO, added_at=at(0)))


def with_samples(db: sqlite3.Connection, count: int = 3, user: str = "") -> None:
    samples = [a_sample(number, user=user) for number in range(1, count + 1)]
    accept_batch(db, samples, clock=Reading(lived_s=float(count), wall_s=0.0, synchronised=True))


def with_task(db: sqlite3.Connection, *verbs: Verb) -> TaskRow:
    """Make model, samples and a task, and lead it through the verbs."""
    with_model(db)
    with_samples(db)
    task = create_task(db, a_task())
    for verb in verbs:
        task = transition(db, task.id, verb, moment=moment(50))
    return task


def with_history(
    db: sqlite3.Connection, store: Store, *, parents: Sequence[int], promoted: Collection[int]
) -> list[str]:
    """Save versions 1, 2 … with these parents, in the order of a save; return the ids of their tasks."""
    with_model(db)
    with_samples(db)
    return [
        with_saved(db, store, version, parent=parent, promoted=version in promoted)
        for version, parent in enumerate(parents, start=1)
    ]


def with_saved(db: sqlite3.Connection, store: Store, version: int, *, parent: int, promoted: bool) -> str:
    """Lead a task to its end, which is a version, and return its id."""
    task = create_task(db, replace(a_task(version), parent=parent))
    begin_attempt(db, task.id, moment=moment(version))
    result = store.task(task.id) / "result.mlmodel"
    files.make_folder(result.parent)
    result.write_bytes(b"version %d" % version)
    row = replace(a_version(task, version), parent=parent)
    store.save_version(row.model, row.user, version, result=result, card=row.card)
    told = [completed(task.id, version)]
    complete_task(db, row, promoted=promoted, moment=moment(version), outcomes=told)
    if promoted:
        store.set_current(row.model, row.user, version)
    files.remove(result.parent)
    return task.id


def outcomes_of(db: sqlite3.Connection) -> list[str]:
    """Return the types of all outcomes, in order."""
    return list(itertools.chain(*db.execute("SELECT type FROM outcomes ORDER BY id").fetchall()))


def an_outcome(number: int = 1) -> Outcome:
    return ModelSaved(ts=at(number), node=NODE, model="gestures", version=number, parent=0, sha256="5" * 64)
