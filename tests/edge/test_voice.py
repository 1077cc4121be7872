"""What the bridge owes a broker that refuses, and what it says of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from bridges import BASE, NODE, QUICK
from finetuned.edge.bucket import Bucket
from finetuned.edge.connection import Connection, Refused
from finetuned.edge.disclosure import Disclosure
from finetuned.edge.topics import Topics
from finetuned.edge.voice import Voice

if TYPE_CHECKING:
    from finetuned.edge.topics import Way

STATE = f"{BASE}/state"


@dataclass(kw_only=True)
class Broker:
    """Answers each publish when and as the test says; `answers` are True for accepted."""

    answers: dict[bytes, asyncio.Future[bool]] = field(default_factory=dict)
    otherwise: bool = False
    kinds: set[str] = field(default_factory=set)

    async def publish_in(
        self, _way: Way, topic: str, payload: bytes, *, correlation: bytes | None = None
    ) -> None:
        """Take a message or not."""
        assert correlation is None
        answer = self.answers.get(payload)
        if not (await answer if answer else self.otherwise):
            raise Refused(f"{topic}: Not authorized")

    def voice(self) -> Voice:
        """Return a voice on it."""
        return Voice(
            connection=cast("Connection", self),
            topics=Topics("finetuned", NODE),
            disclosure=Disclosure(),
            announcers=(),
            batches=Bucket(rate=1, burst=1, clock=lambda: 0.0),
            delays=lambda: QUICK.delays(lambda: 0.0),
            rest=asyncio.sleep,
            trouble=lambda _what, kind: self.kinds.add(kind),
        )


async def test_an_old_state_that_is_refused_late_does_not_come_back_over_a_newer_one() -> None:
    late: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    voice = Broker(answers={b"old": late}, otherwise=True).voice()
    old = asyncio.create_task(voice.keep(STATE, b"old"))
    await asyncio.sleep(0)  # it is under way
    await voice.keep(STATE, b"new")
    late.set_result(False)
    await old
    assert voice.owed == {}


async def test_of_tasks_that_are_refused_for_good_nothing_is_left_and_one_sentence_is_said() -> None:
    broker = Broker()
    voice = broker.voice()
    for number in range(200):
        await voice.keep(f"{BASE}/task/{number}/state", b"{}")
        await voice.keep(f"{BASE}/task/{number}/state", b"")
    assert (voice.owed, voice.newest, len(broker.kinds)) == ({}, {}, 1)


async def test_what_was_retained_and_may_not_be_taken_off_is_owed() -> None:
    broker = Broker()
    voice = broker.voice()
    await voice.clear([f"{BASE}/task/earlier/state"])
    broker.otherwise = True
    await voice.keep(STATE, b"{}")
    broker.otherwise = False
    await voice.keep(STATE, b"")
    assert {topic: payload for topic, (_way, payload) in voice.owed.items()} == {
        f"{BASE}/task/earlier/state": b"",
        STATE: b"",
    }
