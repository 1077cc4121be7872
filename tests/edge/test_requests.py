from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.edge.requests import OUR_OWN, UNKNOWN, Desk, Handler, Memory
from finetuned.errors import HostError, ModelError
from finetuned.service.ledger_requests import BEGUN, Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TRAIN = b'{"transaction": "a"}'
NOON = 1_795_003_200.0  # 2026-11-18T12:00:00Z
ALLOW = ("train", "status")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
REQUESTS = st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode())
BODIES = st.dictionaries(st.sampled_from(["transaction", "expires", "model"]), JSON).map(
    lambda body: json.dumps(body).encode()
)


async def echo(verb: str, body: dict[str, Any]) -> dict[str, Any]:
    if body.get("model") == "broken":
        raise ZeroDivisionError("a secret of the code")
    if body.get("model") == "bad":
        raise ModelError("the model has no training input")
    return {"verb": verb} | body


def desk(handler: Handler = echo, known: dict[str, Answer] | None = None) -> Desk:
    """Return one of a process; `known` is what the ledger remembers beyond it."""
    answers = {} if known is None else known

    async def recall(transaction: str) -> Answer | None:
        return answers.get(transaction)

    async def remember(transaction: str, answer: Answer) -> Answer:
        if transaction not in answers or answers[transaction].response == BEGUN:
            answers[transaction] = answer
        return answers[transaction]

    memory = Memory(recall=recall, remember=remember)
    return Desk(allow=ALLOW, handler=handler, memory=memory, now=lambda: NOON)


async def answered(at: Desk, verb: str, payload: bytes, *, is_retained: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await at.answer(verb, payload, retained=is_retained))
    return found


@settings(max_examples=200)
@given(
    verb=st.sampled_from(ALLOW) | st.text(max_size=8), payload=REQUESTS | BODIES, is_retained=st.booleans()
)
def test_whatever_arrives_gets_an_answer(verb: str, payload: bytes, *, is_retained: bool) -> None:
    answer = asyncio.run(answered(desk(), verb, payload, is_retained=is_retained))
    assert set(answer) <= {"transaction", "status", "data", "error"}
    assert (answer["status"] == "ok") == ("data" in answer)
    assert (answer["status"] == "error") == ("error" in answer)


@pytest.mark.parametrize(
    ("verb", "payload", "error"),
    [
        ("train", b"[]", "the payload is not a JSON object: Expected `object`, got `array`"),
        ("train", b'{"transaction":' * 4000, "the payload is not a JSON object: maximum recursion depth exceeded while deserializing an object"),
        ("train", b"{}", "needs a `transaction`: a string of 1 to 128 characters of your own"),
        ("train", b'{"transaction": 1}', "needs a `transaction`: a string of 1 to 128 characters of your own"),
        ("train", b'{"transaction": "%s"}' % (b"x" * 129), "needs a `transaction`: a string of 1 to 128 characters of your own"),
        ("forget", b'{"transaction": "a"}', "'forget' is not obeyed; allowed: train, status (mqtt.allow in the daemon's configuration)"),
        ("train", b'{"transaction": "a", "expires": "2026-11-18T11:59:59Z"}', "the request expired at 2026-11-18T11:59:59Z"),
        ("train", b'{"transaction": "a", "expires": "tomorrow"}', '`expires` is no time: write it as "2026-11-23T04:50:12Z"'),
        ("train", b'{"transaction": "a", "expires": 5}', '`expires` is no time: write it as "2026-11-23T04:50:12Z"'),
        ("train", b'{"transaction": "a", "model": "bad"}', "the model has no training input"),
        ("train", b'{"transaction": "a", "model": "broken"}', "an error of the daemon's own; its log says more"),
    ],
)  # fmt: skip
async def test_a_refusal_says_what_is_wrong(verb: str, payload: bytes, error: str) -> None:
    answer = await answered(desk(), verb, payload)
    assert (answer["status"], answer["error"]) == ("error", error)


async def test_the_handler_sees_the_body_without_the_envelope() -> None:
    request = b'{"transaction": "a", "expires": "2026-11-18T12:00:01Z", "model": "hands"}'
    answer = await answered(desk(), "train", request)
    assert answer == {"transaction": "a", "status": "ok", "data": {"verb": "train", "model": "hands"}}


async def test_a_refusal_of_the_daemon_is_remembered_like_any_answer() -> None:
    at = desk()
    first = await answered(at, "train", b'{"transaction": "a", "model": "bad"}')
    assert await answered(at, "train", b'{"transaction": "a", "model": "hands"}') == first


async def test_a_transaction_belongs_to_one_verb() -> None:
    at = desk()
    await answered(at, "train", b'{"transaction": "a"}')
    answer = await answered(at, "status", b'{"transaction": "a"}')
    assert answer["error"] == "this transaction was a train; take a new one for every request"


# ── interrupted ─────────────────────────────────────────────────────────────────────────────────
@dataclass(slots=True)
class Slow:
    """Obeys when it is let."""

    calls: list[str] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, verb: str, _: dict[str, Any]) -> dict[str, int]:
        """Count, and wait."""
        self.calls.append(verb)
        self.called.set()
        await self.may.wait()
        return {"call": len(self.calls)}


async def test_a_repeat_of_what_is_under_way_waits_for_the_same_answer_though_the_first_has_given_up() -> (
    None
):
    slow = Slow()
    at = desk(slow)
    first = asyncio.create_task(answered(at, "train", TRAIN))
    await slow.called.wait()
    first.cancel()
    repeats = [asyncio.create_task(answered(at, "train", TRAIN)) for _ in range(2)]
    other = await answered(at, "status", TRAIN)
    assert other["error"] == "this transaction was a train; take a new one for every request"
    slow.may.set()
    told = {"transaction": "a", "status": "ok", "data": {"call": 1}}
    assert await asyncio.gather(*repeats) == [told, told]
    assert await answered(at, "train", TRAIN) == told
    assert (slow.calls, at.under_way) == (["train"], {})


async def test_what_was_begun_by_a_process_that_is_gone_is_not_obeyed_again() -> None:
    known: dict[str, Answer] = {}
    slow, again = Slow(), Slow()
    dies = asyncio.create_task(answered(desk(slow, known), "train", TRAIN))
    await slow.called.wait()
    assert known == {"a": Answer(verb="train", response=BEGUN)}
    left = dict(known)
    slow.may.set()
    await dies
    for _ in range(2):
        answer = await answered(desk(again, left), "train", TRAIN)
        assert answer == {"transaction": "a", "status": "error", "error": UNKNOWN}
    assert again.calls == []
    assert json.loads(left["a"].response)["error"] == UNKNOWN, "it is remembered"


async def test_a_look_at_the_state_is_taken_again_after_a_crash() -> None:
    known: dict[str, Answer] = {}
    slow = Slow()
    looking = asyncio.create_task(answered(desk(slow, known), "status", TRAIN))
    await slow.called.wait()
    assert known == {}
    slow.may.set()
    await looking


async def test_what_an_error_of_our_own_cut_short_is_not_obeyed_again() -> None:
    at, request = desk(), b'{"transaction": "a", "model": "broken"}'
    for _ in range(2):
        assert (await answered(at, "train", request))["error"] == OUR_OWN


@pytest.mark.parametrize(("fails_at", "calls"), [(1, 0), (2, 1)])
async def test_a_disk_that_refuses_the_mark_keeps_it_from_being_obeyed_and_one_that_refuses_the_answer_from_being_obeyed_again(
    fails_at: int, calls: int
) -> None:
    slow, known = Slow(), dict[str, Answer]()
    slow.may.set()
    at = desk(slow, known)
    refuses = refusing(at.memory.remember, fails_at)
    full = replace(at, memory=Memory(recall=at.memory.recall, remember=refuses))
    assert (await answered(full, "train", TRAIN))["error"] == "the disk is full"
    assert len(slow.calls) == calls
    again = await answered(full, "train", TRAIN)
    assert (again["status"], again.get("error")) == (("error", UNKNOWN) if calls else ("ok", None))
    assert len(slow.calls) == 1


def refusing(
    remember: Callable[[str, Answer], Awaitable[Answer]], fails_at: int
) -> Callable[[str, Answer], Awaitable[Answer]]:
    """Return what remembers, but for the so manieth time."""
    times = itertools.count(1)

    async def refuses(transaction: str, answer: Answer) -> Answer:
        if next(times) == fails_at:
            raise HostError("the disk is full")
        return await remember(transaction, answer)

    return refuses
