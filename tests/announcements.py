"""States as the daemon shows them, and what is announced of them."""

from __future__ import annotations

import json
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


def announcer(language: str = "en", node: str = "pi-3fa2") -> HomeAssistant:
    """Return an announcer whose transactions are counted."""
    turns = iter(range(1, 1000))
    return HomeAssistant(Topics("finetuned", node), "homeassistant", language, lambda _: str(next(turns)))


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
