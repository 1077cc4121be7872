"""What a bridge publishes for others than its own subscribers, such as Home Assistant's discovery: the socket for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message on somebody else's topic: QoS 1, retained; empty, it clears what is retained."""

    topic: str
    payload: bytes
    what: str = "a notice"
    """What it is, in the log."""


@dataclass(slots=True)
class UnderWay:
    """The notice that is under way; kept by the bridge across its connections.

    A broker may end the connection over a message larger than it takes, though it never said how much that is.  Every one
    would end like this, so a broker that hangs up at the same notice twice running is told nothing of the kind any more.
    """

    notice: Notice | None = None
    _before: str = ""

    def broke(self) -> Notice | None:
        """Say that the connection is over; return the notice at which the one before it broke, too."""
        notice, self.notice = self.notice, None
        before, self._before = self._before, notice.topic if notice else ""
        return notice if notice and notice.topic == before else None


class Announcer(Protocol):
    """Says what is to be published on the topics of others, from the states that the daemon shows."""

    @property
    def filters(self) -> tuple[str, ...]:
        """Topics that the bridge subscribes to for it, read back at every connection before anything is due."""

    def begin(self) -> None:
        """A new connection: nothing is known to be published."""

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message on one of the `filters`; whatever it is, this raises nothing."""

    def due(self, states: Mapping[str, bytes]) -> tuple[Notice, ...]:
        """Return what is to be published now, in order; what was returned counts as published."""
