"""Fuzzed requests to a real daemon through a real broker, honest ones between them; what must be true is looked at as it goes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiomqtt

from acceptance.house import House, drop_digits
from brokers import PASSWORD, USER
from finetuned.edge.payloads import VERBS
from finetuned.edge.requests import MAX_ERROR
from fuzz.craft import Message, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BATCH = 15
ALLOW = f"allow = {list(VERBS)}"
WARM = 40
"""So many batches until memory is compared: by then every kind has been there."""
FLAT_MB = 8
OURS = ("Traceback", "an error of the daemon's own", "could not be answered")


@dataclass(kw_only=True)
class Campaign:
    """What was sent and answered; `wrong` are the sentences of what should not be."""

    house: House
    node: str
    seed: int
    wrong: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    honest: int = 0
    memory_mb: list[float] = field(default_factory=list)
    _first: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    async def run(self, more: Callable[[], bool]) -> None:
        """Send batch after batch while there shall be more; then look at what is left."""
        # The house's own ear takes JSON for granted.
        await self.house.client.unsubscribe("finetuned/#")
        drop_digits(self.house)
        address = self.house.broker.address
        async with aiomqtt.Client(
            *(address.host, address.port),
            username=USER,
            password=PASSWORD,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=10,
        ) as client:
            await client.subscribe("#", qos=1)
            dice = Random(self.seed)  # noqa: S311 - no secret
            source = messages(dice)
            while more() and not self.wrong:
                batch = list(islice(source, BATCH))
                batch += [dice.choice(batch)] if dice.randrange(2) else []  # the same again
                await self._batch(client, batch)
                self.memory_mb.append(self.house.resident_mb)
            await self._retained(client)
        await self._end()

    async def _batch(self, client: aiomqtt.Client, batch: list[Message]) -> None:
        for message in batch:
            await self._publish(client, message)
        verb, body, is_right = HONEST[self.honest % len(HONEST)]
        transaction = f"honest-{self.seed}-{self.honest}"
        good = Message(
            verb=verb, payload=json.dumps({**body, "transaction": transaction}).encode(), kind="honest"
        )
        await self._publish(client, good)
        try:
            heard = await self._until(client, transaction)
        except TimeoutError:
            self.wrong.append(f"no answer to the honest {verb} after {_shown(batch)}")
            return
        answer = heard.pop()[1]
        self.honest += 1
        if not is_right(answer):
            self.wrong.append(f"the honest {verb} was answered {answer} after {_shown(batch)}")
        self._judge(batch, heard)

    async def _publish(self, client: aiomqtt.Client, message: Message) -> None:
        self.kinds[message.kind] += 1
        topic = f"finetuned/{self.node}/request/{message.verb}"
        await client.publish(
            topic, message.payload, qos=1, retain=message.retain, properties=message.properties
        )

    async def _until(self, client: aiomqtt.Client, transaction: str) -> list[tuple[str, dict[str, Any]]]:
        """Return all responses up to the one with this transaction."""
        heard = []
        async with asyncio.timeout(60):
            async for message in client.messages:
                level, _, rest = str(message.topic).removeprefix(f"finetuned/{self.node}/").partition("/")
                if not str(message.topic).startswith((f"finetuned/{self.node}/", "homeassistant/")):
                    self.wrong.append(f"a message on {str(message.topic)[:100]}")
                if level == "response":
                    heard.append((rest, json.loads(message.payload)))
                    if heard[-1][1]["transaction"] == transaction:
                        return heard
        raise AssertionError

    def _judge(self, batch: list[Message], heard: list[tuple[str, dict[str, Any]]]) -> None:
        """Compare what was asked and answered: both are in order."""
        asked = [message for message in batch if message.is_answered]
        if len(asked) != len(heard):
            self.wrong.append(f"{len(asked)} requests, {len(heard)} answers: {_shown(batch)}, {heard}")
            return
        for message, (topic, answer) in zip(asked, heard, strict=True):
            self.answers[answer["status"]] += 1
            self.wrong += [
                f"{what}: {_shown([message])} {str(answer)[:300]}"
                for what in self._faults(message, topic, answer)
            ]

    def _faults(self, message: Message, topic: str, answer: dict[str, Any]) -> Iterable[str]:
        """Yield what is wrong with an answer."""
        transaction = answer["transaction"]
        if topic != quote(message.verb, safe="").replace("~", "%7E"):
            yield f"answered on response/{topic}"
        if message.transaction is not None and transaction != message.transaction:
            yield "answered with another transaction"
        if (answer["status"] == "ok") == ("error" in answer) or answer["status"] not in {"ok", "error"}:
            yield "neither an answer nor a refusal"
        if "own; its log" in answer.get("error", ""):
            yield "an error of the daemon's own"
        if len(answer.get("error", "")) > MAX_ERROR + 1:
            yield "too long a refusal"
        if transaction and self._first.setdefault((transaction, message.verb), answer) != answer:
            yield f"another answer than at first, {self._first[transaction, message.verb]}"

    async def _retained(self, client: aiomqtt.Client) -> None:
        """Look for requests that are retained still: what is retained comes before what is published next."""
        await client.unsubscribe("#")
        await client.subscribe(f"finetuned/{self.node}/request/#", qos=1)
        await client.publish(f"finetuned/{self.node}/request/", b"end", qos=1)
        async with asyncio.timeout(60):
            async for message in client.messages:
                if message.payload == b"end":
                    return
                if message.retain and message.payload:
                    self.wrong.append(f"retained: {message.topic}")

    async def _end(self) -> None:
        """End the daemon as systemd does, and look at its log, memory and ledger, and at what the broker retains."""
        assert self.house.process
        if self.house.process.returncode is not None:
            self.wrong.append(f"the daemon has ended: {self.house.said}")
            return
        if self.growth_mb > FLAT_MB:
            self.wrong.append(f"its memory has grown by {self.growth_mb:.1f} MB")
        if status := await self.house.stop():
            self.wrong.append(f"the daemon ended with {status}")
        self.wrong += [f"its log holds {word!r}" for word in OURS if word in self.house.log]
        with closing(sqlite3.connect(self.house.state / "ledger.db")) as ledger:
            if (found := ledger.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                self.wrong.append(f"the ledger is broken: {found}")

    @property
    def growth_mb(self) -> float:
        """How much the daemon's memory has grown since it was warm."""
        if len(self.memory_mb) <= WARM:
            return 0.0
        return self.memory_mb[-1] - max(self.memory_mb[: WARM + 1])


def _shown(batch: list[Message]) -> str:
    return "; ".join(f"{each.kind} {each.verb[:20]!r} {each.payload[:200]!r}" for each in batch)


def _ok(answer: dict[str, Any]) -> bool:
    return bool(answer["status"] == "ok")


def _error(words: str) -> Callable[[dict[str, Any]], bool]:
    return lambda answer: answer["status"] == "error" and words in answer["error"]


HONEST: tuple[tuple[str, dict[str, Any], Callable[[dict[str, Any]], bool]], ...] = (
    ("status", {}, lambda answer: _ok(answer) and answer["data"]["state"]["version"] != ""),
    ("mode", {"mode": "never"}, lambda answer: _ok(answer) and answer["data"]["mode"] == "never"),
    ("pause", {"task": "all"}, _ok),
    ("train", {"model": "nobody"}, _error("nobody")),
    ("mode", {"mode": "sometimes"}, _error("auto")),
    ("resume", {"task": "all"}, _ok),
    ("cancel", {"task": "none"}, _error("none")),
    ("rescan", {}, _ok),
    ("mode", {"mode": "auto"}, lambda answer: _ok(answer) and answer["data"]["mode"] == "auto"),
)
"""What is asked in between, and how it must be answered."""
