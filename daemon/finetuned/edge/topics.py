"""The topics: what stands in docs and in MQTT.md as a table stands here as one."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, unquote

ONLINE, OFFLINE = b"online", b"offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a message travels; with MQTT 5 the broker throws away what has waited for longer than `expiry_s`."""

    qos: int
    retain: bool
    expiry_s: int | None = None
    content: str = "application/json"


# By the first level below finetuned/<node>, or the first two.
WAYS = MappingProxyType(
    {
        "availability": Way(qos=1, retain=True, content="text/plain"),
        "state": Way(qos=1, retain=True),
        "model": Way(qos=1, retain=True),
        "task": Way(qos=1, retain=True),
        "event": Way(qos=1, retain=False),
        "event/trainingBegin": Way(qos=1, retain=False, expiry_s=60),
        "event/miniBatchEnd": Way(qos=0, retain=False, expiry_s=10),
        "event/epochEnd": Way(qos=1, retain=False, expiry_s=60),
        "request": Way(qos=1, retain=False),
        "response": Way(qos=1, retain=False),
    }
)

FOREIGN = Way(qos=1, retain=True)
"""How a notice travels on a topic of others (`announcing`), and what takes off the broker what they left on ours."""


def level(name: str) -> str:
    """Return a name from outside as one topic level: whatever is not A-Z a-z 0-9 _ . - becomes %XX of its UTF-8.

    So no name can add a level (/), match others (+ #), hide ($) or be refused (NUL); no two names become the
    same level.  Payloads carry the name as it is.
    """
    return quote(name, safe="", errors="surrogatepass").replace("~", "%7E")


def name_of(topic_level: str) -> str:
    """Return the name that `level` was given."""
    return unquote(topic_level, errors="replace")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node."""

    prefix: str
    node: str
    base: str = field(init=False)
    """What all of them begin with."""

    def __post_init__(self) -> None:
        """Make the base once: it is part of every message."""
        object.__setattr__(self, "base", f"{self.prefix}/{level(self.node)}")

    @property
    def availability(self) -> str:
        """`online`, or `offline` by last will."""
        return f"{self.base}/availability"

    @property
    def kept(self) -> tuple[str, ...]:
        """Filters for the retained states that come and go."""
        return (f"{self.base}/model/#", f"{self.base}/task/#")

    @property
    def told(self) -> tuple[str, ...]:
        """Filters for everything that the daemon says unasked."""
        return (self.event("#"), f"{self.base}/state", *self.kept, self.availability)

    def state(self, key: str) -> str:
        """Return the topic of a retained state by the outbox's key.

        `state`, `model/<model>`, `model/<model>/<user>` or `task/<task>`; no name holds a slash (`service.names`).
        """
        kind, *names = key.split("/")
        return "/".join([self.base, kind, *map(level, names), "state"] if names else [self.base, kind])

    def event(self, kind: str) -> str:
        """Return the topic of an event's type; `#` for all."""
        return f"{self.base}/event/{kind}"

    def request(self, verb: str) -> str:
        """Return the topic on which the daemon listens; `#` for all verbs."""
        return f"{self.base}/request/{verb}"

    def response(self, verb: str) -> str:
        """Return the topic on which the daemon answers."""
        return f"{self.base}/response/{level(verb)}"

    def below(self, topic: str) -> str:
        """Return the part of a topic after the base; "" if it is not one of this node's."""
        head = f"{self.base}/"
        return topic[len(head) :] if topic.startswith(head) else ""

    def way(self, topic: str) -> Way:
        """Return how a message on this topic travels."""
        parts = self.below(topic).split("/")
        return WAYS.get("/".join(parts[:2])) or WAYS[parts[0]]
