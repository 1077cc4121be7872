"""The retained states of models and tasks, kept true."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.service.asked import wanted
from finetuned.service.ledger_models import get_model, list_models
from finetuned.service.ledger_tasks import PERSON, alive_tasks
from finetuned.service.views import Course, model_key, model_states, task_key, task_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.service.desk import Desk
    from finetuned.service.governor import Governor
    from finetuned.service.ledger_tasks import TaskRow


@dataclass(slots=True, kw_only=True)
class Showcase:
    """Publishes what changed; `on_change` is called whenever something did."""

    desk: Desk
    governor: Governor
    on_change: Callable[[], None] = field(default=lambda: None)

    async def everything(self) -> None:
        """Publish the state of every model and of every task that lives."""
        for known in await self.desk.ledger.run(list_models):
            await self.model(known.name)
        for row in await self.desk.ledger.run(alive_tasks):
            self.task(row)

    async def model(self, name: str) -> None:
        """Publish the states of a model: its own, and one for each user."""
        known = await self.desk.ledger.run(get_model, name)
        for state in await self.desk.ledger.run(model_states, known):
            self.desk.outbox.state(model_key(state.model, state.user), msgspec.json.encode(state))
        self.on_change()

    def task(self, row: TaskRow) -> None:
        """Publish the state of a task that has no worker; that of one that has ended goes."""
        payload = None
        if row.alive:
            want = wanted(self.governor.verdict, by_user=PERSON in row.reasons)
            payload = msgspec.json.encode(task_state(row, Course(), want, self.desk.monotonic()))
        self.desk.outbox.state(task_key(row.id), payload)
        self.on_change()
