"""States as the daemon shows them, and what is announced of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.homeassistant.announcer import HomeAssistant
from finetuned.edge.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.edge.announcing import Notice

HARMFUL = "o'{{ states }}{% raw %}\"\\ü/#"
"""A name that would be obeyed if it stood in a template."""


def daemon_state(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a calm daemon's state."""
    calm = {"version": "0.5.0", "mode": "auto", "pace": "full", "duty": 1.0, "device": "cpu", "reasons": []}
    return {**calm, "running": [], "queued": 0, "waitingSamples": 0, "readings": {}, "warnings": [], **fields}


def model_state(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the state of a classifier of which nothing is trained."""
    model = {
        "model": "hands",
        "user": "",
        "kind": "neuralNetworkClassifier",
        "current": None,
        "candidate": None,
        "candidateMetrics": None,
    }
    idle: dict[str, Any] = {
        "task": None,
        "taskState": "idle",
        "reasons": [],
        "progress": 0.0,
        "lossValue": None,
        "etaSeconds": None,
    }
    return {**model, **idle, "samples": {"rock": 10, "paper": 10}, "metrics": None, **fields}


def states(
    models: Mapping[str, Mapping[str, Any]], readings: Mapping[str, float] | None = None
) -> dict[str, bytes]:
    """Return what the bridge hands over: models' states by key, and the daemon's."""
    shown = {"state": daemon_state(readings=readings or {}), **models}
    return {key: msgspec.json.encode(state) for key, state in shown.items()}


@dataclass
class Clock:
    """A clock that stands still until it is moved; `step` seconds at every look."""

    now: float = 0.0
    step: float = 0.0

    def __call__(self) -> float:
        """Look."""
        self.now += self.step
        return self.now


def announcer(language: str = "en", node: str = "pi-3fa2", clock: Clock | None = None) -> HomeAssistant:
    """Return an announcer whose transactions are counted; its clock stands still, if none is given."""
    turns = iter(range(1, 1000))
    topics, turn = Topics("finetuned", node), lambda _: str(next(turns))
    return HomeAssistant(topics, "homeassistant", language, turn, clock or Clock())


def content(notices: tuple[Notice, ...]) -> dict[str, Any]:
    """Return the one announcement."""
    (notice,) = notices
    found: dict[str, Any] = json.loads(notice.payload)
    return found


def announced(
    models: Mapping[str, Mapping[str, Any]],
    *,
    readings: Mapping[str, float] | None = None,
    language: str = "en",
) -> dict[str, Any]:
    """Return the first announcement of these states."""
    return content(announcer(language).due(states(models, readings)))


HANDS = {"model/hands": model_state()}
CANDIDATE = {"model/hands": model_state(current=6, candidate=7)}
TOPIC, STATUS, PROMOTED = (
    "homeassistant/device/pi-3fa2/config",
    "homeassistant/status",
    "finetuned/pi-3fa2/response/promote",
)


def parts(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the components of an announcement."""
    found: dict[str, dict[str, Any]] = message["components"]
    return found


def transactions(message: dict[str, Any]) -> list[str]:
    """Return the transaction of every candidate that can be installed."""
    payloads = (part.get("payload_install") for part in parts(message).values())
    return [json.loads(payload)["transaction"] for payload in payloads if payload]
