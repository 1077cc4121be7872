"""docs/asyncapi.yaml: it is what the code says, the official parser takes it, and its examples are what it describes."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import Draft7Validator

from finetuned.edge.topics import WAYS, Topics
from finetuned.policy.budget import Mode
from finetuned.policy.hysteresis import Pace
from finetuned.states import TaskState
from shared import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "asyncapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
MODULES = os.environ.get("FINETUNED_NODE_MODULES", "")


def of(reference: dict[str, str]) -> Any:  # noqa: ANN401 - any part of the document
    """Return what a reference leads to."""
    found: Any = DOCUMENT
    for step in reference["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_it_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    written = runpy.run_path(str(ROOT / "tools" / "asyncapi.py"))["text"]()
    assert written == FILE.read_text(encoding="utf-8"), "run: python tools/asyncapi.py"


def test_asyncapis_own_parser_has_nothing_against_it() -> None:
    if not (Path(MODULES) / "@asyncapi" / "parser").is_dir() or not MODULES:
        missing("left out: @asyncapi/parser is not in FINETUNED_NODE_MODULES (npm install @asyncapi/parser)")
    done = subprocess.run(
        ["node", str(ROOT / "tests" / "asyncapi.cjs"), str(FILE)],
        env={**os.environ, "NODE_PATH": MODULES},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_shows_an_example_and_that_is_what_its_schema_describes(name: str) -> None:
    schema = {**MESSAGES[name]["payload"], "components": DOCUMENT["components"]}
    (example,) = MESSAGES[name]["examples"]
    Draft7Validator(schema).validate(example["payload"])
    known = of(MESSAGES[name]["payload"]).get("properties")
    assert known is None or example["payload"].keys() <= known.keys()


def test_every_message_and_every_schema_is_used() -> None:
    told = [of(ref) for channel in DOCUMENT["channels"].values() for ref in channel["messages"].values()]
    assert all(message in told for message in MESSAGES.values())
    text = FILE.read_text(encoding="utf-8")
    assert [name for name in DOCUMENT["components"]["schemas"] if f"schemas/{name}'" not in text] == []


def fields() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every field of every payload: its struct, its name, its schema."""
    for struct, schema in DOCUMENT["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            yield struct, name, field


def test_what_is_asked_is_closed_and_what_the_daemon_says_may_become_more() -> None:
    closed = [(struct, name) for struct, name, field in fields() if "enum" in field and name != "type"]
    assert closed == [("Mode", "mode")]
    assert SCHEMAS["Mode"]["properties"]["mode"]["enum"] == list(Mode)
    assert set(SCHEMAS["TaskStateView"]["properties"]["state"]["examples"]) == set(TaskState)
    assert SCHEMAS["ModelState"]["properties"]["taskState"]["examples"] == ["idle", *TaskState]
    assert SCHEMAS["TaskCompleted"]["properties"]["promotion"]["examples"] == ["promoted", "kept"]
    for struct in "DaemonState", "TaskStateView", "Paused":
        assert SCHEMAS[struct]["properties"]["pace"]["examples"] == list(Pace)
        assert "user" in SCHEMAS[struct]["properties"]["reasons"]["items"]["examples"]


def test_times_digests_and_measures_say_what_they_are() -> None:
    formats = {(struct, name) for struct, name, field in fields() if "date-time" in repr(field)}
    named = {(struct, name) for struct, name, _ in fields() if name in {"ts", "expires", "savedAt"}}
    assert formats == named
    assert {struct for struct, name in named if name == "expires"} >= {"Train", "Status"}
    for payload, is_one in (("0" * 64, True), ("0" * 63, False), ("G" * 64, False)):
        assert Draft7Validator(SCHEMAS["ModelSaved"]["properties"]["sha256"]).is_valid(payload) is is_one
    metrics = Draft7Validator(SCHEMAS["MiniBatchEnd"]["properties"]["metrics"])
    whole = {"epochIndex": 1, "miniBatchIndex": 2, "lossValue": 0.5}
    assert metrics.is_valid({**whole, "later": 0.5})
    assert not metrics.is_valid({**whole, "epochIndex": 0.5})
    assert not metrics.is_valid({"epochIndex": 1})


def test_numbers_are_one_type_and_descriptions_speak_as_payloads_do() -> None:
    unions = [found for found in nested(SCHEMAS, "anyOf") if {"type": "number"} in found]
    assert unions
    assert [found for found in unions if {"type": "integer"} in found] == []
    words = " ".join(found for found in nested(DOCUMENT, "description") if isinstance(found, str))
    assert re.findall(r"`[a-z]+_[a-z_]+`", words) == []


def nested(value: Any, key: str) -> Iterator[Any]:  # noqa: ANN401 - any part of the document
    """Yield all that stands under a key, at any depth."""
    if isinstance(value, dict):
        yield from ([value[key]] if key in value else [])
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nested(each, key)


def test_a_client_that_is_made_of_it_says_nothing_in_the_daemons_place() -> None:
    assert list(nested(DOCUMENT, "lastWill")) == []
    assert "as its last will" in DOCUMENT["channels"]["availability"]["description"]
    assert "from the daemon's side" in DOCUMENT["info"]["description"]


@pytest.mark.parametrize("name", DOCUMENT["operations"])
def test_an_operation_travels_as_the_bridge_sends_it(name: str) -> None:
    operation = DOCUMENT["operations"][name]
    below = of(operation["channel"])["address"].removeprefix("{prefix}/{node}/")
    if below == "{discovery}/status":
        assert (operation["action"], "bindings" in operation) == ("receive", False)
        return
    topics, bindings = Topics("{prefix}", "{node}"), operation["bindings"]["mqtt"]
    way = WAYS["state"] if below.startswith("{") else topics.way(f"{topics.base}/{below}")
    assert (bindings["qos"], bindings["retain"], bindings.get("messageExpiryInterval")) == (
        way.qos,
        way.retain,
        way.expiry_s,
    )
    assert operation["action"] == ("receive" if below.startswith("request/") else "send")
    assert ("reply" in operation) == (operation["action"] == "receive")
