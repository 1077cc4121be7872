"""The retained states of models and tasks, kept true."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from finetuned.policy.budget import Pace
from finetuned.service.asked import wanted
from finetuned.service.ledger_models import get_model, list_models
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.views import Course, model_key, model_state, model_states, task_key, task_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from finetuned.service.desk import Desk
    from finetuned.service.events import ModelState
    from finetuned.service.governor import Governor
    from finetuned.service.ledger_tasks import TaskRow


@dataclass(slots=True, kw_only=True)
class Showcase:
    """Publishes what changed; `on_change` is called whenever something did.

    `courses` are how far the living tasks have come: what an attempt has seen is still shown when its worker is gone.
    """

    desk: Desk
    governor: Governor
    on_change: Callable[[], None] = field(default=lambda: None)
    courses: defaultdict[str, Course] = field(default_factory=lambda: defaultdict(Course))

    async def everything(self) -> None:
        """Publish the state of every model, for every user, and of every task that lives."""
        for known in await self.desk.ledger.run(list_models):
            self._publish(await self.desk.ledger.run(model_states, known))
        for row in await self.desk.ledger.run(alive_tasks):
            self.task(row)
        self.on_change()

    async def model(self, name: str, user: str = "") -> None:
        """Publish the state of one user's model."""
        known = await self.desk.ledger.run(get_model, name)
        self._publish([await self.desk.ledger.run(model_state, known, user)])
        self.on_change()

    def _publish(self, states: Iterable[ModelState]) -> None:
        for state in states:
            self.desk.outbox.state(model_key(state.model, state.user), msgspec.json.encode(state))

    def task(self, row: TaskRow) -> None:
        """Publish the state of a task that has no worker; that of one that has ended goes."""
        payload = None
        if row.alive:
            want = wanted(self.governor.verdict, by_user=row.held)
            if want.held and row.attempt:  # it had a worker, which has let go
                want = replace(want, pace=Pace.released)
            view = task_state(row, self.courses[row.id], want, self.desk.monotonic())
            payload = msgspec.json.encode(view)
        else:
            self.courses.pop(row.id, None)
        self.desk.outbox.state(task_key(row.id), payload)
        self.on_change()
