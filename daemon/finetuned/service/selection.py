"""Which version is used, where a person says so: promoted, or the one before it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetuned.service.events import Promoted, RolledBack
from finetuned.service.ledger_models import get_model
from finetuned.service.ledger_versions import link_current, promote, roll_back

if TYPE_CHECKING:
    from finetuned.service.desk import Desk
    from finetuned.service.ledger_versions import Change
    from finetuned.service.showcase import Showcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Obeys whoever chooses a version; the order is ledger, link, states."""

    desk: Desk
    showcase: Showcase

    async def promote(self, model: str, user: str, version: int) -> Change:
        """Use a version that is kept, or the base (0); RequestError lists those there are, HostError: its file is gone."""
        about = await self._about(model, user)

        def told(change: Change) -> Promoted:
            return Promoted(**about, version=change.version, parent=change.parent)

        change = await self.desk.ledger.run(promote, self.desk.store, (model, user), version, tell=told)
        await self._show(model, user)
        return change

    async def roll_back(self, model: str, user: str) -> Change:
        """Use again what was in use before; RequestError where there is nothing before it, or it is not kept any more."""
        about = await self._about(model, user)

        def told(change: Change) -> RolledBack:
            return RolledBack(**about, version=change.version, from_version=change.before)

        change = await self.desk.ledger.run(roll_back, self.desk.store, (model, user), tell=told)
        await self._show(model, user)
        return change

    async def _about(self, model: str, user: str) -> dict[str, Any]:
        await self.desk.ledger.run(get_model, model)
        return {"ts": self.desk.now(), "node": self.desk.node, "model": model, "user": user}

    async def _show(self, model: str, user: str) -> None:
        """Let link and states follow the ledger; a link that the disk refuses is put right at the next start."""
        self.desk.outbox.outcomes_written()
        try:
            await self.desk.ledger.run(link_current, self.desk.store, model, user)
        finally:
            await self.showcase.model(model, user)
