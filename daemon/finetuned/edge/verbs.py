"""The requests, as a table: what each verb takes, and what it does.

A body is read into the verb's struct; a key that it does not have, or a wrong type, is refused with what is allowed.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.payloads import (
    ALL,
    VERBS,
    ForgetAnswer,
    ModeAnswer,
    RescanAnswer,
    TaskAnswer,
    TasksAnswer,
    VersionAnswer,
)
from finetuned.errors import ParameterError, RequestError, StateError
from finetuned.service.asked import asked_adjustment
from finetuned.service.ledger_forgetting import Wish
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_tasks import alive_tasks
from finetuned.service.names import model_name, user_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from finetuned.edge.payloads import (
        Answer,
        Body,
        Cancel,
        Forget,
        Mode,
        Pause,
        Promote,
        Rescan,
        Resume,
        Rollback,
        Status,
        StatusAnswer,
        Train,
    )
    from finetuned.service.forgetting import Forgetting
    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.modes import Modes
    from finetuned.service.selection import Selection
    from finetuned.service.tasks import Tasks


class Desk:
    """Obeys requests; `glance` gives the answer to `status`, `rescan` begins a look and says how many files wait."""

    def __init__(  # noqa: PLR0913 - a room for each kind of request
        self,
        tasks: Tasks,
        ledger: Ledger,
        modes: Modes,
        glance: Callable[[], Awaitable[StatusAnswer]],
        *,
        selection: Selection,
        forgetting: Forgetting,
        rescan: Callable[[], int],
    ) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._modes = modes
        self._glance = glance
        self._selection = selection
        self._forgetting = forgetting
        self._look = rescan
        self._actions: dict[str, Callable[[Any], Awaitable[Answer]]] = {
            "train": self._train,
            "pause": self._pause,
            "resume": self._resume,
            "cancel": self._cancel,
            "promote": self._promote,
            "rollback": self._rollback,
            "mode": self._mode,
            "rescan": self._rescan,
            "forget": self._forget,
            "status": self._status,
        }

    async def __call__(self, verb: str, body: dict[str, Any]) -> Answer:
        """Do what is asked; RequestError (or ParameterError, StateError) says why not."""
        if verb not in VERBS:
            raise RequestError(f"there is no request {verb!r}; there are {', '.join(VERBS)}")
        kind = VERBS[verb].body
        try:
            request = msgspec.convert(body, kind)
        except msgspec.ValidationError as error:
            takes = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "nothing"
            raise RequestError(f"{verb}: {error}; it takes {takes}") from None
        refuse_unsafe(request)
        return await self._actions[verb](request)

    async def _train(self, request: Train) -> TaskAnswer:
        return shown(await self._tasks.train(request.model, request.user, request.parameters))

    async def _pause(self, request: Pause) -> TasksAnswer:
        return TasksAnswer(tasks=await self._each(request.task, self._tasks.pause))

    async def _resume(self, request: Resume) -> TasksAnswer:
        if request.task == ALL:
            await self._check(request.parameters)
        resume = partial(self._tasks.resume, parameters=request.parameters)
        return TasksAnswer(tasks=await self._each(request.task, resume))

    async def _each(self, task: str, do: Callable[[str], Awaitable[TaskRow]]) -> tuple[TaskAnswer, ...]:
        """Do it to the task, or to all; of all, those that have ended meanwhile are left out."""
        if task != ALL:
            return (shown(await do(task)),)
        done = []
        for each in await self._tasks.all_alive():
            try:
                done.append(shown(await do(each)))
            except (RequestError, StateError):
                if each in await self._tasks.all_alive():
                    raise
        return tuple(done)

    async def _check(self, parameters: Mapping[str, object]) -> None:
        """Refuse for all what the model of one refuses, before anything is changed."""
        for name in sorted({row.model for row in await self._ledger.run(alive_tasks)}):
            known = await self._ledger.run(get_model, name)
            try:
                asked_adjustment(known.info, parameters)
            except ParameterError as error:
                raise ParameterError(f"model {name}: {error}; no task was changed") from error

    async def _cancel(self, request: Cancel) -> TaskAnswer:
        return shown(await self._tasks.cancel(request.task))

    async def _promote(self, request: Promote) -> VersionAnswer:
        change = await self._selection.promote(request.model, request.user, request.version)
        return VersionAnswer(
            model=request.model, user=request.user, version=change.version, from_version=change.before
        )

    async def _rollback(self, request: Rollback) -> VersionAnswer:
        change = await self._selection.roll_back(request.model, request.user)
        return VersionAnswer(
            model=request.model, user=request.user, version=change.version, from_version=change.before
        )

    async def _mode(self, request: Mode) -> ModeAnswer:
        wish = await self._modes.ask(request.mode, request.for_seconds)
        return ModeAnswer(mode=wish.mode, for_seconds=wish.for_s)

    async def _rescan(self, _: Rescan) -> RescanAnswer:
        return RescanAnswer(waiting_samples=self._look())

    async def _forget(self, request: Forget) -> ForgetAnswer:
        gone = await self._forgetting.forget(wish_of(request))
        return ForgetAnswer(
            model=request.model, user=request.user, samples=gone.samples, versions=gone.versions
        )

    async def _status(self, _: Status) -> StatusAnswer:
        return await self._glance()


def refuse_unsafe(request: Body) -> None:
    """Refuse names that could be no model's and no user's (RequestError): they become folders and topics."""
    if model := getattr(request, "model", ""):
        model_name(model)
    if user := getattr(request, "user", ""):
        user_name(user)


def wish_of(request: Forget) -> Wish:
    """Return what is to be forgotten; RequestError where that is not clear."""
    if request.label and request.sample:
        raise RequestError("forget: name a label or a sample, not both")
    if request.sample and not re.fullmatch("[0-9a-fA-F]{64}", request.sample):
        raise RequestError("forget: a sample is named by its SHA-256, which are 64 hex digits")
    return Wish(model=request.model, user=request.user, label=request.label, sample=request.sample.lower())


def shown(row: TaskRow) -> TaskAnswer:
    """Return what an answer says of a task."""
    return TaskAnswer(task=row.id, model=row.model, user=row.user, state=row.state, reasons=row.reasons)
