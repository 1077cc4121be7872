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
