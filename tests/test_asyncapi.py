"""docs/asyncapi.yaml: it is what the code says, the official parser takes it, and its examples are what it describes."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from finetuned.edge.topics import WAYS, Topics
from shared import missing

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "asyncapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
MODULES = os.environ.get("FINETUNED_NODE_MODULES", "")


def of(reference: dict[str, str]) -> Any:  # noqa: ANN401 - any part of the document
    """Return what a reference leads to."""
    found: Any = DOCUMENT
    for step in reference["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_it_is_what_the_code_says() -> None:
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


@pytest.mark.parametrize("name", DOCUMENT["operations"])
def test_an_operation_travels_as_the_bridge_sends_it(name: str) -> None:
    operation = DOCUMENT["operations"][name]
    topics, bindings = Topics("{prefix}", "{node}"), operation["bindings"]["mqtt"]
    below = of(operation["channel"])["address"].removeprefix("{prefix}/{node}/")
    way = WAYS["state"] if below.startswith("{") else topics.way(f"{topics.base}/{below}")
    assert (bindings["qos"], bindings["retain"], bindings.get("messageExpiryInterval")) == (
        way.qos,
        way.retain,
        way.expiry_s,
    )
    assert operation["action"] == ("receive" if below.startswith("request/") else "send")
    assert ("reply" in operation) == (operation["action"] == "receive")
