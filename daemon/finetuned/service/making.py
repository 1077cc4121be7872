"""Where tasks come from: enough that is new, or somebody who asks."""

from __future__ import annotations

import logging
import math
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.errors import FinetunedError, RequestError
from finetuned.policy import trigger
from finetuned.policy.split import Item, split
from finetuned.service.asked import asked_parameters
from finetuned.service.ledger import atomic
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_samples import list_samples, new_samples
from finetuned.service.ledger_tasks import TaskRow, alive_tasks, create_task, seen_samples
from finetuned.service.ledger_versions import current_version
from finetuned.service.stamps import new_id, seconds_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from finetuned.parameters import Number
    from finetuned.service.desk import Desk
    from finetuned.service.ledger_samples import NewSamples

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says about tasks; `parameters` by model."""

    rule: trigger.Rule = field(default_factory=trigger.Rule)
    held_out: float = 0.2
    threads: int = 1
    report_interval_s: float = 0.2
    parameters: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)


class Maker:
    """Makes tasks; it never starts one."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        """Nothing is looked at until `due`."""
        self._desk = desk
        self._settings = settings
        self._refused: set[tuple[str, str, str]] = set()

    async def due(self) -> tuple[list[TaskRow], float]:
        """Make a task wherever there is enough to learn from; return them and the seconds to the next look."""
        look, made = math.inf, []
        alive = {(row.model, row.user) for row in await self._desk.ledger.run(alive_tasks)}
        for new in await self._desk.ledger.run(new_samples):
            if (new.model, new.user) in alive:
                continue
            age = self._age(new)
            if not trigger.due(self._settings.rule, age):
                look = min(look, trigger.next_look(self._settings.rule, age))
            elif row := await self._make_unasked(new):
                made.append(row)
        return made, look

    def _age(self, new: NewSamples) -> trigger.New:
        now = self._desk.seconds()
        oldest, newest = (max(0.0, now - seconds_of(at)) for at in (new.oldest_at, new.newest_at))
        return trigger.New(count=new.count, oldest_s=oldest, newest_s=newest)

    async def _make_unasked(self, new: NewSamples) -> TaskRow | None:
        """Make a task that nobody asked for; why it cannot be is said once."""
        try:
            return await self.make(new.model, new.user, {})
        except FinetunedError as error:
            why = (new.model, new.user, str(error))
            if why not in self._refused:
                self._refused.add(why)
                log.warning("no task for model %s: %s", new.model, error)
            return None

    async def make(self, model: str, user: str, parameters: Mapping[str, object]) -> TaskRow:
        """Make a task for all samples of (model, user).

        Raises:
            RequestError: the model is not known or cannot be updated, has no samples, or a task of it is alive.
            ParameterError: a parameter that the model does not allow.
        """
        known = await self._desk.ledger.run(get_model, model)
        if not known.info.updatable:
            raise RequestError(f"model {model} cannot be updated: {'; '.join(known.info.reasons)}")
        current = await self._desk.ledger.run(current_version, model, user)
        asked = {**self._settings.parameters.get(model, {}), **parameters}
        row = TaskRow(
            id=new_id(int(self._desk.seconds() * 1000), os.urandom(10)),
            model=model,
            user=user,
            parameters=asked_parameters(known.info, asked),
            seed=secrets.randbits(32),
            parent=current.version if current else 0,
            created_at=self._desk.now(),
        )
        return await self._desk.ledger.run(_create, row, self._settings.held_out)


@atomic
def _create(db: sqlite3.Connection, row: TaskRow, share: float) -> TaskRow:
    """Decide which of the new samples are held out, and make the task, in one transaction."""
    samples, seen = list_samples(db, row.model, row.user), seen_samples(db, row.model, row.user)
    items = [
        Item(digest=s.digest, label=s.label, decided=s.held_out if s.id in seen else None) for s in samples
    ]
    chosen = split(items, share)
    for sample in samples:
        if sample.id not in seen:
            db.execute("UPDATE samples SET held_out = ? WHERE id = ?", (sample.digest in chosen, sample.id))
    return create_task(db, row)
