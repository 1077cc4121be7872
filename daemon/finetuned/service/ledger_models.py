"""The ledger's models: the baselines that `finetuned add` registered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from finetuned.errors import RequestError
from finetuned.service.ledger import atomic
from finetuned.service.messages import ModelInfo

if TYPE_CHECKING:
    import sqlite3

    from finetuned.service.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A baseline; `digest` is the SHA-256 (hex) of its base.mlmodel, `info` what a worker told of it."""

    name: str
    digest: str
    info: ModelInfo
    added_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A model that asks to be registered; `data` is its file."""

    name: str
    data: bytes
    info: ModelInfo


@atomic
def register_model(db: sqlite3.Connection, store: Store, baseline: Baseline, *, at: str) -> bool:
    """Put a baseline into store and ledger; False: the very same was there already.

    The file is written inside the transaction, so of two that register different models under one name at
    once, the refused one has not touched the other's file.  RequestError as for `add_model`.
    """
    digest = hashlib.sha256(baseline.data).hexdigest()
    added = add_model(db, ModelRow(name=baseline.name, digest=digest, info=baseline.info, added_at=at))
    if added or not store.base(baseline.name).exists():
        store.add_model(baseline.name, baseline.data)
    return added


@atomic
def add_model(db: sqlite3.Connection, row: ModelRow) -> bool:
    """Add a model; False where the same digest has that name already, RequestError where another has."""
    there = find_model(db, row.name)
    if there is None:
        info = msgspec.json.encode(row.info).decode()
        db.execute("INSERT INTO models VALUES (?, ?, ?, ?)", (row.name, row.digest, info, row.added_at))
        return True
    if there.digest != row.digest:
        raise RequestError(
            f"a model named {row.name} is registered already, with another content (SHA-256 {there.digest[:12]}…; "
            f"this one is {row.digest[:12]}…); give this one another name: finetuned add MODEL --name NAME, or [models.NAME]"
        )
    return False


def find_model(db: sqlite3.Connection, name: str) -> ModelRow | None:
    """Return the model, or None where no such name is registered."""
    row = db.execute("SELECT * FROM models WHERE name = ?", (name,)).fetchone()
    return row and _model(row)


def get_model(db: sqlite3.Connection, name: str) -> ModelRow:
    """Return the model; RequestError, which lists the names, where there is none."""
    row = find_model(db, name)
    if row is None:
        names = ", ".join(model.name for model in list_models(db)) or "none yet: finetuned add MODEL"
        raise RequestError(f"there is no model named {name}; registered are: {names}")
    return row


def list_models(db: sqlite3.Connection) -> tuple[ModelRow, ...]:
    """Return all models by name."""
    return tuple(_model(row) for row in db.execute("SELECT * FROM models ORDER BY name"))


def _model(row: sqlite3.Row) -> ModelRow:
    fields = dict(row)
    return ModelRow(**fields | {"info": msgspec.json.decode(fields["info"], type=ModelInfo)})
