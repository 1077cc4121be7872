"""What the fuzz has found, each as a row; it was mended where the sentence says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from finetuned.edge.payloads import VERBS
from finetuned.edge.requests import MAX_ERROR, Desk, Memory
from finetuned.edge.verbs import Desk as Verbs

if TYPE_CHECKING:
    from finetuned.service.ledger_requests import Answer


async def answered(verb: str, payload: bytes) -> dict[str, Any]:
    """Return the answer of a desk that refuses before anything is done."""

    async def recall(_: str) -> None:
        return None

    async def remember(_: str, answer: Answer) -> Answer:
        return answer

    nothing_behind = Verbs.__new__(Verbs)
    desk = Desk(allow=tuple(VERBS), handler=nothing_behind, memory=Memory(recall=recall, remember=remember))
    found: dict[str, Any] = json.loads(await desk.answer(verb, payload, retained=False))
    return found


@pytest.mark.parametrize(
    ("verb", "fields", "says"),
    [
        # The refusal came without the transaction, which could be read.
        ("status", '"expires": {}', "`expires` is no time"),
        ("status", '"expires": 20260101', "`expires` is no time"),
        # The refusal repeated what it refused, up to 64 KiB.
        ("rescan", f'"{"x" * 60_000}": 1', "it takes nothing"),
    ],
)
async def test_a_find_is_refused_in_a_sentence_with_its_transaction(
    verb: str, fields: str, says: str
) -> None:
    answer = await answered(verb, f'{{"transaction": "t", {fields}}}'.encode())
    assert (answer["transaction"], answer["status"]) == ("t", "error")
    assert says in answer["error"]
    assert len(answer["error"]) <= MAX_ERROR + 1
