"""Announces the node to Home Assistant: on every connection, whenever it changes, and when Home Assistant has started."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from finetuned.edge.announcing import Notice
from finetuned.edge.homeassistant.discovery import MOST_PAIRS, DaemonSeen, Discovery, chosen, pair_of
from finetuned.edge.homeassistant.identifiers import identifier
from finetuned.edge.logs import get_logger
from finetuned.edge.topics import ONLINE, Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.edge.config import Config
    from finetuned.edge.homeassistant.discovery import Pair

log = get_logger("homeassistant")
OURS, NEW_BYTES = "ha-install", 8
T = TypeVar("T")
MOST_BYTES = 1_000_000
"""What the bridge can read back (`connection.MAX_PACKET_BYTES`); fifty models of usual names need half of it."""


def announcers(config: Config, node: str) -> tuple[HomeAssistant, ...]:
    """Return who announces the node as it is configured: nobody on the embedded broker, to which Home Assistant has no way."""
    if not config.mqtt.host or not config.homeassistant.enabled:
        return ()
    topics = Topics(config.mqtt.prefix, node)
    return (HomeAssistant(topics, config.homeassistant.prefix, config.homeassistant.language),)


class Announced(msgspec.Struct, frozen=True):
    """What is retained of an earlier announcement."""

    components: dict[str, dict[str, Any]] = {}


class Refusal(msgspec.Struct, frozen=True):
    """What matters of a response."""

    transaction: str
    status: str


class HomeAssistant:
    """An announcer (`edge.announcing`) of Home Assistant's device discovery."""

    def __init__(
        self, topics: Topics, prefix: str, language: str, chance: Callable[[int], str] = secrets.token_hex
    ) -> None:
        """Announce below `prefix`, in a language; `chance` makes the transactions of installing a candidate new each time."""
        self._discovery = Discovery(topics, language)
        self._topic = f"{prefix}/device/{identifier(topics.node)}/config"
        self._status = f"{prefix}/status"
        self._promoted = topics.response("promote")
        self._chance = chance
        self._due = True
        self._crowded = False
        self._daemon = DaemonSeen()
        self._readings: frozenset[str] = frozenset()
        self._seen: dict[str, tuple[bytes, Pair | None]] = {}
        self._said: object = None
        self._pairs: dict[str, Pair] = {}
        self._chosen: tuple[Pair, ...] = ()
        self._there: dict[str, str] = {}  # the platforms of the components that are announced

    @property
    def filters(self) -> tuple[str, ...]:
        """Our own announcement, Home Assistant's birth, and what became of installing."""
        return (self._topic, self._status, self._promoted)

    def begin(self) -> None:
        """Announce again."""
        self._due = True

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Learn what an earlier run announced; announce again to a Home Assistant that has just started.

        A candidate whose promotion was refused is announced again, since the same transaction would only get the same answer.
        """
        if topic == self._status:
            self._due |= payload == ONLINE
        elif topic == self._promoted:
            said = _read(payload, Refusal)
            self._due |= said is not None and said.status == "error" and said.transaction.startswith(OURS)
        elif retained and (announced := _read(payload, Announced)):
            self._there = _platforms(announced) | self._there

    def due(self, states: Mapping[str, bytes]) -> tuple[Notice, ...]:
        """Return the announcement, if it is due; nothing before the daemon's own state is known."""
        if "state" not in states:
            return ()
        now = self._look(states)
        if now == self._said and not self._due:
            return ()
        self._said, self._due = now, False
        version, readings, pairs = now
        transaction = f"{OURS}-{self._chance(NEW_BYTES)}"
        made = self._discovery.components(readings, pairs, transaction)
        while pairs and len(msgspec.json.encode(made)) > MOST_BYTES:
            pairs = pairs[: len(pairs) // 2]
            made = self._discovery.components(readings, pairs, transaction)
        message = self._discovery.message(version, self._in_order(made))
        self._there = {key: part["platform"] for key, part in made.items()}
        return (Notice(topic=self._topic, payload=message),)

    def _in_order(self, made: dict[str, dict[str, Any]]) -> dict[str, object]:
        """Return the components with those that are taken back now, and be left out of the next announcement.

        What comes and goes stands first: Home Assistant (2025.4) leaves off at a component which it is still setting up
        because of the announcement before, and the rest is lost.
        """
        gone = {key: {"platform": platform} for key, platform in self._there.items() if key not in made}
        new = {key: part for key, part in made.items() if key not in self._there}
        return gone | new | made

    def _look(self, states: Mapping[str, bytes]) -> tuple[str, frozenset[str], tuple[Pair, ...]]:
        """Return what the announcement says; a state that is as it was is not read again.

        A reading that has been there is announced for as long as the daemon lives, though its sensor may fail.
        """
        daemon = _read(states["state"], DaemonSeen) or self._daemon
        if not daemon.readings.keys() <= self._readings:
            self._readings |= daemon.readings.keys()
        self._daemon = daemon
        seen = {key: self._pair(key, payload) for key, payload in states.items() if key.startswith("model/")}
        pairs = {key: pair for key, (_, pair) in seen.items() if pair is not None}
        self._seen = seen
        if pairs != self._pairs:
            self._pairs, self._chosen = pairs, chosen(pairs.values())
            self._warn(len(pairs))
        return daemon.version, self._readings, self._chosen

    def _pair(self, key: str, payload: bytes) -> tuple[bytes, Pair | None]:
        known = self._seen.get(key)
        return known if known is not None and known[0] == payload else (payload, pair_of(key, payload))

    def _warn(self, pairs: int) -> None:
        if pairs > MOST_PAIRS and not self._crowded:
            log.warning(
                "too many models and users for Home Assistant; it is told of models only",
                there=pairs,
                told_at_most=MOST_PAIRS,
            )
        self._crowded = pairs > MOST_PAIRS


def _read(payload: bytes, kind: type[T]) -> T | None:
    """Return what can be read of a message from anybody."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _platforms(announced: Announced) -> dict[str, str]:
    """Return the components that are announced; those with a platform alone were taken back."""
    return {
        key: part["platform"]
        for key, part in announced.components.items()
        if len(part) > 1 and isinstance(part.get("platform"), str)
    }
