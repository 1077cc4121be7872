"""What is told of labels, users and file names: `mqtt.disclose`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Between the daemon and the broker: everything that leaves goes through it.

    `level` is `all`, `counts` or `none`; `key` makes the made-up names of this node (`counts`) unguessable.
    """

    level: str = "all"
    key: bytes = b""

    def event(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Return an event as it may be told; None: not at all."""
        return payload

    def state(self, key: str, payload: bytes) -> tuple[str, bytes] | None:
        """Return the outbox's key of a retained state, and its payload, as they may be told; None: not at all."""
        return key, payload

    def answer(self, data: Any) -> Any:  # noqa: ANN401 - JSON
        """Return a response's data as it may be told."""
        return data

    def error(self, sentence: str) -> str:
        """Return a refusal as it may be told."""
        return sentence

    def user(self, told: str, known: Iterable[str]) -> str:  # noqa: ARG002
        """Return whom a request means: one of the known users by their made-up name, or who is named."""
        return told
