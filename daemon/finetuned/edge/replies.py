"""Where a request is answered: MQTT 5 lets whoever asks name the topic, and the daemon shall publish nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

    from finetuned.edge.topics import Topics

MAX_TOPIC_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The topic of the answer, what it carries back, and what is wrong with what was asked for ("": nothing)."""

    topic: str
    correlation: bytes | None = None
    error: str = ""


def reply_to(topics: Topics, verb: str, properties: Properties | None) -> Reply:
    """Return where a request for `verb` is answered: on its response topic if that is below ours, else refused on ours."""
    correlation: bytes | None = getattr(properties, "CorrelationData", None)
    asked: str | None = getattr(properties, "ResponseTopic", None)
    ours = Reply(topic=topics.response(verb), correlation=correlation)
    if asked is None:
        return ours
    if _is_allowed(topics, asked):
        return Reply(topic=asked, correlation=correlation)
    error = f"the response topic must be below {topics.base}/response/, of up to {MAX_TOPIC_BYTES} bytes, without + and #"
    return Reply(topic=ours.topic, correlation=correlation, error=error)


def _is_allowed(topics: Topics, asked: str) -> bool:
    """Whether the daemon may answer there."""
    kind, _, rest = topics.below(asked).partition("/")
    harmless = asked.isprintable() and not {"+", "#"} & set(asked)
    return kind == "response" and bool(rest) and harmless and len(asked.encode()) <= MAX_TOPIC_BYTES
