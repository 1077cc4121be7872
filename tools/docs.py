"""Write the parts of docs/ that are tables in the code: `python tools/docs.py`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; a test keeps docs and code together.
"""

from __future__ import annotations

import importlib
import math
import re
import sys
import typing
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.budget_sections import Budget as BudgetSection
from finetuned.edge.homeassistant.entities import Entity, node_entities, pair_entities
from finetuned.edge.homeassistant.words import words
from finetuned.edge.limits import budget_of
from finetuned.edge.payloads import VERBS
from finetuned.edge.topics import WAYS
from finetuned.graph.lower import LOWERINGS
from finetuned.policy.hysteresis import LADDER
from finetuned.policy.zones import QUANTITIES, Kind
from finetuned.service import events
from finetuned.spec import check
from finetuned.spec.rules import neighbors
from finetuned.spec.rules.later import NOT_YET
from finetuned.spec.rules.layers import TRAINABLE
from finetuned.spec.rules.paths import BEYOND, CORE_ML
from finetuned.states import TERMINAL, TRANSITIONS, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from finetuned.policy.zones import Zone

DOCS = Path(__file__).parents[1] / "docs"
WORDS: dict[object, str] = {str: "text", float: "numbers", int: "numbers", bool: "true or false"}
BLOCK = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ── the task ────────────────────────────────────────────────────────────────────────────────────
def transitions() -> str:
    """What may follow what."""
    rows = [(f"`{state}`", verb.value, f"`{after}`") for (state, verb), after in TRANSITIONS.items()]
    return table(("state", "verb", "state after"), rows)


def diagram() -> str:
    """Draw the same table."""
    begin = [f"[*] --> {TaskState.suspended}"]
    arrows = [f"{state} --> {after}: {verb}" for (state, verb), after in TRANSITIONS.items()]
    ends = [f"{state} --> [*]" for state in sorted(TERMINAL)]
    body = "".join(f"    {line}\n" for line in (*begin, *arrows, *ends))
    return f"```mermaid\nstateDiagram-v2\n{body}```\n"


# ── MQTT ────────────────────────────────────────────────────────────────────────────────────────
def ways() -> str:
    """How messages travel, by the first levels of their topic."""
    rows = [
        (
            f"`{level}`",
            str(way.qos),
            "yes" if way.retain else "no",
            f"`{way.content}`",
            f"{way.expiry_s} s" if way.expiry_s else "–",
        )
        for level, way in WAYS.items()
    ]
    return table(("below `finetuned/<node>/`", "QoS", "retained", "content type", "expires after"), rows)


def broker_faults() -> str:
    """What goes wrong with brokers in tests/edge/test_broker_faults.py."""
    rows = [
        (row.fault, row.hears, row.holds)
        for row in (*_tests("fault_rows").ROWS, *_tests("fault_rows").SCRIPTS)
    ]
    return table(("fault", "what a subscriber sees", "what the ledger holds"), rows)


def _tests(name: str) -> Any:  # noqa: ANN401 - a module that is found by its path
    """Return a module of tests/ that holds nothing but data."""
    sys.path.append(str(DOCS.parent / "tests"))
    return importlib.import_module(name)


def event_types() -> str:
    """Every type of event with its own fields."""
    common = {field.encode_name for field in msgspec.structs.fields(events.Event)}
    rows = []
    for kind, union in (("progress", events.AnyProgress), ("outcome", events.AnyOutcome)):
        for struct in typing.get_args(union):
            own = [
                f"`{f.encode_name}`" for f in msgspec.structs.fields(struct) if f.encode_name not in common
            ]
            rows.append((f"`{struct.__struct_config__.tag}`", kind, " ".join(own) or "–"))
    return table(("type", "kind", "fields of its own"), rows)


def states() -> str:
    """The retained states and their fields."""
    shown: dict[str, type[msgspec.Struct]] = {
        "state": events.DaemonState,
        "model/<model>[/<user>]/state": events.ModelState,
        "task/<task>/state": events.TaskStateView,
    }
    rows = [(f"`{topic}`", _fields(struct)) for topic, struct in shown.items()]
    return table(("below `finetuned/<node>/`", "fields"), rows)


def requests() -> str:
    """What each verb takes."""
    rows = [(f"`{name}`", _body(verb.body), _sentence(verb.body)) for name, verb in VERBS.items()]
    return table(("verb", "body, besides `transaction` and `expires`", "does"), rows)


def _body(struct: type[msgspec.Struct]) -> str:
    parts = [
        f"`{field.encode_name}`{'' if field.required else ' (optional)'}: {_in_words(field.type)}"
        for field in msgspec.structs.fields(struct)
    ]
    return ", ".join(parts) or "nothing"


def _in_words(kind: Any) -> str:  # noqa: ANN401 - a type or a generic alias
    if typing.get_origin(kind) is typing.Annotated:
        return _in_words(typing.get_args(kind)[0])
    if typing.get_origin(kind) is dict:
        values = typing.get_args(kind)[1]
        names = typing.get_args(values) if isinstance(values, UnionType) else (values,)
        return f"object of {' or '.join(dict.fromkeys(WORDS[name] for name in names))}"
    if isinstance(kind, UnionType):
        return " or ".join(WORDS[name] for name in typing.get_args(kind) if name is not type(None))
    return WORDS[kind]


def _fields(struct: type[msgspec.Struct]) -> str:
    return " ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(struct))


def _sentence(documented: object) -> str:
    return str(documented.__doc__).partition("\n")[0]


# ── Home Assistant ──────────────────────────────────────────────────────────────────────────────
NEEDS = {"accuracy": "a classifier", "meanAbsoluteError": "a regressor"}


def entities() -> str:
    """What appears in Home Assistant, of the node and of every model and user."""
    names = words("names", "en")
    scopes = (("the node", node_entities("en")), ("a model", pair_entities("en")))
    rows = [
        (scope, names[each.key], each.platform.replace("_", " "), each.category or "–", _needed(each))
        for scope, found in scopes
        for each in found
    ]
    return table(("of", "entity", "platform", "category", "appears"), rows)


def _needed(entity: Entity) -> str:
    if not entity.needs:
        return "always"
    return f"for {NEEDS[entity.needs]}" if entity.needs in NEEDS else f"with a reading of `{entity.needs}`"


# ── the budget ──────────────────────────────────────────────────────────────────────────────────
MEANINGS = {
    "thermal": "the hottest zone of processor or SoC",
    "gpu": "the hottest accelerator",
    "power": "1 while the firmware says that supply or heat limits the processor",
    "battery": "charge, on battery",
    "memory": "time in which some process waits for memory (`some avg10`)",
    "memory/available": "memory that is available",
    "disk": "space that is free at the state folder",
    "cpuBusy": "load of other processes, averaged over `grace_s`",
    "schedule": "1 inside of a window, else 0",
    "idle": "since a person was last there",
}


def zones() -> str:
    """The zones with the trips that they have where nobody says otherwise; those that are off stand last."""
    asked = {
        "cpu_busy": {"enabled": True},
        "schedule": {"windows": ("22:00-06:00",)},
        "idle": {"after_s": 600.0},
    }
    on = {zone.name for zone in budget_of(BudgetSection()).zones}
    rows = [
        (
            f"`{zone.name}`{'' if zone.name in on else ' (off)'}",
            MEANINGS[zone.name],
            _trip(zone, zone.throttle),
            _trip(zone, zone.pause),
            _trip(zone, zone.resume, back=True),
            "yes" if zone.guards and zone.pause is not None else "no",
        )
        for zone in budget_of(BudgetSection.model_validate(asked)).zones
    ]
    return table(("zone", "reading", "throttles", "pauses", "goes on", "holds in `always`"), rows)


def _trip(zone: Zone, trip: float | None, *, back: bool = False) -> str:
    if trip is None:
        return "–"
    if math.isinf(trip):
        return "at once"
    side = "below" if (zone.kind is Kind.below) is not back else ("above" if back else "from")
    return f"{side} {trip:g} {QUANTITIES[zone.reason].unit}".strip()


def ladder() -> str:
    """The rungs, from full speed down."""
    rows = [
        (f"`{rung.pace}`", f"{rung.duty:g}", "all" if rung.cores == 1 else f"{rung.cores:.0%}")
        for rung in LADDER
    ]
    return table(("pace", "duty", "cores"), rows)


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def layers() -> str:
    """What becomes of each layer type that finetuned can run."""
    rows = [
        (f"`{name}`", "yes" if name in TRAINABLE else "no (neither can Core ML)", _passes(name))
        for name in sorted(LOWERINGS)
    ]
    return table(("layer", "can be trained", "lets the gradient pass"), rows)


def _passes(layer: str) -> str:
    beyond = "with `--beyond-coreml`"
    if layer == "activation":
        ours, more = CORE_ML.activations, BEYOND.activations - CORE_ML.activations
        return f"{', '.join(sorted(ours))}; {beyond} {', '.join(sorted(more))}"
    if layer == "softmax":
        return f"directly below a cross entropy; {beyond} anywhere"
    if layer not in BEYOND.layers:
        return "no (neither can Core ML)"
    return "yes" if layer in CORE_ML.layers else beyond


def later() -> str:
    """What Core ML updates and this version does not."""
    passed = " ".join(f"`{name}`" for name in sorted(NOT_YET))
    return table(("not yet", "types"), [("passed by a gradient", passed)])


def rules() -> str:
    """What `check` looks at, in its order."""
    groups: dict[str, Sequence[Callable[..., object]]] = {
        "every model": (*check.FILE_RULES, *check.UPDATE_RULES),
        "a network": check.NETWORK_RULES,
        "nearest neighbours": (*check.NEIGHBOR_RULES, neighbors.training_inputs),
        "a pipeline": check.PIPELINE_RULES,
    }
    rows = [(group, _sentence(rule)) for group, listed in groups.items() for rule in listed]
    return table(("of", "must be true"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "transitions": transitions,
    "diagram": diagram,
    "ways": ways,
    "broker-faults": broker_faults,
    "events": event_types,
    "states": states,
    "requests": requests,
    "entities": entities,
    "zones": zones,
    "ladder": ladder,
    "layers": layers,
    "later": later,
    "rules": rules,
}


def rendered(text: str) -> str:
    """Return the text with every generated part made anew; KeyError for an unknown one."""
    return BLOCK.sub(lambda found: f"{found[1]}{PARTS[found['name']]()}{found[3]}", text)


def main() -> None:
    """Write every document that has generated parts."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (again := rendered(text)) != text:
            path.write_text(again, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
