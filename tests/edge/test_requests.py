from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.edge.requests import Desk, Memory
from finetuned.errors import ModelError

if TYPE_CHECKING:
    from finetuned.service.ledger_requests import Answer

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


def desk() -> Desk:
    known: dict[str, Answer] = {}

    async def recall(transaction: str) -> Answer | None:
        return known.get(transaction)

    async def remember(transaction: str, answer: Answer) -> Answer:
        return known.setdefault(transaction, answer)

    memory = Memory(recall=recall, remember=remember)
    return Desk(allow=ALLOW, handler=echo, memory=memory, now=lambda: NOON)


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
