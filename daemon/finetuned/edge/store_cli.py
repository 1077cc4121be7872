"""The commands that look into the store or add to it, with or without a daemon running on it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge import config as configuration
from finetuned.edge import console
from finetuned.edge.folders import places
from finetuned.edge.rules import entries_of
from finetuned.errors import RequestError
from finetuned.service import clock
from finetuned.service.desk import Desk
from finetuned.service.events import Card
from finetuned.service.ledger import Ledger, opened
from finetuned.service.ledger_models import get_model, list_models
from finetuned.service.ledger_versions import current_version, list_versions
from finetuned.service.local import LocalExecutor
from finetuned.service.models import Models
from finetuned.service.names import model_name
from finetuned.service.outbox import Outbox
from finetuned.service.places import MODEL_SUFFIX, intake
from finetuned.service.stamps import timestamp
from finetuned.service.store import Store
from finetuned.service.views import model_states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from finetuned.edge.config import Config
    from finetuned.service.ledger_models import ModelRow
    from finetuned.service.ledger_versions import VersionRow


def add(  # noqa: PLR0913 - what the command takes
    path: Path,
    name: str | None,
    config: Path | None,
    *,
    beyond_coreml: bool,
    pixel_scale: float,
    json: bool,
) -> None:
    """Register the model; what cannot be updated is refused with every reason."""
    loaded = configuration.load(config)
    where = places(loaded)
    known_as = model_name(name or path.name.removesuffix(MODEL_SUFFIX))
    row = asyncio.run(
        _register(known_as, path.absolute(), loaded, beyond_coreml=beyond_coreml, pixel_scale=pixel_scale)
    )
    inbox = where.inbox / known_as
    if json:
        console.line({"model": known_as, "inbox": str(inbox), "info": row.info})
        return
    console.say((known_as, "green"), " is registered")
    for departure in row.info.departures:
        console.say(("leaves Core ML:", "yellow"), " ", departure)
    taken = intake(row.info, {})
    if isinstance(taken, str):
        console.say(("it takes no samples from its inbox:", "yellow"), " ", taken)
    else:
        new = "; a new folder is a new label" if taken.new_labels else ""
        console.say(f"drop samples into {inbox}/<label>/{new}")


@asynccontextmanager
async def _workers() -> AsyncIterator[LocalExecutor]:
    workers = LocalExecutor(warm_s=0)
    try:
        yield workers
    finally:
        await workers.close()


async def _register(
    name: str, path: Path, config: Config, *, beyond_coreml: bool, pixel_scale: float
) -> ModelRow:
    """Do what the daemon does with a model of its configuration; it may be running meanwhile."""
    where = places(config)
    store = Store(where.state)
    store.prepare()
    async with Ledger.open(store.ledger) as ledger:
        desk = Desk(
            ledger=ledger,
            store=store,
            outbox=Outbox(ledger),
            node="",
            now=lambda: timestamp(time.time()),
            seconds=time.time,
            monotonic=time.monotonic,
            lived=clock.begun(await ledger.run(clock.load_clock)),
            clock_synchronised=clock.synchronised,
        )
        async with _workers() as workers:
            models = Models(desk, workers, where.inbox, entries_of(config))
            return await models.register(name, path, beyond_coreml=beyond_coreml, pixel_scale=pixel_scale)


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
