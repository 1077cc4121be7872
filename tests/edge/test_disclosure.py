from __future__ import annotations

import functools
import types
import typing
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import StructMeta

from finetuned.edge.disclosure import RULES, Disclosure, Rule, understanding
from finetuned.edge.payloads import VERBS
from finetuned.edge.requests import understood
from finetuned.edge.verbs import Desk
from finetuned.errors import FinetunedError, RequestError
from finetuned.parameters import PARAMETERS, check_limits, checked
from finetuned.service import events
from finetuned.service.ledger import opened
from finetuned.service.ledger_tasks import create_task
from finetuned.service.messages import Metrics
from finetuned.service.modes import wished
from ledgers import a_task, with_model, with_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MARK = "mrk"
KEY = bytes(range(32))
EVENTS = typing.get_args(events.AnyOutcome) + typing.get_args(events.AnyProgress)
STATES = (events.DaemonState, events.ModelState, events.TaskStateView)
ANSWERS = tuple(verb.answer for verb in VERBS.values())
# Dictionaries whose keys stay: names of parameters and of sensors.
KEYS_THAT_STAY = {"parameters", "readings"}
COUNTING = Disclosure(level="counts", key=KEY, models=lambda: ("gestures",))
SILENT = Disclosure(level="none", key=KEY, models=lambda: ("gestures",))
names = st.text(st.characters(codec="utf-8"), max_size=5).map(lambda text: f"{MARK}{text}")


# ── the structs ─────────────────────────────────────────────────────────────────────────────────
def is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, StructMeta)


def parts(kind: object) -> set[object]:
    """Return the classes that a field's type is made of."""
    inner = typing.get_args(kind)
    return {kind} if not inner else {typing.get_origin(kind), *(p for each in inner for p in parts(each))}


def fields(*structs: type[msgspec.Struct]) -> set[tuple[str, object]]:
    """Return name and type of every field that these structs have, at any depth."""
    found = set()
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            found.add((field.encode_name, field.type))
            nested = [part for part in parts(field.type) if is_struct(part)]
            found |= fields(*nested)
    return found


def values(name: str, kind: object, *, stays: bool = False) -> st.SearchStrategy[object]:
    """Return what a field may hold, with a marker wherever somebody's name may stand."""
    stays = stays or RULES[name] is Rule.same
    inner = typing.get_args(kind)
    match typing.get_origin(kind):
        case types.UnionType | typing.Union:
            return st.one_of([values(name, each, stays=stays) for each in inner])
        case origin if origin is tuple:
            return st.lists(values(name, inner[0], stays=stays), max_size=2)
        case origin if origin is dict:
            keys = st.just("epochs") if stays or name == "metrics" else names
            return st.dictionaries(keys, values(name, inner[1], stays=stays), max_size=2)
    if is_struct(kind):
        return bodies(kind, stays=stays)
    words = stays or name == "state"
    plain = {str: st.just("word") if words else names, bool: st.booleans(), type(None): st.none()}
    return plain.get(kind, st.integers(0, 9))  # type: ignore[call-overload, no-any-return]  # of any kind of value


@functools.cache
def bodies(struct: type[msgspec.Struct], *, stays: bool = False) -> st.SearchStrategy[dict[str, object]]:
    """Return payloads of a struct, as JSON has them."""
    own = {f.encode_name: values(f.encode_name, f.type, stays=stays) for f in msgspec.structs.fields(struct)}
    if tag := struct.__struct_config__.tag:
        own["type"] = st.just(tag)
        # A model that nobody knows is a folder's name; only what is told of samples can have one.
        own["model"] = (
            st.sampled_from(["gestures", MARK]) if str(tag).startswith("sample") else st.just("gestures")
        )
    return st.fixed_dictionaries(own)


def any_of(structs: Iterable[type[msgspec.Struct]]) -> st.SearchStrategy[dict[str, object]]:
    """Return payloads of any of these."""
    return st.one_of([bodies(struct) for struct in structs])


def test_every_field_that_leaves_has_a_rule() -> None:
    known = {name for name, _ in fields(*EVENTS, *STATES, *ANSWERS)} | {"id", "type"}
    assert known - RULES.keys() == set()


def test_no_field_stays_as_it_is_that_holds_what_may_name_somebody() -> None:
    """A dictionary's keys, or a struct within, must be judged, not waved through."""
    open_ended = {
        name
        for name, kind in fields(*EVENTS, *STATES, *ANSWERS)
        if RULES[name] is Rule.same and any(p is dict or p is Any or is_struct(p) for p in parts(kind))
    }
    assert open_ended == KEYS_THAT_STAY | {"causes"}
    assert events.CauseView.__struct_fields__ == ("reason", "zone", "reading", "trip")


# ── nobody's name gets out ──────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("disclosure", [COUNTING, SILENT], ids=["counts", "none"])
@given(event=any_of(EVENTS), state=any_of(STATES), answer=any_of(ANSWERS), user=names)
def test_no_name_is_in_an_event_a_state_or_an_answer(
    disclosure: Disclosure,
    event: dict[str, object],
    state: dict[str, object],
    answer: dict[str, object],
    user: str,
) -> None:
    told = [
        disclosure.event(event),
        disclosure.answer(answer),
        disclosure.state(f"model/gestures/{user.replace('/', '')}", msgspec.json.encode(state)),
    ]
    assert MARK not in repr(told)


@pytest.mark.parametrize("disclosure", [COUNTING, SILENT], ids=["counts", "none"])
@given(name=names)
def test_a_refusal_that_may_name_somebody_is_hidden(disclosure: Disclosure, name: str) -> None:
    for sentence in (f"model gestures of user {name} has no samples", f"writing {name} failed", name):
        assert MARK not in disclosure.error(sentence)


# ── what stays ──────────────────────────────────────────────────────────────────────────────────
def encoded(struct: msgspec.Struct) -> bytes:
    return msgspec.json.encode(struct)


MODEL = events.ModelState(
    model="gestures",
    user="anna",
    kind="neuralNetworkClassifier",
    current=7,
    candidate=None,
    samples={"rock": 10, "paper": 4},
    metrics=Metrics(samples=3, loss_value=0.5, accuracy=0.8),
    candidate_metrics=None,
    task=None,
    task_state="idle",
    reasons=(),
    progress=0.0,
    loss_value=None,
    eta_seconds=None,
)


def test_all_is_told_as_it_is() -> None:
    event = {"type": "sampleAccepted", "label": "rock", "name": "a.png"}
    assert Disclosure().event(event) == event
    assert Disclosure().state("model/gestures/anna", encoded(MODEL)) == (
        "model/gestures/anna",
        encoded(MODEL),
    )
    assert Disclosure().error("user anna has none") == "user anna has none"


def test_counts_keep_their_numbers_under_names_that_are_stable_and_differ_from_node_to_node() -> None:
    key, payload = COUNTING.state("model/gestures/anna", encoded(MODEL)) or ("", b"")
    told = msgspec.json.decode(payload)
    assert key == f"model/gestures/{told['user']}"
    assert told["user"].startswith("user-")
    assert sorted(told["samples"].values()) == [4, 10]
    assert all(label.startswith("label-") for label in told["samples"])
    assert told["metrics"] == {"samples": 3, "lossValue": 0.5, "accuracy": 0.8}
    assert COUNTING.state("model/gestures/anna", encoded(MODEL)) == (key, payload)
    other = Disclosure(level="counts", key=bytes(32))
    assert other.state("model/gestures/anna", encoded(MODEL)) != (key, payload)


def test_what_is_told_can_still_be_read_as_what_it_is() -> None:
    event = events.SampleRejected(
        ts="t", node="n", model="gestures", user="anna", label="rock", name="a.png", reason="anna's"
    )
    told = COUNTING.event(msgspec.to_builtins(event))
    read = msgspec.convert(told, events.SampleRejected)
    assert (read.name, read.count, read.model) == ("", 1, "gestures")
    assert "rejected/" in read.reason
    _, payload = SILENT.state("model/gestures", encoded(msgspec.structs.replace(MODEL, user=""))) or ("", b"")
    state = msgspec.json.decode(payload, type=events.ModelState)
    assert (state.samples, state.current) == ({"": 14}, 7)


def test_none_keeps_totals_in_states_and_events() -> None:
    begun = SILENT.event({"type": "trainingBegin", "samples": {"rock": 10, "paper": 4}, "heldOut": 3}) or {}
    assert (begun["samples"], begun["heldOut"]) == ({"": 14}, 3)
    assert SILENT.event({"type": "completed", "samples": 14}) == {"type": "completed", "samples": 14}
    nobody = msgspec.structs.replace(MODEL, user="", samples={})
    _, payload = SILENT.state("model/gestures", encoded(nobody)) or ("", b"")
    assert msgspec.json.decode(payload)["samples"] == {}


def test_none_tells_of_a_task_without_its_user_and_nothing_of_users_and_samples() -> None:
    assert SILENT.state("model/gestures/anna", encoded(MODEL)) is None
    assert SILENT.event({"type": "sampleAccepted", "label": "rock", "name": "a.png"}) is None
    failed = events.TaskFailed(
        ts="t", node="n", model="gestures", user="anna", task="T", fault="sample", error="anna"
    )
    told = SILENT.event(msgspec.to_builtins(failed)) or {}
    assert "user" not in told
    assert (told["fault"], told["task"], told["model"]) == ("sample", "T", "gestures")
    assert "log" in told["error"]
    assert SILENT.answer({"models": [{"user": "anna"}, {"user": "", "model": "m"}]}) == {
        "models": [{"user": "", "model": "m"}]
    }


def test_a_field_without_a_rule_is_left_out() -> None:
    assert COUNTING.event({"type": "completed", "novelty": "anna"}) == {"type": "completed"}


def test_a_model_that_nobody_knows_is_a_folders_name_and_is_left_out() -> None:
    waiting = {"type": "sampleWaiting", "model": "anna", "label": "rock"}
    assert "model" not in (COUNTING.event(waiting) or {})
    assert (COUNTING.event({**waiting, "model": "gestures"}) or {})["model"] == "gestures"


@pytest.mark.parametrize(
    ("payload", "retained"),
    [
        (b"{}", True),
        (b"x" * 70_000, False),
        (b"[", False),
        (b"{}", False),
    ],
)
def test_refusals_of_what_cannot_be_understood_are_told(payload: bytes, retained: bool) -> None:  # noqa: FBT001
    with pytest.raises(RequestError) as refused:
        understood("train", payload, retained=retained)
    assert COUNTING.error(str(refused.value)) == str(refused.value)


@pytest.mark.parametrize("body", [{}, {"model": 7}, {"model": "gestures", "colour": "red"}])
async def test_refusals_of_a_body_are_told(body: dict[str, Any]) -> None:
    nobody: Any = None  # a body that is refused reaches none of them
    desk = Desk(nobody, nobody, nobody, nobody, selection=nobody, forgetting=nobody, rescan=nobody)
    with pytest.raises(RequestError) as refused:
        await desk("train", body)
    assert SILENT.error(str(refused.value)) == str(refused.value)


@pytest.mark.parametrize(
    "refuse",
    [
        lambda: checked("colour", 1, {}),
        lambda: PARAMETERS["epochs"].read("epochs", "many"),
        lambda: PARAMETERS["shuffle"].read("shuffle", 7),
        lambda: check_limits("epochs", -1),
        lambda: wished("sometimes", None),
        lambda: wished("never", -1),
    ],
)
def test_refusals_of_parameters_and_modes_are_told(refuse: Callable[[], object]) -> None:
    with pytest.raises(FinetunedError) as refused:
        refuse()
    assert SILENT.error(str(refused.value)) == str(refused.value)


def test_refusals_of_a_task_are_told_and_say_no_user(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.db") as db:
        with_model(db)
        with pytest.raises(RequestError, match="to train on; drop some") as untaught:
            create_task(db, a_task(user="anna"))
        with_samples(db, user="anna")
        create_task(db, a_task(user="anna"))
        with pytest.raises(RequestError, match="wait until it has ended") as second:
            create_task(db, a_task(2, user="anna"))
    for sentence in (str(untaught.value), str(second.value)):
        assert SILENT.error(sentence) == sentence
        assert "anna" not in sentence


# ── whom a request means ────────────────────────────────────────────────────────────────────────
async def test_a_request_may_name_users_and_labels_by_their_made_up_names() -> None:
    heard = []

    async def handler(verb: str, body: dict[str, Any]) -> None:
        heard.append((verb, body))

    async def known(_: str) -> tuple[list[str], list[str]]:
        return ["bert", "anna"], ["rock"]

    told = COUNTING.event({"type": "sampleAccepted", "user": "anna", "label": "rock"}) or {}
    ask = understanding(handler, COUNTING, known)
    await ask("forget", {"model": "gestures", "user": told["user"], "label": told["label"]})
    await ask("forget", {"model": "gestures", "user": "user-0000000000"})
    await ask("train", {"model": "gestures", "user": "anna"})
    await ask("train", {"model": 7, "user": ["anna"]})
    assert heard == [
        ("forget", {"model": "gestures", "user": "anna", "label": "rock"}),
        ("forget", {"model": "gestures", "user": "user-0000000000"}),
        ("train", {"model": "gestures", "user": "anna"}),
        ("train", {"model": 7, "user": ["anna"]}),
    ]
