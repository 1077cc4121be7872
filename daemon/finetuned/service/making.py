"""Where tasks come from: enough that is new, or somebody who asks."""

from __future__ import annotations

import logging
import math
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.errors import FinetunedError, HostError, RequestError
from finetuned.policy import trigger
from finetuned.policy.split import Item, split
from finetuned.service.asked import asked_parameters
from finetuned.service.bounds import MOST_LABELS
from finetuned.service.ledger import atomic
from finetuned.service.ledger_models import find_model, get_model
from finetuned.service.ledger_queue import troubles
from finetuned.service.ledger_samples import count_labels, list_samples, new_samples
from finetuned.service.ledger_tasks import TaskRow, alive_tasks, create_task
from finetuned.service.ledger_versions import current_version, has_versions
from finetuned.service.stamps import new_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from finetuned.parameters import Number
    from finetuned.service.desk import Desk
    from finetuned.service.ledger_queue import Trouble
    from finetuned.service.ledger_samples import NewSamples
    from finetuned.service.messages import Growth

log = logging.getLogger(__name__)

DISK_S = 10.0
"""How long a disk that refuses is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says about tasks; `rules` and `parameters` by model.

    The tasks of the `urgent` models go first and heed only what would harm the machine; all compute on the first of the
    `devices` that there is.

    `growth` is how those grow, by model, that hold their samples.  `places` is how many train at once.  A task that is held for `release_after_s` lets go of its worker; one that has lost
    a worker waits `retry_s` for the next, and longer each time.
    """

    rule: trigger.Rule = field(default_factory=trigger.Rule)
    rules: Mapping[str, trigger.Rule] = field(default_factory=dict)
    held_out: float = 0.2
    threads: int = 1
    devices: tuple[str, ...] = ("cpu",)
    urgent: frozenset[str] = frozenset()
    report_interval_s: float = 0.2
    parameters: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    growth: Mapping[str, Growth] = field(default_factory=dict)
    places: int = 1
    checkpoint_s: float = 60.0
    release_after_s: float = 300.0
    retry_s: float = 5.0
    kept_versions: int = 10


class Maker:
    """Makes tasks; it never starts one."""

    def __init__(self, desk: Desk, settings: Settings) -> None:
        """Nothing is looked at until `due`."""
        self._desk = desk
        self._settings = settings
        self._refused: set[tuple[str, str, str]] = set()
        self.troubles: Mapping[tuple[str, str], Trouble] = {}
        """Whose last tasks this machine has failed, as `due` has found it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each model that is left alone, since its tasks fail again and again."""
        return tuple(
            f"{model}{f' of {user}' if user else ''}: its last {trouble.failures} tasks failed ({trouble.error}); "
            f"none starts by itself any more until one completes: finetuned train {model}"
            for (model, user), trouble in self.troubles.items()
            if trouble.failures >= trigger.BREAKER
        )

    async def due(self) -> tuple[list[TaskRow], float]:
        """Make a task wherever there is enough to learn from; return them and the seconds to the next look."""
        look, made = math.inf, []
        for (model, user), new in (await self._news()).items():
            rule = self._rule(model)
            look = min(look, trigger.next_look(rule, new) or math.inf)
            if trigger.due(rule, new):
                try:
                    made += await self._make_unasked(model, user)
                except HostError as error:
                    log.warning("no task for model %s yet: %s", model, error)
                    look = min(look, DISK_S)
        return made, look

    async def _news(self) -> dict[tuple[str, str], trigger.New]:
        """Return what there is to learn from, and what went wrong, for each (model, user) without a task."""
        run = self._desk.ledger.run
        fresh = {(new.model, new.user): new for new in await run(new_samples)}
        self.troubles = await run(troubles)
        alive = {(row.model, row.user) for row in await run(alive_tasks)}
        pairs = sorted({*fresh, *self.troubles} - alive)
        return {pair: await self._new(pair, fresh.get(pair)) for pair in pairs}

    def _rule(self, model: str) -> trigger.Rule:
        return self._settings.rules.get(model, self._settings.rule)

    async def _new(self, pair: tuple[str, str], fresh: NewSamples | None) -> trigger.New:
        now, trouble = self._desk.lived(), self.troubles.get(pair)
        return trigger.New(
            count=fresh.count if fresh else 0,
            oldest_s=max(0.0, now - fresh.oldest_s) if fresh else 0.0,
            newest_s=max(0.0, now - fresh.newest_s) if fresh else 0.0,
            least=await self._least(*pair),
            failures=trouble.failures if trouble else 0,
            failed_s=max(0.0, now - trouble.ended_s)
            if trouble and trouble.fault == HostError.fault
            else None,
            lost=bool(fresh and fresh.seen) and await self._desk.ledger.run(_is_lost, *pair),
        )

    async def _least(self, model: str, user: str) -> float:
        """Return how many samples the label has that has the fewest, where that matters."""
        if not self._rule(model).min_per_label:
            return math.inf
        known = await self._desk.ledger.run(find_model, model)
        if known is None:  # it was forgotten meanwhile
            return 0
        counts = await self._desk.ledger.run(count_labels, model, user)
        if known.info.open_labels:  # which there are is told by the samples alone
            return min(counts.values(), default=math.inf)
        return min((counts.get(str(label), 0) for label in known.info.class_labels), default=math.inf)

    async def _make_unasked(self, model: str, user: str) -> list[TaskRow]:
        """Make a task that nobody asked for; why it cannot be is said once, unless the machine is to blame."""
        try:
            return [await self.make(model, user, {})]
        except HostError:
            raise
        except FinetunedError as error:
            why = (model, user, str(error))
            if why not in self._refused:
                self._refused.add(why)
                log.warning("no task for model %s: %s", model, error)
            return []

    async def make(self, model: str, user: str, parameters: Mapping[str, object]) -> TaskRow:
        """Make a task for all samples of (model, user).

        Raises:
            RequestError: the model is not known or cannot be updated, has no samples, or a task of it is alive.
            ParameterError: a parameter that the model does not allow.
        """
        known = await self._desk.ledger.run(get_model, model)
        if not known.info.updatable:
            raise RequestError(f"model {model} cannot be updated: {'; '.join(known.info.reasons)}")
        if len(labels := await self._desk.ledger.run(count_labels, model, user)) > MOST_LABELS:
            raise RequestError(
                f"the samples of model {model} have {len(labels)} labels, and the daemon takes {MOST_LABELS}; forget some"
            )
        current = await self._desk.ledger.run(current_version, model, user)
        row = TaskRow(
            id=new_id(int(self._desk.seconds() * 1000), os.urandom(10)),
            model=model,
            user=user,
            parameters=asked_parameters(known.info, self._settings.parameters.get(model, {}), parameters),
            seed=secrets.randbits(32),
            parent=current.version if current else 0,
            created_at=self._desk.now(),
            created_s=self._desk.lived(),
        )
        return await self._desk.ledger.run(_create, row, self._settings.held_out)


def _is_lost(db: sqlite3.Connection, model: str, user: str) -> bool:
    """Say whether the model had versions, and they are gone, all of them, as it holds samples and some were forgotten."""
    saved = "SELECT 1 FROM tasks WHERE model = ? AND user = ? AND version IS NOT NULL"
    return not has_versions(db, model, user) and db.execute(saved, (model, user)).fetchone() is not None


@atomic
def _create(db: sqlite3.Connection, row: TaskRow, share: float) -> TaskRow:
    """Decide which of the new samples are held out, and make the task, in one transaction."""
    samples = list_samples(db, row.model, row.user)
    items = [Item(digest=s.digest, label=s.label, decided=s.held_out if s.seen else None) for s in samples]
    chosen = split(items, share)
    for sample in samples:
        if not sample.seen:
            db.execute("UPDATE samples SET held_out = ? WHERE id = ?", (sample.digest in chosen, sample.id))
    return create_task(db, row)
