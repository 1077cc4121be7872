"""The discovery message against Home Assistant's own schemas, its templates in its own engine."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from announcements import HARMFUL, announced, daemon_state, model_state
from finetuned.edge.homeassistant.words import LANGUAGES, words
from homes import SCRIPTS, homeassistant_python

if TYPE_CHECKING:
    from collections.abc import Mapping

MEASURED = {"samples": 15, "accuracy": 0.8, "lossValue": 0.4}
MODEL = model_state(current=6, candidate=7, metrics=MEASURED, candidateMetrics=MEASURED | {"accuracy": 0.75})
RUNNING = model_state(task="01JD", taskState="running", reasons=["thermal"], progress=0.361, lossValue=0.21)
EVERY_REASON = daemon_state(reasons=[*words("reasons", "en"), "a plugin's own"], warnings=["hot"])
COMPLETED = {"type": "completed", "id": 872, "model": "hands", "version": 7, "promotion": "kept"}
# What there may be on a topic: states as they are, what was left out or is null, cleared, and no JSON at all.
PAYLOADS = {
    "daemon": msgspec.json.encode(daemon_state(readings={"thermal": 51.2, "battery": 88})).decode(),
    "reasons": msgspec.json.encode(EVERY_REASON).decode(),
    "model": msgspec.json.encode(MODEL).decode(),
    "running": msgspec.json.encode(RUNNING).decode(),
    "event": json.dumps(COMPLETED),
    "again": json.dumps({**COMPLETED, "id": 871}),
    "progress": json.dumps({"type": "miniBatchEnd", "task": "01JD", "step": 3}),
    "bare": "{}",
    "nulls": json.dumps(dict.fromkeys((*daemon_state(), *model_state()))),
    "counted": json.dumps({**model_state(), "samples": 30}),
    "cleared": "",
    "garbage": "{",
}


@cache
def examinations() -> Mapping[str, Any]:
    """Return, by language, what Home Assistant says of a node with a classifier, a regressor and a user with a harmful name."""
    states = {
        "model/hands": MODEL,
        f"model/hands/{HARMFUL}": model_state(user=HARMFUL, candidate=1),
        "model/lawn": model_state(model="lawn", kind="neuralNetworkRegressor"),
    }
    readings = {"thermal": 51.2, "gpu": 60.0, "battery": 88}
    messages = {each: announced(states, readings=readings, language=each) for each in LANGUAGES}
    done = subprocess.run(
        [homeassistant_python(), str(SCRIPTS / "validate.py")],
        input=json.dumps({"messages": messages, "payloads": list(PAYLOADS.values())}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def examined(language: str = "en") -> Mapping[str, Any]:
    found: Mapping[str, Any] = examinations()[language]
    return found


def shown(component: str, payload: str, key: str = "value_template", language: str = "en") -> str:
    """Return what a template of a component shows of a payload."""
    text: str = examined(language)["shown"][component][key][list(PAYLOADS).index(payload)]
    return text


def requested(component: str) -> list[dict[str, Any]]:
    """Return the requests that a component writes."""
    return [json.loads(text) for text in examined()["shown"][component]["command_template"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_home_assistant_takes_the_message_and_renders_every_template_without_a_word(language: str) -> None:
    assert examined(language)["errors"] == []


def test_no_entity_shows_an_unknown_value_as_text() -> None:
    texts = [
        (name, key, payload, text)
        for name, templates in examined()["shown"].items()
        for key, rendered in templates.items()
        if key != "command_template"
        for payload, text in zip(PAYLOADS, rendered, strict=True)
    ]
    assert [each for each in texts if "None" in each[3] and each[3] != "None"] == []
    assert [each for each in texts if "undefined" in each[3].lower()] == []


@pytest.mark.parametrize(
    ("component", "payload", "text"),
    [
        ("running", "daemon", "OFF"),
        ("pace", "daemon", "full"),
        ("reasons", "daemon", "nothing"),
        ("temperature", "daemon", "51.2"),
        ("battery", "bare", "None"),
        ("mode", "daemon", "auto"),
        ("mode", "cleared", "None"),
        ("warnings", "reasons", "ON"),
        ("hands__progress", "running", "36.1"),
        ("hands__progress", "cleared", "None"),
        ("hands__task", "running", "running"),
        ("hands__loss", "running", "0.21"),
        ("hands__loss", "model", ""),  # a number stays as it was
        ("hands__accuracy", "model", "80.0"),
        ("hands__accuracy", "running", "None"),
        ("hands__version", "running", "0"),
        ("hands__samples", "model", "20"),
        ("hands__samples", "counted", "30"),
        ("event", "progress", ""),
        ("event", "again", ""),
        ("event", "cleared", ""),
    ],
)
def test_an_entity_shows(component: str, payload: str, text: str) -> None:
    assert shown(component, payload) == text


def test_reasons_are_words_that_fit_into_a_state() -> None:
    assert shown("reasons", "reasons").startswith("the queue, a lost worker, a person, heat, ")
    assert shown("reasons", "reasons", language="de").startswith("die Warteschlange, ")
    assert max(len(shown("reasons", "reasons", language=each)) for each in LANGUAGES) == 250


def test_an_outcome_is_an_event_with_all_its_fields() -> None:
    assert json.loads(shown("event", "event")) == {**COMPLETED, "event_type": "completed"}


def test_an_update_knows_both_versions_and_how_good_the_present_one_is() -> None:
    assert json.loads(shown("hands__candidate", "model")) == {
        "installed_version": "6",
        "latest_version": "7",
        "release_summary": "candidate: accuracy 75.0 %. in use: accuracy 80.0 %.",
    }
    assert json.loads(shown("hands__candidate", "running"))["latest_version"] == "0"


def test_a_task_can_be_paused_while_there_is_one_and_trained_while_there_is_none() -> None:
    assert shown("hands__pause", "running", "availability") == "online"
    assert shown("hands__pause", "model", "availability") == "offline"
    assert shown("hands__train", "running", "availability") == "offline"
    assert shown("hands__train", "model", "availability") == "online"
    assert shown("hands__train", "cleared", "availability") == "offline"


def test_a_button_writes_the_request_whatever_the_user_is_called() -> None:
    (pause,) = requested("hands__pause")
    assert pause.pop("transaction").startswith("ha-")
    assert pause == {"task": "01JD"}
    harmful = next(name for name in examined()["shown"] if name.count("__") == 2 and name.endswith("__train"))
    (train,) = requested(harmful)
    assert (train["model"], train["user"]) == ("hands", HARMFUL)


def test_the_select_writes_the_mode_behind_the_word() -> None:
    assert [each["mode"] for each in requested("mode")] == ["auto", "always", "never"]
    german = examined("de")["shown"]["mode"]["command_template"]
    assert [json.loads(text)["mode"] for text in german] == ["auto", "always", "never"]
