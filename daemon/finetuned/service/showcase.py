"""The retained states of models and tasks, kept true.

A model's state tells of its living task what the task's own state tells: both are published together, from one view.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from finetuned.policy.budget import Pace
from finetuned.service.asked import wanted
from finetuned.service.events import ModelState
from finetuned.service.ledger_models import list_models
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.views import (
    Course,
    model_key,
    model_state,
    model_states,
    task_key,
    task_state,
    with_task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.service.desk import Desk
    from finetuned.service.events import TaskStateView
    from finetuned.service.governor import Governor
    from finetuned.service.ledger_tasks import TaskRow


@dataclass(slots=True, kw_only=True)
class Showing:
    """What is shown of a living task, and of its model as it is without it, once that is known."""

    task: TaskStateView
    model: ModelState | None


@dataclass(slots=True, kw_only=True)
class Showcase:
    """Publishes what changed; `on_change` is called whenever something did.

    `courses` are how far the living tasks have come: what an attempt has seen is still shown when its worker is gone.
    """

    desk: Desk
    governor: Governor
    on_change: Callable[[], None] = field(default=lambda: None)
    courses: defaultdict[str, Course] = field(default_factory=lambda: defaultdict(Course))
    _alive: dict[str, Showing] = field(default_factory=dict)

    async def everything(self) -> None:
        """Publish the state of every model, for every user, and of every task that lives."""
        for known in await self.desk.ledger.run(list_models):
            for state in await self.desk.ledger.run(model_states, known):
                self._model(state)
        for row in await self.desk.ledger.run(alive_tasks):
            self.task(row)
        self.on_change()

    async def model(self, name: str, user: str = "") -> None:
        """Publish the state of one user's model; where there is nothing any more, it goes."""
        self._model_or_none(name, user, await self.desk.ledger.run(model_state, name, user))
        self.on_change()

    async def ended(self, row: TaskRow) -> None:
        """Let a task's state go, and show what it has made of its model, at once."""
        state = await self.desk.ledger.run(model_state, row.model, row.user)
        self.task(row)
        self._model_or_none(row.model, row.user, state)

    def forget(self, name: str) -> None:
        """Let the states of a model that is gone go, those of its users too."""
        key = model_key(name, "")
        for shown in self.desk.outbox.states:
            if shown == key or shown.startswith(f"{key}/"):
                self.desk.outbox.state(shown, None)
        self.on_change()

    def task(self, row: TaskRow) -> None:
        """Publish the state of a task that has no worker; that of one that has ended goes."""
        if row.alive:
            want = wanted(self.governor.verdict, by_user=row.held)
            if want.held and row.attempt:  # it had a worker, which has let go
                want = replace(want, pace=Pace.released)
            self.show(task_state(row, self.courses[row.id], want, self.desk.monotonic()))
        else:
            self.courses.pop(row.id, None)
            self._end(row)
        self.on_change()

    def show(self, view: TaskStateView) -> None:
        """Publish a living task's state, and with it its model's: no mini-batch asks the ledger for that."""
        key = model_key(view.model, view.user)
        known = self._alive.get(key)
        model = known.model if known else self._shown(key)
        self._alive[key] = Showing(task=view, model=model)
        self.desk.outbox.state(task_key(view.task), msgspec.json.encode(view))
        if model is not None:
            self._model(model)

    def _end(self, row: TaskRow) -> None:
        self.desk.outbox.state(task_key(row.id), None)
        key = model_key(row.model, row.user)
        known = self._alive.get(key)
        if known is not None and known.task.task == row.id:
            del self._alive[key]
            if known.model is not None:
                self._model(known.model)

    def _model_or_none(self, name: str, user: str, state: ModelState | None) -> None:
        if state is None:
            self.desk.outbox.state(model_key(name, user), None)
        else:
            self._model(state)

    def _model(self, state: ModelState) -> None:
        """Publish a model's state, which is given as it is without its task."""
        key = model_key(state.model, state.user)
        showing = self._alive.get(key)
        if showing is not None:
            showing.model = state
        told = with_task(state, showing.task if showing else None)
        self.desk.outbox.state(key, msgspec.json.encode(told))

    def _shown(self, key: str) -> ModelState | None:
        """Return a model's state as it is shown; it has no task yet."""
        payload = self.desk.outbox.states.get(key)
        return None if payload is None else msgspec.json.decode(payload, type=ModelState)
