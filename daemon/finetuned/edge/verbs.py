"""The requests, as a table: what each verb takes, and what it does.

A body is read into the verb's struct; a key that it does not have, or a wrong type, is refused with what is allowed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.errors import ParameterError, RequestError, StateError
from finetuned.service.asked import asked_adjustment
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_tasks import alive_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.modes import Modes
    from finetuned.service.tasks import Tasks

ALL = "all"


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of the bodies; `transaction` and `expires` are read before."""


class Train(Body, frozen=True, kw_only=True):
    """Start a task now."""

    model: str
    user: str = ""
    parameters: dict[str, float | int | bool | str] = {}


class Pause(Body, frozen=True, kw_only=True):
    """Hold a task, or all."""

    task: str


class Resume(Body, frozen=True, kw_only=True):
    """Let a task, or all, go on."""

    task: str
    parameters: dict[str, float | int] = {}


class Cancel(Body, frozen=True, kw_only=True):
    """End a task."""

    task: str


class Mode(Body, frozen=True, kw_only=True):
    """Heed the budget (auto), only what would harm the machine (always), or do not train (never)."""

    mode: str
    for_seconds: float | None = None


class Status(Body, frozen=True, kw_only=True):
    """Ask for everything at a glance."""


class Desk:
    """Obeys requests; `glance` gives the answer to `status`."""

    def __init__(
        self,
        tasks: Tasks,
        ledger: Ledger,
        modes: Modes,
        glance: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._modes = modes
        self._glance = glance
        self._verbs: dict[str, tuple[type[Body], Callable[[Any], Awaitable[Any]]]] = {
            "train": (Train, self._train),
            "pause": (Pause, self._pause),
            "resume": (Resume, self._resume),
            "cancel": (Cancel, self._cancel),
            "mode": (Mode, self._mode),
            "status": (Status, self._status),
        }

    async def __call__(self, verb: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Do what is asked; RequestError (or ParameterError, StateError) says why not."""
        if verb not in self._verbs:
            raise RequestError(f"there is no request {verb!r}; there are {', '.join(self._verbs)}")
        kind, action = self._verbs[verb]
        try:
            request = msgspec.convert(body, kind)
        except msgspec.ValidationError as error:
            takes = ", ".join(field.encode_name for field in msgspec.structs.fields(kind)) or "nothing"
            raise RequestError(f"{verb}: {error}; it takes {takes}") from None
        return await action(request)

    async def _train(self, request: Train) -> dict[str, Any]:
        return shown(await self._tasks.train(request.model, request.user, request.parameters))

    async def _pause(self, request: Pause) -> dict[str, Any]:
        return {"tasks": await self._each(request.task, self._tasks.pause)}

    async def _resume(self, request: Resume) -> dict[str, Any]:
        if request.task == ALL:
            await self._check(request.parameters)
        return {
            "tasks": await self._each(
                request.task, partial(self._tasks.resume, parameters=request.parameters)
            )
        }

    async def _each(self, task: str, do: Callable[[str], Awaitable[TaskRow]]) -> list[dict[str, Any]]:
        """Do it to the task, or to all; of all, those that have ended meanwhile are left out."""
        if task != ALL:
            return [shown(await do(task))]
        done = []
        for each in await self._tasks.all_alive():
            try:
                done.append(shown(await do(each)))
            except (RequestError, StateError):
                if each in await self._tasks.all_alive():
                    raise
        return done

    async def _check(self, parameters: Mapping[str, object]) -> None:
        """Refuse for all what the model of one refuses, before anything is changed."""
        for name in sorted({row.model for row in await self._ledger.run(alive_tasks)}):
            known = await self._ledger.run(get_model, name)
            try:
                asked_adjustment(known.info, parameters)
            except ParameterError as error:
                raise ParameterError(f"model {name}: {error}; no task was changed") from error

    async def _cancel(self, request: Cancel) -> dict[str, Any]:
        return shown(await self._tasks.cancel(request.task))

    async def _mode(self, request: Mode) -> dict[str, Any]:
        wish = await self._modes.ask(request.mode, request.for_seconds)
        return {"mode": wish.mode, "forSeconds": wish.for_s}

    async def _status(self, _: Status) -> dict[str, Any]:
        return await self._glance()


def shown(row: TaskRow) -> dict[str, Any]:
    """Return what an answer says of a task."""
    return {"task": row.id, "model": row.model, "user": row.user, "state": row.state, "reasons": row.reasons}
