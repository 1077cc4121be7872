from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from announcements import HARMFUL, announced, announcer, content, model_state, states
from finetuned.edge.config import Config
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.homeassistant.announcer import HomeAssistant, announcers
from finetuned.edge.homeassistant.discovery import MOST_PAIRS
from finetuned.edge.homeassistant.identifiers import joined
from finetuned.edge.homeassistant.words import LANGUAGES, TABLES, words
from finetuned.edge.topics import Topics
from finetuned.policy.budget import Mode
from finetuned.policy.hysteresis import Pace
from finetuned.policy.zones import QUANTITIES
from finetuned.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable

HANDS = {"model/hands": model_state()}
CANDIDATE = {"model/hands": model_state(current=6, candidate=7)}
TOPIC, STATUS, PROMOTED = (
    "homeassistant/device/pi-3fa2/config",
    "homeassistant/status",
    "finetuned/pi-3fa2/response/promote",
)
REASONS = {"queued", "retry", "user", "mode", "shutdown", *QUANTITIES}
NAMES = ["a", "b", "A", "a-b", "a_b", "a__b", "a b", "a.b", "ü", "✊", "", "_", HARMFUL, "x" * 41, "x" * 42]


def parts(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = message["components"]
    return found


def transactions(message: dict[str, Any]) -> list[str]:
    """Return the transaction of every candidate that can be installed."""
    payloads = (part.get("payload_install") for part in parts(message).values())
    return [json.loads(payload)["transaction"] for payload in payloads if payload]


def many(models: int, users: int) -> dict[str, dict[str, Any]]:
    pairs = [
        (f"m{model}", user) for model in range(models) for user in ["", *(f"u{n}" for n in range(users))]
    ]
    return {f"model/{model}/{user}".rstrip("/"): model_state(model=model, user=user) for model, user in pairs}


# ── what is announced ───────────────────────────────────────────────────────────────────────────
def test_one_message_holds_the_device_and_all_its_entities() -> None:
    (notice,) = announcer().due(states(HANDS))
    message = json.loads(notice.payload)
    assert notice.topic == TOPIC
    assert message["device"]["identifiers"] == ["finetuned_pi-3fa2"]
    assert message["device"]["sw_version"] == message["origin"]["sw_version"] == "0.5.0"
    assert message["availability"] == [{"topic": "finetuned/pi-3fa2/availability"}]
    assert {"running", "mode", "event", "hands__train", "hands__candidate"} <= parts(message).keys()


def test_nothing_is_announced_before_the_daemon_has_told_its_state() -> None:
    shown = states(HANDS)
    del shown["state"]
    assert announcer().due(shown) == ()


def test_a_reading_appears_when_it_is_there_and_stays_when_its_sensor_fails() -> None:
    ours = announcer()
    assert "battery" not in parts(content(ours.due(states(HANDS))))
    assert "battery" in parts(content(ours.due(states(HANDS, {"battery": 88}))))
    assert ours.due(states(HANDS)) == ()


@pytest.mark.parametrize(
    ("kind", "metrics", "expected"),
    [
        ("neuralNetworkClassifier", None, {"accuracy"}),
        ("neuralNetworkRegressor", None, {"error"}),
        ("neuralNetwork", None, set()),
        ("neuralNetwork", {"samples": 3, "lossValue": 1.0, "meanAbsoluteError": 0.5}, {"error"}),
        (
            "neuralNetwork",
            {"samples": 3, "lossValue": 1.0, "accuracy": 0.5, "meanAbsoluteError": None},
            {"accuracy"},
        ),
    ],
)
def test_a_model_is_measured_by_what_its_kind_has(
    kind: str, metrics: dict[str, float | None] | None, expected: set[str]
) -> None:
    found = parts(announced({"model/hands": model_state(kind=kind, metrics=metrics)}))
    assert {name for name in ("accuracy", "error") if f"hands__{name}" in found} == expected


def test_no_name_from_outside_stands_in_a_template_or_leaves_its_topic() -> None:
    message = announced({f"model/hands/{HARMFUL}": model_state(user=HARMFUL, candidate=1)})
    for name, part in parts(message).items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", name)
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", part["unique_id"])
        texts = {key: text for key, text in part.items() if isinstance(text, str)}
        assert not [key for key, text in texts.items() if key.endswith("template") and "raw" in text]
        assert not [key for key, text in texts.items() if key.endswith("topic") and set(text) & set("#{ ")]


# ── names ───────────────────────────────────────────────────────────────────────────────────────
def pairs_of(names: Iterable[str]) -> list[tuple[str, ...]]:
    found = list(names)
    return [(one, "train") for one in found] + [(one, two, "train") for one in found for two in found]


def test_no_two_names_become_the_same_id() -> None:
    made = {joined(*pair) for pair in pairs_of(NAMES)}
    assert len(made) == len(pairs_of(NAMES))
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", each) for each in made)


def test_a_node_whose_name_is_no_id_has_a_topic_all_the_same() -> None:
    (notice,) = announcer(node="pi.local_1").due(states(HANDS))
    assert re.fullmatch(r"homeassistant/device/pi-local-1_[0-9a-f]{10}/config", notice.topic)
    assert parts(json.loads(notice.payload))["mode"]["command_topic"] == "finetuned/pi.local_1/request/mode"


# ── when ────────────────────────────────────────────────────────────────────────────────────────
def test_it_is_announced_again_only_when_it_says_something_else() -> None:
    ours = announcer()
    ours.due(states(HANDS))
    assert ours.due(states(HANDS)) == ()
    assert ours.due(states({"model/hands": model_state(task="01JD", progress=0.5, current=3)})) == ()
    assert ours.due(states(CANDIDATE)) != ()


def test_it_is_announced_again_on_a_new_connection_and_when_home_assistant_has_started() -> None:
    ours = announcer()
    ours.due(states(HANDS))
    ours.hear(STATUS, b"offline", retained=False)
    assert ours.due(states(HANDS)) == ()
    ours.hear(STATUS, b"online", retained=False)
    assert ours.due(states(HANDS)) != ()
    ours.begin()
    assert ours.due(states(HANDS)) != ()


def test_every_announcement_of_a_candidate_has_a_transaction_of_its_own() -> None:
    ours = announcer()
    first = content(ours.due(states(CANDIDATE)))
    none = content(ours.due(states({"model/hands": model_state(current=7)})))
    second = content(ours.due(states(CANDIDATE)))
    assert transactions(none) == []
    assert len({*transactions(first), *transactions(second)}) == 2
    assert json.loads(parts(second)["hands__candidate"]["payload_install"])["version"] == 7


def test_a_candidate_that_was_refused_can_be_tried_again() -> None:
    ours = announcer()
    (first,) = transactions(content(ours.due(states(CANDIDATE))))
    for transaction, status, again in (
        ("another's", "error", False),
        (first, "ok", False),
        (first, "error", True),
    ):
        said = json.dumps({"transaction": transaction, "status": status, "error": "no"}).encode()
        ours.hear(PROMOTED, said, retained=False)
        assert bool(ours.due(states(CANDIDATE))) is again


def test_it_is_announced_on_an_external_broker_alone_and_where_it_is_wanted() -> None:
    on, off = {"mqtt": {"host": "broker"}}, {"homeassistant": {"enabled": False}}
    assert [len(announcers(Config.model_validate(each), "pi-3fa2")) for each in (on, {}, off, on | off)] == [
        1,
        0,
        0,
        0,
    ]
    ours, theirs = on | {"homeassistant": {"prefix": "ha", "language": "nl"}}, states(HANDS)
    (notice,) = announcers(Config.model_validate(ours), "pi-3fa2")[0].due(theirs)
    assert notice.topic == "ha/device/pi-3fa2/config"
    assert json.loads(notice.payload)["components"]["warnings"]["name"] == "Waarschuwingen"


@pytest.mark.parametrize(("level", "pairs"), [("counts", 2), ("none", 1)])
def test_what_is_not_told_to_others_is_not_told_to_home_assistant(level: str, pairs: int) -> None:
    users = HANDS | {"model/hands/anna": model_state(user="anna", samples={"rock": 3}, candidate=1)}
    disclosure = Disclosure(level=level, key=b"k" * 32)
    shown = (disclosure.state(key, payload) for key, payload in states(users).items())
    (notice,) = announcer().due(dict(each for each in shown if each))
    assert len(told(json.loads(notice.payload))) == pairs
    assert b"anna" not in notice.payload
    assert b"rock" not in notice.payload


# ── what goes ───────────────────────────────────────────────────────────────────────────────────
def test_entities_of_a_forgotten_model_are_taken_back_once_and_then_left_out() -> None:
    ours = announcer()
    ours.due(states(HANDS | {"model/lawn": model_state(model="lawn")}))
    found = parts(content(ours.due(states(HANDS))))
    assert found["lawn__train"] == {"platform": "button"}
    assert found["lawn__candidate"] == {"platform": "update"}
    ours.begin()
    assert not [name for name in parts(content(ours.due(states(HANDS)))) if name.startswith("lawn")]


def test_what_an_earlier_run_announced_is_taken_back() -> None:
    ours = announcer()
    (before,) = announcer().due(states({"model/lawn": model_state(model="lawn")}))
    ours.hear(TOPIC, before.payload, retained=True)
    found = parts(content(ours.due(states(HANDS))))
    assert found["lawn__train"] == {"platform": "button"}
    assert len(found["hands__train"]) > 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b'{"components": 3}',
        b'{"components": {"x": {"platform": 7, "y": 1}}}',
        b"\xff" * 9,
        b"[" * 5000,
    ],
)
@pytest.mark.parametrize("topic", [TOPIC, STATUS, PROMOTED])
def test_garbage_on_its_topics_changes_nothing(topic: str, payload: bytes) -> None:
    ours = announcer()
    ours.due(states(HANDS))
    ours.hear(topic, payload, retained=True)
    assert ours.due(states(HANDS)) == ()


def test_what_is_new_comes_before_what_is_as_it_was() -> None:
    ours = announcer()
    ours.due(states(HANDS))
    found = list(parts(content(ours.due(states(HANDS | {"model/lawn": model_state(model="lawn")})))))
    assert found[0].startswith("lawn")
    assert not [name for name in found[len(found) // 2 :] if name.startswith("lawn")]


# ── too many ────────────────────────────────────────────────────────────────────────────────────
def told(message: dict[str, Any]) -> set[str]:
    return {name.removesuffix("__train") for name in parts(message) if name.endswith("__train")}


def test_too_many_users_are_left_out_and_that_is_logged_once() -> None:
    ours = announcer()
    with capture_logs() as logs:
        found = told(content(ours.due(states(many(models=4, users=20)))))
        ours.begin()
        ours.due(states(many(models=4, users=20)))
    assert found == {"m0", "m1", "m2", "m3"}
    assert len(logs) == 1
    assert told(announced(many(models=2, users=20))) > {"m0", "m0__u19", "m1"}


def test_too_many_models_are_as_many_as_there_may_be() -> None:
    assert len(told(announced(many(models=MOST_PAIRS + 9, users=1)))) == MOST_PAIRS


def test_the_longest_names_do_not_make_a_message_that_cannot_be_read_back() -> None:
    names = [f"{number}{'✊' * 39}" for number in range(MOST_PAIRS)]
    (notice,) = announcer().due(states({f"model/{name}": model_state(model=name) for name in names}))
    assert 300_000 < len(notice.payload) < 1_000_000


# ── words ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_state_pace_and_mode_has_a_word_and_no_two_have_the_same(language: str) -> None:
    wanted = {"reasons": REASONS, "states": {"idle", *TaskState}, "paces": set(Pace), "modes": set(Mode)}
    for table, keys in wanted.items():
        found = words(table, language)
        assert found.keys() == keys
        assert len(set(found.values())) == len(found)
    assert all(row[LANGUAGES.index(language)].strip() for table in TABLES.values() for row in table.values())


def test_an_entity_s_id_is_the_same_in_every_language_and_its_name_is_not() -> None:
    english, german = (parts(announced(HANDS, language=each)) for each in ("en", "de"))
    assert [each["default_entity_id"] for each in english.values()] == [
        each["default_entity_id"] for each in german.values()
    ]
    assert german["hands__accuracy"]["name"] == "hands Genauigkeit"


def test_it_listens_to_its_announcement_to_home_assistant_and_to_what_became_of_installing() -> None:
    ours = HomeAssistant(Topics("finetuned", "pi-3fa2"), "homeassistant", "en")
    assert ours.filters == (TOPIC, STATUS, PROMOTED)
