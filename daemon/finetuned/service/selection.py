"""Which version is used, where a person says so: promoted, or the one before it again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetuned.errors import HostError
from finetuned.files import sha256_of
from finetuned.service.events import Promoted, RolledBack
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_versions import (
    choosable_digest,
    link_current,
    promote,
    roll_back,
    rollback_target,
)

if TYPE_CHECKING:
    from finetuned.service.desk import Desk
    from finetuned.service.ledger_versions import Change
    from finetuned.service.showcase import Showcase
    from finetuned.service.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Obeys whoever chooses a version; the order is ledger, link, states."""

    desk: Desk
    showcase: Showcase

    async def promote(self, model: str, user: str, version: int) -> Change:
        """Use a version that is kept, or the base (0); RequestError lists those there are, HostError: its file is damaged."""
        about = await self._about(model, user)

        def told(change: Change) -> Promoted:
            return Promoted(**about, version=change.version, parent=change.parent)

        await self._check((model, user), version)
        change = await self.desk.ledger.run(promote, (model, user), version, tell=told)
        await self._show(model, user)
        return change

    async def roll_back(self, model: str, user: str) -> Change:
        """Use again what was in use before; RequestError where there is nothing before it, or it is not kept any more.

        HostError where its file is damaged, StateError where a task has brought another version into use meanwhile.
        """
        about = await self._about(model, user)

        def told(change: Change) -> RolledBack:
            return RolledBack(**about, version=change.version, from_version=change.before)

        version = await self.desk.ledger.run(rollback_target, (model, user))
        await self._check((model, user), version)
        change = await self.desk.ledger.run(roll_back, (model, user), version, tell=told)
        await self._show(model, user)
        return change

    async def _about(self, model: str, user: str) -> dict[str, Any]:
        await self.desk.ledger.run(get_model, model)
        return {"ts": self.desk.now(), "node": self.desk.node, "model": model, "user": user}

    async def _check(self, pair: tuple[str, str], version: int) -> None:
        """Refuse a version whose file is not the one that the ledger knows (HostError)."""
        digest = await self.desk.ledger.run(choosable_digest, pair, version)
        await asyncio.to_thread(_refuse_damaged, self.desk.store, pair, version, digest)

    async def _show(self, model: str, user: str) -> None:
        """Let link and states follow the ledger; a link that the disk refuses is put right at the next start."""
        self.desk.outbox.outcomes_written()
        try:
            await self.desk.ledger.run(link_current, self.desk.store, model, user)
        except HostError as error:
            log.warning("a version was chosen; the link to it follows at the next start: %s", error)
        await self.showcase.model(model, user)


def _refuse_damaged(store: Store, pair: tuple[str, str], version: int, digest: str) -> None:
    what = f"version {version} of model {pair[0]}" if version else f"the base of model {pair[0]}"
    advice = "restore it from a backup, or choose another version; nothing was changed"
    file = store.model_file(*pair, version)
    if not file.is_file():
        raise HostError(f"{what} is gone, though the ledger knows it: {advice}")
    if sha256_of(file) != digest:
        raise HostError(f"{what} is damaged, its file is not what was kept there: {advice}")
