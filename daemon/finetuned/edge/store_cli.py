"""The commands that look into the store or add to it, with or without a daemon running on it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge import config as configuration
from finetuned.edge import console
from finetuned.edge.folders import places
from finetuned.errors import RequestError
from finetuned.service.events import Card
from finetuned.service.executor import LocalExecutor
from finetuned.service.ledger import opened
from finetuned.service.ledger_models import Baseline, get_model, list_models, register_model
from finetuned.service.ledger_versions import current_version, list_versions
from finetuned.service.models import folders, read
from finetuned.service.names import model_name
from finetuned.service.places import MODEL_SUFFIX
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store, make_inbox
from finetuned.service.views import model_states

if TYPE_CHECKING:
    from pathlib import Path

    from finetuned.service.ledger_models import ModelRow
    from finetuned.service.ledger_versions import VersionRow


def add(path: Path, name: str | None, config: Path | None, *, json: bool) -> None:
    """Register the model; what cannot be updated is refused with every reason."""
    loaded = configuration.load(config)
    where = places(loaded)
    known_as = model_name(name or path.name.removesuffix(MODEL_SUFFIX))
    data = read(path)
    info = asyncio.run(LocalExecutor().describe(path.absolute()))
    if not info.updatable:
        raise RequestError(f"{path.name} cannot be updated: {'; '.join(info.reasons)}")
    store = Store(where.state)
    store.prepare()
    with opened(store.ledger) as db:
        fresh = register_model(
            db, store, Baseline(name=known_as, data=data, info=info), at=timestamp(time.time())
        )
        row = get_model(db, known_as)
    entry = loaded.models.get(known_as)
    inbox = make_inbox(where.inbox, known_as, folders(row, entry.labels if entry else {}))
    if json:
        console.line({"model": known_as, "added": fresh, "inbox": str(inbox), "info": info})
        return
    person = console.person()
    person.print(f"[green]{known_as}[/] {'is registered' if fresh else 'was registered already'}")
    person.print(f"drop samples into {inbox}/<label>/", soft_wrap=True)


def models(config: Path | None, *, json: bool) -> None:
    """List what is there."""
    with _ledger(config) as db:
        rows = [(row, state) for row in list_models(db) for state in model_states(db, row)]
    if json:
        console.line({"models": [_model(row) | console.plain(state) for row, state in rows]})
        return
    cells = [(s.model, s.user or "–", s.kind, s.current or "base", sum(s.samples.values())) for _, s in rows]
    console.table("", ("model", "user", "kind", "version", "samples"), cells)


def versions(name: str, config: Path | None, *, json: bool) -> None:
    """List a model's versions."""
    with _ledger(config) as db:
        get_model(db, name)
        rows = list_versions(db, name)
        used = {(row.user, row.version) for row in rows if _is_current(db, row)}
    found = [_version(row, current=(row.user, row.version) in used) for row in rows]
    if json:
        console.line({"model": name, "versions": found})
        return
    cells = [
        (
            v["version"],
            v["user"] or "–",
            "●" if v["current"] else "",
            v["savedAt"],
            v["promotion"],
            v["promotionReason"],
        )
        for v in found
    ]
    console.table(name, ("version", "user", "in use", "saved", "promotion", "because"), cells)


def _ledger(config: Path | None) -> Any:  # noqa: ANN401 - a context manager of a connection
    state = places(configuration.load(config)).state
    if not Store(state).ledger.exists():
        raise RequestError(f"there is no store in {state} yet; `finetuned add MODEL` makes one")
    return opened(Store(state).ledger)


def _is_current(db: Any, row: VersionRow) -> bool:  # noqa: ANN401 - sqlite3.Connection
    current = current_version(db, row.model, row.user)
    return current is not None and current.version == row.version


def _model(row: ModelRow) -> dict[str, Any]:
    return {"digest": row.digest, "addedAt": row.added_at, "updatable": row.info.updatable}


def _version(row: VersionRow, *, current: bool) -> dict[str, Any]:
    card: dict[str, Any] = console.plain(msgspec.json.decode(row.card, type=Card))
    return {**card, "current": current}
