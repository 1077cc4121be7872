"""Forgetting: a model, a user, or samples are gone, with all that was made of them, when this has returned."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import HostError
from finetuned.service.cancellation import uninterrupted
from finetuned.service.events import Forgotten
from finetuned.service.ledger_forgetting import AliveError, check_wish, finish, forget, scrub
from finetuned.service.ledger_models import find_model
from finetuned.service.places import Intake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from finetuned.service.desk import Desk
    from finetuned.service.ledger_forgetting import Gone, Wish
    from finetuned.service.tasks import Tasks

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long a task may take to end that is to be forgotten: one mini-batch, or a hung worker's silence."""


async def finish_forgetting(desk: Desk) -> None:
    """Finish, at start, what a crash has interrupted; before anybody looks at the folders."""
    await desk.ledger.run(finish, desk.store, tell=lambda gone: last_word(desk, gone))
    await clean_up(desk)


async def clean_up(desk: Desk) -> None:
    """Write the ledger's file anew, if it is due; where the disk refuses that is said, and the next start tries again."""
    try:
        await desk.ledger.run(scrub)
    except HostError as error:
        log.warning("what was forgotten may still be read in the ledger's file: %s", error)


def last_word(desk: Desk, gone: Gone) -> Forgotten:
    """Return the event that tells of it."""
    wish = gone.wish
    return Forgotten(
        ts=desk.now(),
        node=desk.node,
        model=wish.model,
        user=wish.user,
        label=wish.label,
        sample=wish.sample,
        samples=gone.samples,
        versions=gone.versions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """Forgets; `turn` is ingestion's, `intakes` what each model takes, `relook` is called when a model is gone."""

    desk: Desk
    tasks: Tasks
    turn: asyncio.Lock
    intakes: Callable[[], Mapping[str, Intake | str]]
    relook: Callable[[], Awaitable[None]]

    async def forget(self, wish: Wish) -> Gone:
        """Cancel what runs, then forget; errors as those of `ledger_forgetting.forget`.

        HostError, too, where a task does not end: then nothing is forgotten.
        """
        await self.desk.ledger.run(check_wish, self.desk.store, wish)
        while True:
            await self._stop(wish)
            try:
                gone = await self._in_turn(wish)
            except AliveError:
                continue  # another task was made in between
            await clean_up(self.desk)
            return gone

    async def _in_turn(self, wish: Wish) -> Gone:
        """Forget; ingestion has its turn again when everybody knows which models there still are, and no sooner."""
        async with self.turn:
            try:
                return await self._forgotten(wish)
            finally:
                await self._show(wish)

    async def _stop(self, wish: Wish) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.tasks.stop(wish.concerns)
        except TimeoutError:
            raise HostError(
                f"a task of model {wish.model} does not end; nothing is forgotten, ask again"
            ) from None

    async def _show(self, wish: Wish) -> None:
        """Let the states follow the ledger."""
        if await self.desk.ledger.run(find_model, wish.model) is None:
            self.tasks.showcase.forget(wish.model)
            await self.relook()
        else:
            await self.tasks.showcase.model(wish.model, wish.user)
        self.tasks.wake()

    async def _forgotten(self, wish: Wish) -> Gone:
        rejected = await asyncio.to_thread(self._rejected, wish)
        try:
            return await uninterrupted(
                self.desk.ledger.run(
                    forget,
                    self.desk.store,
                    wish,
                    rejected=rejected,
                    tell=lambda gone: last_word(self.desk, gone),
                )
            )
        finally:
            self.desk.outbox.forget(wish.concerns)

    def _rejected(self, wish: Wish) -> list[str]:
        """Return the folders in `rejected/` that are of the wish: of a label those that it has, or had, in the inbox."""
        store = self.desk.store
        folder = store.rejected.joinpath(*filter(None, (wish.model, wish.user)))
        found: list[Path] = [folder]
        if not wish.whole:
            taken = self.intakes().get(wish.model)
            known = isinstance(taken, Intake) and wish.label
            inside = folder.iterdir() if known and folder.is_dir() else ()
            found = [
                each
                for each in inside
                if isinstance(taken, Intake) and taken.label_of(each.name) == wish.label
            ]
        return [str(path.relative_to(store.root)) for path in found]
