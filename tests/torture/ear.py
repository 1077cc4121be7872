"""A subscriber of the campaign's own: what was heard, what is retained, and the answers to what it asks."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from finetuned.edge.broker import LOOPBACK
from torture.broker import PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ANSWER_S = 5.0


class Ear:
    """Listens in a thread of its own, and comes back whenever the broker does."""

    def __init__(self, port: int) -> None:
        """Connect; `finetuned/#` is heard from then on."""
        self.outcomes: set[int] = set()
        self.kept: dict[str, bytes] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(USER, PASSWORD)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("finetuned/#", qos=1)
        self._client.connect(LOOPBACK, port)
        self._client.loop_start()

    def close(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()

    def forget(self) -> None:
        """Forget what was retained: a broker that comes back has kept nothing."""
        self.kept.clear()

    def retained(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the states of a kind (`task`, `model`) that are retained now, by topic."""
        kept = {topic: payload for topic, payload in self.kept.copy().items() if payload}
        return {topic: json.loads(payload) for topic, payload in kept.items() if topic.split("/")[2] == kind}

    def ask(
        self, node: str, verb: str, body: Mapping[str, object], is_alive: Callable[[], bool]
    ) -> dict[str, Any] | None:
        """Publish a request; return its response, None where none comes, or the one who was asked dies."""
        transaction = uuid.uuid4().hex
        payload = json.dumps({"transaction": transaction, **body})
        self._client.publish(f"finetuned/{node}/request/{verb}", payload, qos=1)
        until = time.monotonic() + ANSWER_S
        with self._news:
            while transaction not in self._answers and is_alive() and time.monotonic() < until:
                self._news.wait(0.2)
            return self._answers.pop(transaction, None)

    def _hear(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        kind = message.topic.split("/")[2]
        with self._news:
            if kind in {"task", "model"}:
                self.kept[message.topic] = bytes(message.payload)
            elif kind == "event" and "id" in (event := json.loads(message.payload)):
                self.outcomes.add(event["id"])
            elif kind == "response":
                answer = json.loads(message.payload)
                self._answers[answer["transaction"]] = answer
            self._news.notify_all()
