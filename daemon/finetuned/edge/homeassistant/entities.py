"""What appears in Home Assistant: one table of the node's entities, one of those of every model and user."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.edge.homeassistant import templates
from finetuned.edge.homeassistant.templates import attributes, available, key, number, value, word
from finetuned.edge.homeassistant.words import words
from finetuned.service import events

if TYPE_CHECKING:
    from collections.abc import Mapping

MEASURED = {"state_class": "measurement"}
PERCENT = {"unit_of_measurement": "%", "suggested_display_precision": 0, **MEASURED}
CELSIUS = {
    "unit_of_measurement": "°C",
    "device_class": "temperature",
    "suggested_display_precision": 0,
    **MEASURED,
}
ON_OR_OFF = "'ON' if value_json.get('{}') else 'OFF'"
LIVING = available("value_json.get('task')")
IDLE = available("not value_json.get('task')")
OUTCOMES = sorted(str(each.__struct_config__.tag) for each in typing.get_args(events.AnyOutcome))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A row: an entity by its key, which is its word's too.

    `state` is the template that reads its state, `attributes` the one that reads its attributes, `when` the one that says whether it can be
    used now.  `verb` is what it requests, with `body`, of a model and user with these, too.  `needs` is what must have
    been seen for it to appear at all (a reading, a metric).
    """

    key: str
    platform: str
    icon: str
    state: str = ""
    attributes: str = ""
    when: str = ""
    verb: str = ""
    body: Mapping[str, object] | None = None
    category: str = ""
    needs: str = ""
    more: Mapping[str, object] = field(default_factory=dict)


def node_entities(language: str) -> tuple[Entity, ...]:
    """Return those of the node, in the order in which they are documented."""
    return (*_doing(language), *_controls(language), *_health())


def _doing(language: str) -> tuple[Entity, ...]:
    reasons, paces = words("reasons", language), words("paces", language)
    nothing = words("sentences", language)["nothing"]
    return (
        Entity(
            key="running",
            platform="binary_sensor",
            icon="mdi:school",
            state=value(ON_OR_OFF.format("running")),
            more={"device_class": "running"},
        ),
        Entity(
            key="pace",
            platform="sensor",
            icon="mdi:speedometer",
            state=word("pace", paces),
            attributes=attributes("pace", "duty", "device"),
            more=_one_of(paces),
        ),
        Entity(
            key="reasons",
            platform="sensor",
            icon="mdi:hand-back-right",
            state=templates.listed("reasons", reasons, nothing),
            attributes=attributes("reasons", "causes"),
        ),
        Entity(key="queued", platform="sensor", icon="mdi:tray-full", state=key("queued"), more=MEASURED),
        Entity(
            key="waiting",
            platform="sensor",
            icon="mdi:inbox",
            state=key("waitingSamples"),
            more=MEASURED,
        ),
    )


def _controls(language: str) -> tuple[Entity, ...]:
    modes = words("modes", language)
    return (
        Entity(
            key="mode",
            platform="select",
            icon="mdi:tune",
            state=word("mode", modes),
            verb="mode",
            more={"options": list(modes.values()), "command_template": templates.choice("mode", modes)},
        ),
        _button("pause_all", "mdi:pause-circle", body={"task": "all"}),
        _button("resume_all", "mdi:play-circle", body={"task": "all"}),
        _button("rescan", "mdi:folder-refresh", body={}, category="config"),
        Entity(
            key="event",
            platform="event",
            icon="mdi:bell",
            state=templates.OUTCOME,
            more={"event_types": OUTCOMES},
        ),
    )


def _health() -> tuple[Entity, ...]:
    return (
        _reading("temperature", "thermal", "mdi:thermometer", CELSIUS),
        _reading("accelerator", "gpu", "mdi:expansion-card", CELSIUS),
        _reading("battery", "battery", "mdi:battery", {**PERCENT, "device_class": "battery"}),
        Entity(
            key="warnings",
            platform="binary_sensor",
            icon="mdi:alert",
            state=value(ON_OR_OFF.format("warnings")),
            attributes=attributes("warnings"),
            category="diagnostic",
            more={"device_class": "problem"},
        ),
    )


def pair_entities(language: str) -> tuple[Entity, ...]:
    """Return those of a model and user, in the order in which they are documented."""
    said = words("sentences", language) | words("names", language)
    return (*_course(language), *_quality(), *_versions(said), *_task_controls())


def _course(language: str) -> tuple[Entity, ...]:
    states, reasons = words("states", language), words("reasons", language)
    return (
        Entity(
            key="progress",
            platform="sensor",
            icon="mdi:progress-clock",
            state=number("progress", factor=100, digits=1),
            more=PERCENT,
        ),
        Entity(
            key="task",
            platform="sensor",
            icon="mdi:state-machine",
            state=word("taskState", states),
            attributes=attributes("taskState", "reasons", "task"),
            more=_one_of(states),
        ),
        Entity(
            key="held",
            platform="sensor",
            icon="mdi:hand-back-right-outline",
            state=templates.listed("reasons", reasons, words("sentences", language)["nothing"]),
            attributes=attributes("reasons"),
        ),
        Entity(
            key="loss",
            platform="sensor",
            icon="mdi:chart-line-variant",
            state=number("lossValue", otherwise="''"),
            more=MEASURED,
        ),
    )


def _quality() -> tuple[Entity, ...]:
    return (
        Entity(
            key="accuracy",
            platform="sensor",
            icon="mdi:bullseye-arrow",
            state=number("metrics.accuracy", factor=100, digits=1),
            needs="accuracy",
            more=PERCENT,
        ),
        Entity(
            key="error",
            platform="sensor",
            icon="mdi:bullseye",
            state=number("metrics.meanAbsoluteError"),
            needs="meanAbsoluteError",
            more=MEASURED,
        ),
        Entity(
            key="samples",
            platform="sensor",
            icon="mdi:image-multiple",
            state=templates.total("samples"),
            attributes=attributes("samples"),
            more=MEASURED,
        ),
    )


def _versions(said: Mapping[str, str]) -> tuple[Entity, ...]:
    return (
        Entity(
            key="version",
            platform="sensor",
            icon="mdi:numeric",
            state=value("value_json.get('current') or 0"),
            category="diagnostic",
        ),
        Entity(
            key="candidate",
            platform="update",
            icon="mdi:brain",
            state=templates.candidate(said),
            verb="promote",
            category="config",
        ),
        _button("rollback", "mdi:history", body={}, category="config"),
    )


def _task_controls() -> tuple[Entity, ...]:
    return (
        _button("train", "mdi:play", body={}, when=IDLE),
        _button("pause", "mdi:pause"),
        _button("resume", "mdi:play-pause"),
        _button("cancel", "mdi:stop"),
    )


def _one_of(meanings: Mapping[str, str]) -> Mapping[str, object]:
    return {"device_class": "enum", "options": list(meanings.values())}


def _reading(name: str, zone: str, icon: str, more: Mapping[str, object]) -> Entity:
    return Entity(
        key=name,
        platform="sensor",
        icon=icon,
        state=number(f"readings.{zone}", digits=1),
        category="diagnostic",
        needs=zone,
        more=more,
    )


def _button(
    name: str, icon: str, *, body: Mapping[str, object] | None = None, when: str = "", category: str = ""
) -> Entity:
    """Return a button for the verb that its name begins with: it sends `body`, or of a living task the id."""
    of_task = body is None
    return Entity(
        key=name,
        platform="button",
        icon=icon,
        attributes=attributes("task") if of_task else "",
        when=LIVING if of_task else when,
        verb=name.partition("_")[0],
        body=body,
        category=category,
        more={"command_template": templates.OF_TASK if of_task else templates.REQUEST},
    )
