"""When the node is announced to Home Assistant, and what is taken back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from announcements import (
    CANDIDATE,
    HANDS,
    PROMOTED,
    STATUS,
    TOPIC,
    Clock,
    announcer,
    content,
    model_state,
    parts,
    states,
    transactions,
)
from finetuned.edge.homeassistant.announcer import MOST_BYTES, MOST_THERE, SETTLED_S
from finetuned.edge.homeassistant.discovery import MOST_PAIRS

if TYPE_CHECKING:
    from finetuned.edge.announcing import Notice


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


def test_what_is_announced_is_announced_once_more_when_it_is_calm() -> None:
    clock = Clock()
    ours = announcer(clock=clock)
    ours.due(states(HANDS))
    clock.now += SETTLED_S - 1
    assert ours.due(states(HANDS)) == ()
    clock.now += 1
    assert ours.due(states(HANDS)) != ()
    for _ in range(9):
        clock.now += SETTLED_S
        assert ours.due(states(HANDS)) == ()


@pytest.mark.parametrize("cause", ["birth", "refusal"])
def test_nobody_makes_it_announce_more_often_than_once_a_second(cause: str) -> None:
    clock = Clock()
    ours = announcer(clock=clock)
    last = content(ours.due(states(CANDIDATE)))
    said = 0
    for _ in range(200):
        clock.now += 0.05
        (transaction,) = transactions(last)
        refusal = json.dumps({"transaction": transaction, "status": "error"}).encode()
        topic, payload = {"birth": (STATUS, b"online"), "refusal": (PROMOTED, refusal)}[cause]
        ours.hear(topic, payload, retained=False)
        if notices := ours.due(states(CANDIDATE)):
            last, said = content(notices), said + 1
    assert 9 <= said <= 11


def test_a_flood_of_births_does_not_keep_the_names_of_what_has_gone() -> None:
    clock = Clock()
    ours = announcer(clock=clock)
    ours.due(states(HANDS | {"model/hands/anna": model_state(user="anna")}))
    last = b"anna"
    for _ in range(int(3 * SETTLED_S)):
        clock.now += 1.0
        ours.hear(STATUS, b"online", retained=False)
        for notice in ours.due(states(HANDS)):
            last = notice.payload
    assert b"anna" not in last


def test_a_refusal_of_another_announcement_s_candidate_is_old_news() -> None:
    ours = announcer()
    (first,) = transactions(content(ours.due(states(CANDIDATE))))
    ours.begin()
    ours.due(states(CANDIDATE))
    for transaction in (first, "ha-install", "ha-install-1"):
        ours.hear(
            PROMOTED, json.dumps({"transaction": transaction, "status": "error"}).encode(), retained=False
        )
        assert ours.due(states(CANDIDATE)) == ()


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


# ── what goes ───────────────────────────────────────────────────────────────────────────────────
def named(notices: tuple[Notice, ...]) -> dict[str, bool]:
    """Return which of the models the one announcement names, and whether as one that is there."""
    found = parts(content(notices))
    return {name.removesuffix("__train"): len(found[name]) > 1 for name in found if name.endswith("__train")}


def test_all_that_has_gone_is_taken_back_until_it_is_calm_and_then_left_out() -> None:
    clock = Clock()
    ours = announcer(clock=clock)
    both = {"model/hands/anna": model_state(user="anna"), "model/lawn": model_state(model="lawn")}
    ours.due(states(HANDS | both))
    found = parts(content(ours.due(states(HANDS | {"model/lawn": both["model/lawn"]}))))
    assert found["hands__anna__train"] == {"platform": "button"}
    assert found["hands__anna__candidate"] == {"platform": "update"}
    clock.now += SETTLED_S / 2
    ours.begin()
    gone = {"hands": True, "hands__anna": False, "lawn": False}
    assert named(ours.due(states(HANDS))) == gone
    clock.now += SETTLED_S
    assert named(ours.due(states(HANDS))) == gone
    assert ours.due(states(HANDS)) == ()
    clock.now += SETTLED_S
    assert named(ours.due(states(HANDS))) == {"hands": True}
    clock.now += SETTLED_S
    assert ours.due(states(HANDS)) == ()


def test_what_has_gone_and_come_back_is_there() -> None:
    clock = Clock()
    ours, lawn = announcer(clock=clock), {"model/lawn": model_state(model="lawn")}
    ours.due(states(HANDS | lawn))
    ours.due(states(HANDS))
    assert named(ours.due(states(HANDS | lawn))) == {"hands": True, "lawn": True}
    clock.now += SETTLED_S
    assert named(ours.due(states(HANDS | lawn))) == {"hands": True, "lawn": True}


def test_what_has_gone_is_named_for_a_minute_at_most_though_it_is_never_calm() -> None:
    clock = Clock()
    ours = announcer(clock=clock)
    ours.due(states(HANDS | {"model/hands/anna": model_state(user="anna")}))
    seen = []
    for version in range(20):
        seen.append(named(ours.due(states({"model/hands": model_state(candidate=version)}))))
        clock.now += SETTLED_S / 2
    assert seen[0] == {"hands": True, "hands__anna": False}
    assert seen[-1] == {"hands": True}


def test_what_an_earlier_run_took_back_last_is_taken_back_again_for_home_assistant_may_have_lost_it() -> None:
    clock, earlier = Clock(), announcer()
    earlier.due(states(HANDS | {"model/lawn": model_state(model="lawn")}))
    (last,) = earlier.due(states(HANDS))
    ours = announcer(clock=clock)
    ours.hear(TOPIC, last.payload, retained=True)
    assert named(ours.due(states(HANDS))) == {"hands": True, "lawn": False}
    clock.now += SETTLED_S
    ours.due(states(HANDS))
    clock.now += SETTLED_S
    assert named(ours.due(states(HANDS))) == {"hands": True}


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


def test_a_stranger_s_announcement_makes_ours_no_larger_than_can_be_read_back() -> None:
    many_ids = {f"{number:07}": {"platform": "x", "y": 1} for number in range(30_000)}
    long_ids = {f"{number}{'x' * 900}": {"platform": "x" * 90, "y": 1} for number in range(900)}
    for components in (many_ids, long_ids, {"x": {"platform": "y" * 900_000, "y": 1}}):
        ours = announcer()
        ours.hear(TOPIC, json.dumps({"components": components}).encode(), retained=True)
        models = [f"{number}{'✊' * 39}" for number in range(MOST_PAIRS)]
        (notice,) = ours.due(states({f"model/{name}": model_state(model=name) for name in models}))
        assert len(notice.payload) <= MOST_BYTES
        stubs = [part for part in parts(json.loads(notice.payload)).values() if len(part) == 1]
        assert len(stubs) <= MOST_THERE
