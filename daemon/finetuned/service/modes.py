"""The mode as a person asks for it: in the ledger before it is answered, and after every start as it was."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import RequestError
from finetuned.policy.budget import Mode
from finetuned.service.ledger_mode import Wish, keep_mode, recall_mode

if TYPE_CHECKING:
    from finetuned.service.desk import Desk
    from finetuned.service.governor import Governor

log = logging.getLogger(__name__)

LONGEST_S = 366 * 86_400.0
"""For so long a mode may be asked for; who wants it for longer asks for no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Changes the governor's mode, which must go by the lived seconds of the desk; `configured` is `[budget] mode`."""

    desk: Desk
    governor: Governor
    configured: Mode

    async def ask(self, mode: str, for_s: float | None = None) -> Wish:
        """Change the mode, for so many seconds or until it is changed; it is on the disk when this returns.

        RequestError for what is no mode or no duration, HostError where the disk refuses: then nothing has changed.
        """
        wish = wished(mode, for_s)
        await self.desk.ledger.run(keep_mode, wish, configured=self.configured, clock=self.desk.reading())
        self.governor.set_mode(wish.mode, wish.for_s)
        return wish

    async def restore(self) -> None:
        """Take up what was asked for before the daemon was started."""
        lived_s = self.desk.lived()
        wish = await self.desk.ledger.run(recall_mode, configured=self.configured, lived_s=lived_s)
        if wish is not None and wish != Wish(mode=self.configured):
            self.governor.set_mode(wish.mode, wish.for_s)
            log.info("the mode is %s, as it was asked for%s", wish.mode, _left(wish))


def wished(mode: str, for_s: float | None) -> Wish:
    """Return what is asked for, or refuse it with what is allowed (RequestError)."""
    if mode not in set(Mode):
        raise RequestError(f"{mode[:40]!r} is no mode; there are {', '.join(Mode)}")
    if for_s is None:
        return Wish(mode=Mode(mode))
    if mode == Mode.auto:
        raise RequestError("auto takes no duration: it is what the others fall back to")
    if not (math.isfinite(for_s) and 0 < for_s <= LONGEST_S):
        raise RequestError(
            f"a mode lasts more than 0 and up to {LONGEST_S:.0f} seconds (366 days), or until it is changed"
        )
    return Wish(mode=Mode(mode), for_s=for_s)


def _left(wish: Wish) -> str:
    return "" if wish.for_s is None else f" (for another {wish.for_s:.0f} s)"
