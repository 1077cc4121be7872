from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from announcements import (
    HANDS,
    HARMFUL,
    PROMOTED,
    STATUS,
    TOPIC,
    announced,
    announcer,
    content,
    model_state,
    parts,
    states,
)
from finetuned.edge.config import Config
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.homeassistant.announcer import (
    HomeAssistant,
    Withdrawal,
    announcers,
)
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

REASONS = {"queued", "retry", "user", "mode", "shutdown", *QUANTITIES}
NAMES = ["a", "b", "A", "a-b", "a_b", "a__b", "a b", "a.b", "ü", "✊", "", "_", HARMFUL, "x" * 41, "x" * 42]


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
        ("neuralNetwork", None, {"error"}),
        ("neuralNetwork", {"samples": 3, "lossValue": 1.0, "meanAbsoluteError": 0.5}, {"error"}),
        (
            "neuralNetwork",
            {"samples": 3, "lossValue": 1.0, "accuracy": 0.5, "meanAbsoluteError": None},
            {"accuracy", "error"},
        ),
    ],
)
def test_a_model_is_measured_by_what_its_kind_has(
    kind: str, metrics: dict[str, float | None] | None, expected: set[str]
) -> None:
    found = parts(announced({"model/hands": model_state(kind=kind, metrics=metrics)}))
    assert {name for name in ("accuracy", "error") if f"hands__{name}" in found} == expected


@pytest.mark.parametrize("metric", ["accuracy", "meanAbsoluteError"])
def test_what_was_measured_stays_when_a_model_is_rolled_back_to_its_base(metric: str) -> None:
    ours, measured = announcer(), {"samples": 3, "lossValue": 1.0, metric: 0.5}
    ours.due(states({"model/hands": model_state(kind="neuralNetwork", metrics=measured, current=1)}))
    back = content(ours.due(states({"model/hands": model_state(kind="neuralNetwork", candidate=1)})))
    assert parts(back)["hands__accuracy" if metric == "accuracy" else "hands__error"].keys() > {"platform"}


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


# ── to whom ─────────────────────────────────────────────────────────────────────────────────────
def test_it_is_announced_on_an_external_broker_alone_and_where_it_is_wanted() -> None:
    on, off = {"mqtt": {"host": "broker"}}, {"homeassistant": {"enabled": False}}
    found = [announcers(Config.model_validate(each), "pi-3fa2") for each in (on, {}, off, on | off)]
    assert [[type(each) for each in some] for some in found] == [[HomeAssistant], [], [], [Withdrawal]]
    ours, theirs = on | {"homeassistant": {"prefix": "ha", "language": "nl"}}, states(HANDS)
    (notice,) = announcers(Config.model_validate(ours), "pi-3fa2")[0].due(theirs)
    assert notice.topic == "ha/device/pi-3fa2/config"
    assert json.loads(notice.payload)["components"]["warnings"]["name"] == "Waarschuwingen"


def test_where_it_is_not_wanted_any_more_what_is_retained_of_ours_is_cleared_once() -> None:
    (before,) = announcer().due(states(HANDS))
    ours = Withdrawal(Topics("finetuned", "pi-3fa2"), "homeassistant")
    assert ours.filters == (TOPIC,)
    for payload in (b"", b"{", b'{"origin": {"name": "another"}}', b'{"origin": 3}'):
        ours.hear(TOPIC, payload, retained=True)
        assert ours.due({}) == ()
    ours.hear(TOPIC, before.payload, retained=True)
    (notice,) = ours.due({})
    assert (notice.topic, notice.payload) == (TOPIC, b"")
    ours.hear(TOPIC, b"", retained=False)
    assert ours.due({}) == ()


@pytest.mark.parametrize(("level", "pairs"), [("counts", 2), ("none", 1)])
def test_what_is_not_told_to_others_is_not_told_to_home_assistant(level: str, pairs: int) -> None:
    users = HANDS | {"model/hands/anna": model_state(user="anna", samples={"rock": 3}, candidate=1)}
    disclosure = Disclosure(level=level, key=b"k" * 32)
    shown = (disclosure.state(key, payload) for key, payload in states(users).items())
    (notice,) = announcer().due(dict(each for each in shown if each))
    assert len(told(json.loads(notice.payload))) == pairs
    assert b"anna" not in notice.payload
    assert b"rock" not in notice.payload


# ── too many ────────────────────────────────────────────────────────────────────────────────────
def told(message: dict[str, Any]) -> set[str]:
    return {name.removesuffix("__train") for name in parts(message) if name.endswith("__train")}


def test_a_model_of_which_nobody_has_anything_is_left_out_where_it_has_users() -> None:
    bare = {"model": "hands", "samples": {"rock": 0}}
    anna = {"model/hands/anna": model_state(user="anna")}
    assert told(announced({"model/hands": model_state(**bare)})) == {"hands"}
    assert told(announced({"model/hands": model_state(**bare)} | anna)) == {"hands__anna"}
    lawn = {"model/lawn": model_state(model="lawn", samples={})}
    assert told(announced({"model/hands": model_state(**bare)} | anna | lawn)) == {"hands__anna", "lawn"}
    for something in ({"samples": 3}, {"current": 1}, {"candidate": 2}, {"task": "01JD"}):
        assert told(announced({"model/hands": model_state(**bare | something)} | anna)) == {
            "hands",
            "hands__anna",
        }


def test_a_model_s_first_sample_is_no_reason_to_announce_it_again() -> None:
    ours = announcer()
    ours.due(states({"model/hands": model_state(samples={})}))
    assert ours.due(states({"model/hands": model_state(samples={"rock": 1})})) == ()


def test_of_too_many_models_and_users_the_first_are_told_and_that_is_logged_once() -> None:
    ours = announcer()
    with capture_logs() as logs:
        found = told(content(ours.due(states(many(models=4, users=20)))))
        ours.begin()
        ours.due(states(many(models=4, users=20)))
    assert len(found) == MOST_PAIRS
    assert found > {"m0", "m1", "m2", "m3", "m0__u0", "m3__u0"}
    assert len(logs) == 1
    assert told(announced(many(models=2, users=20))) > {"m0", "m0__u19", "m1"}


def test_models_come_before_users() -> None:
    assert told(announced(many(models=MOST_PAIRS + 9, users=1))) <= {f"m{number}" for number in range(60)}


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
