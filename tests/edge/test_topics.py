from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from finetuned.edge.topics import Topics, level, name_of

TOPICS = Topics("finetuned", "pi-3fa2")


@given(st.text(min_size=1))
def test_any_name_becomes_one_harmless_level_and_can_be_had_back(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.%-]+", level(name))
    assert name_of(level(name)) == name


@given(st.text(min_size=1).filter(lambda name: "/" not in name), st.text(min_size=1), st.text(min_size=1))
def test_no_name_adds_a_level_matches_anothers_topic_or_hides_one(name: str, other: str, verb: str) -> None:
    topic = TOPICS.state(f"model/{name}")
    assert topic.count("/") == 4
    assert topic_matches_sub(f"{TOPICS.base}/model/+/state", topic)
    assert topic_matches_sub(topic, TOPICS.state(f"model/{level(other)}")) == (
        level(name) == level(level(other))
    )
    assert TOPICS.below(TOPICS.response(verb)).count("/") == 1
    assert (level(name) == level(other)) == (name == other)
    assert Topics("finetuned", name).base.count("/") == 1


@pytest.mark.parametrize(
    ("key", "topic"),
    [
        ("state", "finetuned/pi-3fa2/state"),
        ("model/gestures", "finetuned/pi-3fa2/model/gestures/state"),
        ("model/gestures/anna+#", "finetuned/pi-3fa2/model/gestures/anna%2B%23/state"),
        ("task/01JD8Q", "finetuned/pi-3fa2/task/01JD8Q/state"),
    ],
)
def test_a_state_has_its_topic(key: str, topic: str) -> None:
    assert TOPICS.state(key) == topic


@pytest.mark.parametrize(
    ("topic", "qos", "retain"),
    [
        (TOPICS.availability, 1, True),
        (TOPICS.state("state"), 1, True),
        (TOPICS.state("model/gestures/anna"), 1, True),
        (TOPICS.state("task/01JD8Q"), 1, True),
        (TOPICS.event("miniBatchEnd"), 0, False),
        (TOPICS.event("epochEnd"), 1, False),
        (TOPICS.event("completed"), 1, False),
        (TOPICS.response("train"), 1, False),
    ],
)
def test_a_topic_travels_as_documented(topic: str, qos: int, *, retain: bool) -> None:
    assert (TOPICS.way(topic).qos, TOPICS.way(topic).retain) == (qos, retain)


def test_another_nodes_topic_is_none_of_ours() -> None:
    assert Topics("finetuned", "pi").below("finetuned/pi-3fa2/state") == ""
