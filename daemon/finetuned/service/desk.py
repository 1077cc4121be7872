"""What everything that deals with tasks has in common: ledger, store, outbox, the node's name and the clocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetuned.service.clock import Reading, save_clock
from finetuned.service.stamps import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.service.ledger import Ledger
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.outbox import Outbox
    from finetuned.service.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """`now` gives a timestamp as the ledger writes it, `seconds` the same clock, `monotonic` one that never goes back.

    `lived` are the seconds that finetuned has lived on this state folder, restarts and suspends included.
    `clock_synchronised` says whether the wall clock can be believed.
    """

    ledger: Ledger
    store: Store
    outbox: Outbox
    node: str
    now: Callable[[], str]
    seconds: Callable[[], float]
    monotonic: Callable[[], float]
    lived: Callable[[], float]
    clock_synchronised: Callable[[], bool]

    def moment(self) -> Moment:
        """Return the present, as it is shown and as it is reckoned with."""
        return Moment(at=self.now(), lived_s=self.lived())

    def about(self, row: TaskRow) -> dict[str, Any]:
        """Return the fields that every event of this task has."""
        return {"ts": self.now(), "node": self.node, "model": row.model, "user": row.user, "task": row.id}

    def reading(self) -> Reading:
        """Return all that the clocks say, as the ledger keeps it over a restart."""
        return Reading(lived_s=self.lived(), wall_s=self.seconds(), synchronised=self.clock_synchronised())

    async def save_clock(self) -> None:
        """Keep the reading; what has been lived since is lost to a kill -9."""
        await self.ledger.run(save_clock, self.reading())
