"""The discovery message: what is known of the node and its models, and the entities made of it.

Home Assistant's device discovery: one retained message for all entities of a device, with the device, the origin
and one component for each.  A component that has gone stands there with its platform alone, for a while.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.homeassistant.entities import node_entities, pair_entities
from finetuned.edge.homeassistant.identifiers import identifier, joined, slug
from finetuned.edge.homeassistant.words import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finetuned.edge.homeassistant.entities import Entity
    from finetuned.edge.topics import Topics

MAKER = "finetuned"
MOST_PAIRS = 50
"""So many models and users appear, each with a dozen entities; more, and Home Assistant is no pleasure any more."""
CLASSIFIER = "Classifier"
"""What the kinds of models end with that have an accuracy even while nothing is measured; the others have an error."""


class DaemonSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of the daemon's state."""

    version: str = ""
    readings: dict[str, float] = {}


class ModelSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a model's state."""

    model: str
    user: str = ""
    kind: str = ""
    current: int | None = None
    candidate: int | None = None
    samples: dict[str, int] | int = 0
    task: str | None = None
    metrics: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A model and user as they are told; `has` are the metrics that tell how good it is.

    `bare` is nobody's model of which there is nothing, as where everything is somebody's.
    """

    model: str
    user: str
    key: str
    candidate: int | None
    has: tuple[str, ...]
    bare: bool = False


def pair_of(key: str, payload: bytes) -> Pair | None:
    """Return what a model's state, by the outbox's key, says; None where it cannot be read."""
    try:
        seen = msgspec.json.decode(payload, type=ModelSeen)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    measured = {name for name, figure in (seen.metrics or {}).items() if figure is not None}
    expected = "accuracy" if seen.kind.endswith(CLASSIFIER) else "meanAbsoluteError"
    has = tuple(name for name in ("accuracy", "meanAbsoluteError") if name in measured | {expected})
    bare = not seen.user and _is_bare(seen)
    return Pair(user=seen.user, model=seen.model, key=key, candidate=seen.candidate, has=has, bare=bare)


def _is_bare(seen: ModelSeen) -> bool:
    samples = seen.samples if isinstance(seen.samples, int) else sum(seen.samples.values())
    return not samples and seen.current is None and seen.candidate is None and seen.task is None


def chosen(pairs: Iterable[Pair], most: int = MOST_PAIRS) -> tuple[Pair, ...]:
    """Return those that appear: nobody's bare models only where they have no users; where there are too many, the first.

    The models themselves come before their users.
    """
    everybody = sorted(pairs, key=lambda pair: (pair.user, pair.model))
    owned = {pair.model for pair in everybody if pair.user}
    shown = [replace(pair, bare=False) for pair in everybody if not (pair.bare and pair.model in owned)]
    return tuple(shown[:most])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an entity is of: its state's topic, the beginnings of its ids and of its name, and what its requests say."""

    topic: str
    ids: tuple[str, ...] = ()
    title: str = ""
    body: Mapping[str, str] = field(default_factory=dict)
    install: str = ""


class Discovery:
    """Makes the message of one node in one language."""

    def __init__(self, topics: Topics, language: str) -> None:
        """Read the tables."""
        self._topics = topics
        self._node, self._pair = node_entities(language), pair_entities(language)
        self._words, self._english = words("names", language), words("names", "en")
        self._online = {"topic": topics.availability}

    def message(self, version: str, components: Mapping[str, object]) -> bytes:
        """Return the payload."""
        node = identifier(self._topics.node)
        device = {
            "identifiers": [f"{MAKER}_{node}"],
            "name": f"{MAKER} {self._topics.node}",
            "manufacturer": MAKER,
            "model": MAKER,
            "sw_version": version,
        }
        origin = {"name": MAKER, "sw_version": version}
        shared = {"device": device, "origin": origin, "availability": [self._online]}
        return msgspec.json.encode({**shared, "components": components})

    def components(self, readings: frozenset[str], pairs: Sequence[Pair], transaction: str) -> dict[str, Any]:
        """Return every component by its id; `transaction` is the beginning of those that install candidates."""
        node = Scope(topic=self._topics.state("state"))
        found = dict(
            self._component(each, node) for each in self._node if not each.needs or each.needs in readings
        )
        for pair in pairs:
            scope = self._scope(pair, transaction)
            entities = (each for each in self._pair if not each.needs or each.needs in pair.has)
            found |= dict(self._component(each, scope) for each in entities)
        return found

    def _scope(self, pair: Pair, transaction: str) -> Scope:
        body = {"model": pair.model} | ({"user": pair.user} if pair.user else {})
        install = {
            **body,
            "version": pair.candidate,
            "transaction": f"{transaction}-{joined(*body.values())}",
        }
        return Scope(
            topic=self._topics.state(pair.key),
            ids=(pair.model, pair.user) if pair.user else (pair.model,),
            title=f"{pair.model} ({pair.user})" if pair.user else pair.model,
            body=body,
            install=json.dumps(install) if pair.candidate is not None else "",
        )

    def _component(self, entity: Entity, scope: Scope) -> tuple[str, dict[str, Any]]:
        name = joined(*scope.ids, entity.key) if scope.ids else entity.key
        unique = f"{MAKER}_{identifier(self._topics.node)}__{name}"
        english = f"{MAKER} {self._topics.node} {scope.title} {self._english[entity.key]}"
        made: dict[str, Any] = {
            "platform": entity.platform,
            "unique_id": unique,
            "default_entity_id": f"{entity.platform}.{slug(english)}",
            "name": f"{scope.title} {self._words[entity.key]}".strip(),
            "icon": entity.icon,
            **entity.more,
        }
        if entity.category:
            made["entity_category"] = entity.category
        return name, made | self._reading(entity, scope) | self._asking(entity, scope)

    def _reading(self, entity: Entity, scope: Scope) -> dict[str, Any]:
        """Return where its state and its attributes come from, and when it can be used."""
        made: dict[str, Any] = {}
        if entity.state:
            topic = self._topics.event("+") if entity.platform == "event" else scope.topic
            made |= {"state_topic": topic, "value_template": entity.state, "qos": 1}
        if entity.attributes:
            made |= {"json_attributes_topic": scope.topic, "json_attributes_template": entity.attributes}
        if entity.when:
            when = {"topic": scope.topic, "value_template": entity.when}
            made |= {"availability": [self._online, when], "availability_mode": "all"}
        return made

    def _asking(self, entity: Entity, scope: Scope) -> dict[str, Any]:
        """Return what it requests."""
        if not entity.verb:
            return {}
        made: dict[str, Any] = {"command_topic": self._topics.request(entity.verb), "qos": 1, "retain": False}
        if entity.platform == "update":
            made |= {"title": scope.title, "payload_install": scope.install}
        if entity.body is not None:
            made["payload_press"] = json.dumps({**entity.body, **scope.body})
        return made
