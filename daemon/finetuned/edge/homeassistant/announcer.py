"""Announces the node to Home Assistant: on every connection, whenever it changes, and when Home Assistant has started."""

from __future__ import annotations

import math
import re
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from finetuned.edge.announcing import Notice
from finetuned.edge.homeassistant.discovery import MAKER, MOST_PAIRS, DaemonSeen, Discovery, chosen, pair_of
from finetuned.edge.homeassistant.identifiers import identifier
from finetuned.edge.logs import get_logger
from finetuned.edge.topics import ONLINE, Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from finetuned.edge.announcing import Announcer
    from finetuned.edge.config import Config
    from finetuned.edge.homeassistant.discovery import Pair

log = get_logger("homeassistant")
OURS, NEW_BYTES = "ha-install", 8
T = TypeVar("T")
WHAT = "the announcement for Home Assistant"
MOST_BYTES = 1_000_000
"""What the bridge can read back (`connection.MAX_PACKET_BYTES`); fifty models of usual names need half of it."""
MOST_THERE = 1000
ID, PLATFORM = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII), re.compile(r"[a-z_]{1,32}", re.ASCII)
SETTLED_S = 10.0
"""After so long what was announced is announced once more, and after as long again without what has gone: see `_turn`."""
GONE_S = 60.0
"""What has gone is named no longer than that, however much comes and goes."""
ASKED_S = 1.0
"""Others can make us announce so often at most."""


def announcers(config: Config, node: str) -> tuple[Announcer, ...]:
    """Return who announces the node as it is configured: nobody on the embedded broker, to which Home Assistant has no way."""
    if not config.mqtt.host:
        return ()
    topics, home = Topics(config.mqtt.prefix, node), config.homeassistant
    return (
        HomeAssistant(topics, home.prefix, home.language)
        if home.enabled
        else Withdrawal(topics, home.prefix),
    )


def config_topic(topics: Topics, prefix: str) -> str:
    """Return where the node is announced."""
    return f"{prefix}/device/{identifier(topics.node)}/config"


class Origin(msgspec.Struct, frozen=True):
    """Who announced."""

    name: str = ""


class Announced(msgspec.Struct, frozen=True):
    """What is retained of an earlier announcement."""

    components: dict[str, dict[str, Any]] = {}
    origin: Origin = Origin()


class Refusal(msgspec.Struct, frozen=True):
    """What matters of a response."""

    transaction: str
    status: str


class Withdrawal:
    """An announcer that takes back what an earlier run announced, where nothing is to be announced any more."""

    def __init__(self, topics: Topics, prefix: str) -> None:
        """Look at the node's announcement below `prefix`."""
        self._topic = config_topic(topics, prefix)
        self._due = False

    @property
    def filters(self) -> tuple[str, ...]:
        """Our own announcement."""
        return (self._topic,)

    def begin(self) -> None:
        """Wait for what is retained."""
        self._due = False

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:  # noqa: ARG002 - there is one topic
        """Find an announcement of ours; another's is none of our business."""
        announced = _read(payload, Announced) if retained else None
        self._due |= announced is not None and announced.origin.name == MAKER

    def due(self, states: Mapping[str, bytes]) -> tuple[Notice, ...]:  # noqa: ARG002 - whatever they are
        """Clear it, once."""
        due, self._due = self._due, False
        return (Notice(topic=self._topic, payload=b"", what=WHAT),) if due else ()


class HomeAssistant:
    """An announcer (`edge.announcing`) of Home Assistant's device discovery."""

    def __init__(
        self,
        topics: Topics,
        prefix: str,
        language: str,
        chance: Callable[[int], str] = secrets.token_hex,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Announce below `prefix`, in a language; `chance` makes the transactions of installing a candidate new each time."""
        self._discovery = Discovery(topics, language)
        self._topic = config_topic(topics, prefix)
        self._status = f"{prefix}/status"
        self._promoted = topics.response("promote")
        self._chance, self._clock = chance, clock
        self._transaction = ""
        # What makes an announcement due: a connection, what others ask for, and one that has still to be repeated.
        self._begun, self._asked, self._deaf_until = True, False, -math.inf
        self._repeats, self._repeat_at = 0, math.inf
        self._crowded = False
        self._daemon = DaemonSeen()
        self._readings: frozenset[str] = frozenset()
        self._seen: dict[str, tuple[bytes, Pair | None]] = {}
        self._said: object = None
        self._pairs: dict[str, Pair] = {}
        self._chosen: tuple[Pair, ...] = ()
        # The platforms of the components that are announced; and of those that have gone since it was calm, with when.
        self._there: dict[str, str] = {}
        self._gone: dict[str, tuple[str, float]] = {}

    @property
    def filters(self) -> tuple[str, ...]:
        """Our own announcement, Home Assistant's birth, and what became of installing."""
        return (self._topic, self._status, self._promoted)

    def begin(self) -> None:
        """Announce again."""
        self._begun = True

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Learn what an earlier run announced; announce again to a Home Assistant that has just started.

        A candidate whose promotion was refused is announced again, since the same transaction would only get the same answer.
        """
        if topic == self._status:
            self._asked |= payload == ONLINE
        elif topic == self._promoted:
            said = _read(payload, Refusal)
            ours = said is not None and said.transaction.startswith(f"{self._transaction}-")
            self._asked |= said is not None and ours and said.status == "error"
        elif retained and (announced := _read(payload, Announced)):
            there = _there(announced)
            whole = {key: platform for key, platform in there.items() if len(announced.components[key]) > 1}
            self._there = whole | self._there
            # What it took back then, it may have taken back a moment ago.
            since = self._clock()
            self._gone = {key: (there[key], since) for key in there.keys() - whole.keys()} | self._gone

    def due(self, states: Mapping[str, bytes]) -> tuple[Notice, ...]:
        """Return the announcement, if it is due; nothing before the daemon's own state is known."""
        if "state" not in states:
            return ()
        now, at = self._look(states), self._clock()
        if not self._turn(at, news=self._begun or now != self._said):
            return ()
        self._said, self._begun, self._asked = now, False, False
        version, readings, pairs = now
        self._transaction = f"{OURS}-{self._chance(NEW_BYTES)}"
        while True:
            made = self._discovery.components(readings, pairs, self._transaction)
            gone = self._left(made, at)
            message = self._discovery.message(version, self._in_order(made, gone))
            if len(message) <= MOST_BYTES or not pairs:
                break
            pairs = pairs[: len(pairs) // 2]
        self._there, self._gone = {key: part["platform"] for key, part in made.items()}, gone
        return (Notice(topic=self._topic, payload=message, what=WHAT),)

    def _turn(self, at: float, *, news: bool) -> bool:
        """Whether to announce now: for news, since others ask for it, or once more.

        Home Assistant (2025.4) can lose what comes while it is still setting up what came before.  So what was announced
        is repeated when it is calm, with all that has gone since the last calm.  Then comes the last repeat, without what
        has gone: names that are not to be told any more must not stay on the broker.
        """
        if news:
            self._repeats, self._repeat_at = 2, at + SETTLED_S
            return True
        if self._repeats and at >= self._repeat_at:
            self._repeats, self._repeat_at = self._repeats - 1, at + SETTLED_S
            if self._repeats:
                return True
            gone, self._gone = self._gone, {}
            return bool(gone) or self._asked
        if self._asked and at >= self._deaf_until:
            self._deaf_until = at + ASKED_S
            if not self._repeats:
                self._repeats, self._repeat_at = 2, at + SETTLED_S
            return True
        return False

    def _left(self, made: Mapping[str, object], at: float) -> dict[str, tuple[str, float]]:
        """Return what has gone, and is to be told of: what is not made any more."""
        gone = {key: (platform, at) for key, platform in self._there.items()} | self._gone
        left = [(key, each) for key, each in gone.items() if key not in made and at - each[1] < GONE_S]
        return dict(left[:MOST_THERE])

    def _in_order(
        self, made: dict[str, dict[str, Any]], gone: Mapping[str, tuple[str, float]]
    ) -> dict[str, object]:
        """Return the components with those that are taken back.

        What comes and goes stands first: Home Assistant (2025.4) leaves off at a component which it is still setting up
        because of the announcement before, and the rest is lost.
        """
        new = {key: part for key, part in made.items() if key not in self._there}
        return {key: {"platform": platform} for key, (platform, _) in gone.items()} | new | made

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
        """Return what a state says; a metric that it had once it has still, though nothing is measured at the moment."""
        known, before = self._seen.get(key, (None, None))
        if known == payload:
            return payload, before
        pair = pair_of(key, payload)
        if pair and before:
            pair = replace(pair, has=pair.has + tuple(each for each in before.has if each not in pair.has))
        return payload, pair

    def _warn(self, pairs: int) -> None:
        if pairs > MOST_PAIRS and not self._crowded:
            log.warning(
                "too many models and users for Home Assistant; it is told of the first",
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


def _there(announced: Announced) -> dict[str, str]:
    """Return the platforms of the components of a message from anybody: such as we would announce, and not too many."""
    named = [(key, part.get("platform")) for key, part in announced.components.items() if ID.fullmatch(key)]
    found = [(key, each) for key, each in named if isinstance(each, str) and PLATFORM.fullmatch(each)]
    return dict(found[:MOST_THERE])
