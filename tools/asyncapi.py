"""Write docs/asyncapi.yaml, all that the daemon says and hears, from the structs and tables in the code: `python tools/asyncapi.py`."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from asyncapi_fields import detailed
from finetuned import __version__
from finetuned.edge.payloads import VERBS, Envelope
from finetuned.edge.topics import OFFLINE, ONLINE, WAYS
from finetuned.service import events
from finetuned.service.messages import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json = dict[str, Any]

FILE = Path(__file__).parents[1] / "docs" / "asyncapi.yaml"
BASE = "{prefix}/{node}"
BINDING = "0.2.0"
TASK, NODE = "01JD8QZ5V6W7X8Y9ZABCDEFGHJ", "pi-3fa2"
EXAMPLES = yaml.safe_load(Path(__file__).with_name("asyncapi_examples.yaml").read_text(encoding="utf-8"))
NOT_RETAINED = "One that is retained is refused, and cleared by an empty retained message."
OUTCOMES, PROGRESS = typing.get_args(events.AnyOutcome), typing.get_args(events.AnyProgress)

PARAMETERS = {
    "prefix": ("The first level: `mqtt.prefix` in the configuration.", "finetuned"),
    "node": ("The host's name and four hex digits, made once and kept in the state folder.", NODE),
    "model": ("A model's name; whatever is not A-Z a-z 0-9 _ . - is %XX of its UTF-8.", "gestures"),
    "user": ("A user's name, escaped as a model's; with `mqtt.disclose` counts a made-up one.", "anna"),
    "task": ("A task's id.", TASK),
    "topic": ("What the asker has chosen, or the verb of a request that there is not.", "teleport"),
    "discovery": ("Home Assistant's own discovery prefix.", "homeassistant"),
    "device": ("The node, as an id for Home Assistant.", NODE),
}


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────
def schemas() -> Json:
    """Return the JSON Schemas of all payloads, by the name of the struct."""
    states = (events.DaemonState, events.ModelState, events.TaskStateView, Metrics)
    bodies = [verb.body for verb in VERBS.values()]
    answers = [verb.answer for verb in VERBS.values()]
    _, found = msgspec.json.schema_components(
        [*OUTCOMES, *PROGRESS, *states, *bodies, *answers], ref_template="#/components/schemas/{name}"
    )
    (_, envelope), *_ = msgspec.json.schema_components([Envelope])[1].items()
    for kind in OUTCOMES:
        schema = found[kind.__name__]
        row = {
            "type": "integer",
            "minimum": 1,
            "description": "The ledger's row: the same when it is sent again.",
        }
        schema["properties"] = {"id": row, **schema["properties"]}
        schema["required"] = ["id", *schema["required"]]
    for body in bodies:
        found[body.__name__] = _enveloped(found[body.__name__], envelope)
    return {name: _worded(detailed(name, schema)) for name, schema in sorted(found.items())} | _answers()


def _enveloped(body: Json, envelope: Json) -> Json:
    """Return the schema of a whole request."""
    return body | {
        "properties": {**envelope["properties"], **body["properties"]},
        "required": [*envelope["required"], *body.get("required", [])],
    }


def _worded(schema: Json) -> Json:
    """Return the schema with its description in one line, as a docstring's first words are."""
    return schema | {"description": " ".join(schema.get("description", "").split())}


def _answers() -> Json:
    transaction = {
        "type": "string",
        "description": "The request's; empty where it had none that could be read.",
    }
    refused = {
        "title": "Refusal",
        "description": "Nothing was done; `error` says why, and what is allowed.",
        "type": "object",
        "properties": {"transaction": transaction, "status": {"const": "error"}, "error": {"type": "string"}},
        "required": ["transaction", "status", "error"],
    }
    return {
        "Refusal": refused,
        "Availability": {"type": "string", "enum": [ONLINE.decode(), OFFLINE.decode()]},
        "Birth": {
            "description": "Home Assistant's own.",
            "type": "string",
            "examples": ["online", "offline"],
        },
        "Cleared": {"description": "Nothing is retained here any more.", "type": "string", "maxLength": 0},
        "Discovery": {
            "description": "Home Assistant's own format; empty: the device is gone.",
            "type": ["object", "string"],
        },
    } | {f"{verb.body.__name__}Response": _done(transaction, verb.answer) for verb in VERBS.values()}


def _done(transaction: Json, answer: type) -> Json:
    return {
        "title": f"{answer.__name__} as a response",
        "type": "object",
        "properties": {
            "transaction": transaction,
            "status": {"const": "ok"},
            "data": _schema(answer.__name__),
        },
        "required": ["transaction", "status", "data"],
    }


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


# ── messages ────────────────────────────────────────────────────────────────────────────────────
def messages() -> Json:
    """Return every message there is, by the name that channels refer to."""
    found = {kind.__struct_config__.tag: kind for kind in (*PROGRESS, *OUTCOMES)}
    told = {
        tag: _message(kind.__name__, {"type": tag, **EXAMPLES["events"][tag]}) for tag, kind in found.items()
    }
    asked = {
        f"{name}Request": _message(
            verb.body.__name__, {"transaction": "42", **EXAMPLES["requests"][name]}, correlated=True
        )
        for name, verb in VERBS.items()
    }
    answered = {
        f"{name}Response": _message(
            f"{verb.body.__name__}Response",
            {"transaction": "42", "status": "ok", "data": EXAMPLES["answers"][name]},
            correlated=True,
        )
        for name, verb in VERBS.items()
    }
    refusal = {
        "transaction": "42",
        "status": "error",
        "error": "there is no model named gesture; registered are: gestures",
    }
    return {
        "availability": _message("Availability", ONLINE.decode(), content=WAYS["availability"].content),
        "cleared": _message("Cleared", "", content=""),
        "daemonState": _message("DaemonState", EXAMPLES["states"]["daemonState"]),
        "modelState": _message("ModelState", EXAMPLES["states"]["modelState"]),
        "taskState": _message("TaskStateView", EXAMPLES["states"]["taskState"]),
        "discovery": _message("Discovery", {"device": {"identifiers": [NODE]}}),
        "birth": _message("Birth", "online", content=""),
        "refusal": _message("Refusal", refusal, correlated=True),
        **told,
        **asked,
        **answered,
    }


def _message(
    schema: str, example: Json | str, *, content: str = "application/json", correlated: bool = False
) -> Json:
    message: Json = {"name": schema, "payload": _schema(schema)}
    if correlated:
        message["correlationId"] = {"$ref": "#/components/correlationIds/transaction"}
    if content:
        message["contentType"] = content
        message["bindings"] = {"mqtt": {"contentType": content, "bindingVersion": BINDING}}
    return message | {"examples": [{"payload": example}]}


# ── channels and operations ─────────────────────────────────────────────────────────────────────
def channels() -> Json:
    """Return every topic that the daemon uses, by a name for it."""
    models = ("The state of a model, of nobody in particular.", "modelState", "cleared")
    users = ("The state of one user's model.", "modelState", "cleared")
    tasks = ("One task's progress while it lives.", "taskState", "cleared")
    found: dict[str, tuple[str, ...]] = {
        "availability": (
            "Whether the daemon is there: `online` on every connect; `offline` when it leaves, and as its last will.",
            "availability",
        ),
        "state": ("The daemon at a glance.", "daemonState"),
        "model/{model}/state": models,
        "model/{model}/{user}/state": users,
        "task/{task}/state": tasks,
    }
    for kind in (*PROGRESS, *OUTCOMES):
        tag = str(kind.__struct_config__.tag)
        found[f"event/{tag}"] = (_sentence(kind), tag)
    for name, verb in VERBS.items():
        found[f"request/{name}"] = (_sentence(verb.body), f"{name}Request")
        found[f"response/{name}"] = (f"The answers to {name}.", f"{name}Response", "refusal")
    answers = (f"{name}Response" for name in VERBS)
    found["response/{topic}"] = (
        "Any answer whose request names this as its response topic (MQTT 5), and the refusal of a verb that there is not.",
        *("refusal", *answers),
    )
    discovery = ("For Home Assistant, where its discovery is enabled.", "discovery")
    listed = {f"{BASE}/{below}": told for below, told in found.items()}
    listed["{discovery}/device/{device}/config"] = discovery
    listed["{discovery}/status"] = (
        "`online`: Home Assistant has come, and is told again what there is (where its discovery is enabled).",
        "birth",
    )
    return {_name(address): _channel(address, *told) for address, told in listed.items()}


def _channel(address: str, description: str, *names: str) -> Json:
    parameters = {
        name: {"$ref": f"#/components/parameters/{name}"} for name in re.findall(r"{(\w+)}", address)
    }
    told = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {"address": address, "description": description, "messages": told, "parameters": parameters}


def _name(address: str) -> str:
    """Return a channel's name: its levels below the node, `model/{model}/{user}/state` as `modelUser`."""
    below = address.removeprefix(f"{BASE}/")
    if below.startswith("{"):
        return "discovery" if below.endswith("/config") else "homeAssistantStatus"
    kind, *rest = re.sub(r"/state$|/{model}|/{task}", "", below).split("/")
    return kind + "".join(f"{each.strip('{}')[0].upper()}{each.strip('{}')[1:]}" for each in rest)


def operations(known: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield what the daemon does with each channel: it sends all but requests and Home Assistant's status."""
    for name, channel in known.items():
        kind = channel["address"].removeprefix(f"{BASE}/")
        asked = kind.startswith("request/")
        hears = asked or kind == "{discovery}/status"
        operation: Json = {"action": "receive" if hears else "send", "channel": _of_channel(name)}
        operation["summary"] = channel["description"]
        operation["messages"] = [_of_message(name, message) for message in channel["messages"]]
        if asked or not hears:  # how others' messages travel is theirs to say
            operation["bindings"] = {"mqtt": _way(kind)}
        if asked:
            operation["description"] = NOT_RETAINED
            verb = kind.partition("/")[2]
            answered = f"response{name.removeprefix('request')}"
            told = [_of_message(answered, message) for message in (f"{verb}Response", "refusal")]
            operation["reply"] = {"channel": _of_channel(answered), "messages": told}
        yield f"{'hear' if hears else 'say'}{name[0].upper()}{name[1:]}", operation


def _way(kind: str) -> Json:
    """Return how it travels, as the bridge does it; discovery as any state."""
    first = kind.partition("/")[0]
    way = WAYS.get(kind) or WAYS.get(first) or WAYS["state"]
    expiry = {} if way.expiry_s is None else {"messageExpiryInterval": way.expiry_s}
    return {"qos": way.qos, "retain": way.retain, **expiry, "bindingVersion": BINDING}


def _of_channel(name: str) -> Json:
    return {"$ref": f"#/channels/{name}"}


def _of_message(channel: str, message: str) -> Json:
    return {"$ref": f"#/channels/{channel}/messages/{message}"}


def _sentence(struct: type) -> str:
    return " ".join((struct.__doc__ or "").partition("\n\n")[0].split())


# ── the document ────────────────────────────────────────────────────────────────────────────────
def servers() -> Json:
    """Return the two brokers that there may be."""
    schemes = [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("password", "certificate")]
    return {
        "external": {
            "host": "{host}:{port}",
            "protocol": "mqtts",
            "protocolVersion": "5.0",
            "description": "The broker of `mqtt.host`; MQTT 3.1.1 where it has no more, without TLS where `mqtt.tls` says so.",
            "variables": {"host": {"default": "broker.example"}, "port": {"default": "8883"}},
            "security": schemes,
        },
        "embedded": {
            "host": "127.0.0.1:{port}",
            "protocol": "mqtt",
            "protocolVersion": "3.1.1",
            "description": "The daemon's own, where `mqtt.host` is empty; port, user and password lie in broker.json.",
            "variables": {
                "port": {"default": "1883", "description": "A free one, another with every start."}
            },
            "security": schemes[:1],
        },
    }


def document() -> Json:
    """Return the AsyncAPI document."""
    known = channels()
    parameters = {
        name: {"description": text, "examples": [example]} for name, (text, example) in PARAMETERS.items()
    }
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "finetuned",
            "version": __version__,
            "description": "What the daemon says and hears over MQTT; docs/mqtt.md tells it in prose. "
            "It is told from the daemon's side: it sends what stands as `send`, and a client of it receives that. "
            "A subscriber passes over keys and events that it does not know: later versions may have more.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": servers(),
        "channels": known,
        "operations": dict(operations(known)),
        "components": {
            "parameters": parameters,
            "correlationIds": {
                "transaction": {
                    "description": "A string of the asker's own.",
                    "location": "$message.payload#/transaction",
                }
            },
            "securitySchemes": {
                "password": {"type": "userPassword", "description": "From a file or a systemd credential."},
                "certificate": {"type": "X509", "description": "A client certificate, `mqtt.tls`."},
            },
            "messages": messages(),
            "schemas": schemas(),
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: what is the same twice stands there twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Never."""
        return True


def text() -> str:
    """Return the document as YAML, always the same for the same code."""
    written: str = yaml.dump(document(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated by tools/asyncapi.py.\n{written}"


def main() -> None:
    """Write it."""
    FILE.write_text(text(), encoding="utf-8")
    print(f"{FILE.name} is written")


if __name__ == "__main__":
    main()
