"""What the types of payloads do not say, for docs/asyncapi.yaml: formats, patterns, and the values that there are.

What a request takes is closed (`enum`); what the daemon says may become more (`examples`).
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

from finetuned.errors import FinetunedError
from finetuned.policy.budget import Mode
from finetuned.policy.hysteresis import Pace
from finetuned.policy.promotion import Promotion
from finetuned.policy.zones import QUANTITIES
from finetuned.service.views import IDLE
from finetuned.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


def _open(*values: str) -> Json:
    """Return what is said of a field of the daemon's whose values may become more."""
    return {
        "description": "As far as this version knows; later ones may have more.",
        "examples": [str(value) for value in values],
    }


TIME = {"format": "date-time"}
MINI_BATCH = {"type": "integer", "minimum": 0}
COURSE = {"epochIndex": MINI_BATCH, "lossValue": {"type": "number"}}
REASONS = _open("queued", "retry", "user", "mode", "shutdown", *QUANTITIES)
KINDS: tuple[type[FinetunedError], ...] = (FinetunedError, *FinetunedError.__subclasses__())
FAULTS = sorted({kind.fault for kind in KINDS})
FIELDS: Mapping[str, Json] = {
    "ts": TIME,
    "expires": TIME,
    "sha256": {"pattern": "^[0-9a-f]{64}$"},
    "Forgotten.sample": {"pattern": "^([0-9a-f]{64})?$"},
    "Forget.sample": {"pattern": "^([0-9a-fA-F]{64})?$"},
    "Mode.mode": {"enum": [str(mode) for mode in Mode]},
    "mode": _open(*Mode),
    "pace": _open(*Pace),
    "promotion": _open(*typing.get_args(typing.get_type_hints(Promotion)["promotion"])),
    "taskState": _open(IDLE, *TaskState),
    "state": _open(*TaskState),
    "fault": _open(*FAULTS),
    "reasons": {"items": {"type": "string", **REASONS}},
    "CauseView.reason": REASONS,
    "EpochEnd.metrics": {"properties": COURSE, "required": [*COURSE]},
    "MiniBatchEnd.metrics": {
        "properties": {**COURSE, "miniBatchIndex": MINI_BATCH},
        "required": [*COURSE, "miniBatchIndex"],
    },
}
"""By the field's name, or by struct and name."""


def detailed(struct: str, schema: Json) -> Json:
    """Return a struct's schema with what is known of its fields besides their types, and plain numbers."""
    told = {
        name: _with(each, FIELDS.get(f"{struct}.{name}") or FIELDS.get(name, {}))
        for name, each in schema.get("properties", {}).items()
    }
    simple: Json = _numbers(schema | {"properties": told})
    return simple


def _with(schema: Json, more: Json) -> Json:
    """Add to a field of plain type, or to the part of an optional one that is text."""
    if "$ref" in schema:
        return schema
    arms = schema.get("anyOf", [])
    if any(arm.get("type") == "string" for arm in arms):
        return schema | {"anyOf": [arm | more if arm.get("type") == "string" else arm for arm in arms]}
    return schema | more


def _numbers(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema, both times
    """Return it without `integer` beside `number`, of which every integer is one."""
    if isinstance(schema, list):
        return [_numbers(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    simple = {key: _numbers(value) for key, value in schema.items()}
    arms = simple.get("anyOf", [])
    if {"type": "number"} in arms:
        arms = [arm for arm in arms if arm != {"type": "integer"}]
        simple |= {"anyOf": arms} if len(arms) > 1 else arms[0]
    if len(arms) == 1:
        del simple["anyOf"]
    return simple
