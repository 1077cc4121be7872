"""What the bridge says on one connection: events, states, responses, and what its announcers say for others.

Whatever leaves goes through the disclosure first; what may not be told is as if it did not exist.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.edge.announcing import UnderWay
from finetuned.edge.connection import Refused, TooLarge
from finetuned.edge.logs import get_logger
from finetuned.edge.topics import FOREIGN
from finetuned.service.events import MiniBatchEnd
from finetuned.service.outbox import OutcomeItem, ProgressItem, StateItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from finetuned.edge.announcing import Announcer, Notice
    from finetuned.edge.bucket import Bucket
    from finetuned.edge.connection import Connection
    from finetuned.edge.disclosure import Disclosure
    from finetuned.edge.topics import Topics, Way
    from finetuned.service.outbox import Subscription

log = get_logger("mqtt")
REMIND_S = 5.0
"""So often announcers are asked at least, though no state changes."""
HUNG_UP_S = 0.1


@dataclass(slots=True, kw_only=True)
class Voice:
    """Publishes on one connection.

    `told` maps the outbox's keys to the states as they were told, key and payload; `owed` holds, by their topics, the
    retained messages that the broker has refused, which are offered again; `newest` what is under way, and `there` where
    something is retained.  `untold` are the states of the first round
    that are still to be told: announcements come after it, so that one at which the broker hangs up holds up none.
    `left_out` are the topics of what was too large.
    """

    connection: Connection
    topics: Topics
    disclosure: Disclosure
    announcers: tuple[Announcer, ...]
    batches: Bucket
    delays: Callable[[], Iterator[float]]
    rest: Callable[[float], Awaitable[object]]
    trouble: Callable[[str, str], None]
    under_way: UnderWay = field(default_factory=UnderWay)
    told: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    announcing: asyncio.Lock = field(default_factory=asyncio.Lock)
    owed: dict[str, tuple[Way, bytes]] = field(default_factory=dict)
    newest: dict[str, tuple[Way, bytes]] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    owes: asyncio.Event = field(default_factory=asyncio.Event)

    # ── states, and what announcers make of them ────────────────────────────────────────────────
    def learn(self, states: Mapping[str, bytes]) -> None:
        """Take the states that there are for told: what of them is retained is true and stays until they go."""
        self.untold = set(states)
        for key, payload in states.items():
            if shown := self.disclosure.state(key, payload):
                self.told[key] = shown

    @property
    def true_topics(self) -> set[str]:
        """Where a retained state is rightly."""
        return {self.topics.state(key) for key, _payload in self.told.values()}

    async def clear(self, retained: Iterable[str]) -> None:
        """Take those topics off the broker that no state of ours has."""
        self.there.update(retained)
        for topic in sorted(set(retained) - self.true_topics):
            await self.keep(topic, b"")

    async def announce(self) -> None:
        """Publish what is due on the topics of others, one after the other."""
        if self.untold:
            return
        async with self.announcing:
            for announcer in self.announcers:
                for notice in announcer.due(dict(self.told.values())):
                    await self._notify(notice)

    async def _notify(self, notice: Notice) -> None:
        self.under_way.notice = notice
        self.left_out.discard(notice.topic)
        await self.keep(notice.topic, notice.payload, FOREIGN)
        if notice.topic in self.left_out:
            await self.rest(HUNG_UP_S)  # where that ended the connection we do not come back
        self.under_way.notice = None

    async def _remind(self) -> None:
        while True:
            await self.rest(REMIND_S)
            self.untold.clear()  # of what came and went while we greeted nothing is heard
            await self.announce()

    async def _state(self, item: StateItem) -> None:
        before = self.told.pop(item.key, None)
        shown = self.disclosure.state(item.key, item.payload) if item.payload is not None else None
        if shown:
            self.told[item.key] = shown
            await self.keep(self.topics.state(shown[0]), shown[1])
        elif before:
            await self.keep(self.topics.state(before[0]), b"")
        first_round = bool(self.untold)
        self.untold.discard(item.key)
        if first_round or not item.key.startswith("task/"):
            await self.announce()

    # ── what the outbox gives ───────────────────────────────────────────────────────────────────
    async def send(self, subscription: Subscription) -> None:
        """Publish whatever the subscription gives, until the connection breaks."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._make_good(), name="mqtt make good")
            if self.announcers:
                group.create_task(self._remind(), name="mqtt remind")
                await self.announce()
            async for item in subscription:
                match item:
                    case OutcomeItem():
                        await self._outcome(subscription, group, item)
                    case ProgressItem():
                        await self._progress(item)
                    case StateItem():
                        await self._state(item)

    async def _outcome(self, subscription: Subscription, group: asyncio.TaskGroup, item: OutcomeItem) -> None:
        event = self.disclosure.event(item.payload)
        if event is None:
            await subscription.acknowledge(item.id)
            return
        topic, payload = self.topics.event(item.type), msgspec.json.encode(event)
        if await self.publish(topic, payload):
            await subscription.acknowledge(item.id)
        else:
            # States and progress go on; no other outcome comes before this one is acknowledged.
            group.create_task(self._insist(subscription, item.id, topic, payload), name="mqtt insist")

    async def _insist(self, subscription: Subscription, outcome: int, topic: str, payload: bytes) -> None:
        for delay in self.delays():
            await self.rest(delay)
            if not await subscription.still_counts(outcome) or await self.publish(topic, payload):
                break
        await subscription.acknowledge(outcome)

    async def _progress(self, item: ProgressItem) -> None:
        if isinstance(item.event, MiniBatchEnd) and self.batches.take():
            return
        event = self.disclosure.event(msgspec.to_builtins(item.event))
        if event is not None:
            await self.publish(self.topics.event(event["type"]), msgspec.json.encode(event))

    # ── what is retained ────────────────────────────────────────────────────────────────────────
    async def keep(self, topic: str, payload: bytes, way: Way | None = None) -> None:
        """Publish what is retained on a topic (of ours, without a `way`); it is owed while the broker refuses it.

        Nothing is owed where something newer is under way, or to be taken off where nothing of ours was ever put.
        """
        self.owed.pop(topic, None)
        self.newest[topic] = owing = way or self.topics.way(topic), payload
        accepted = await self.publish_in(owing[0], topic, payload)
        if self.newest.get(topic) is not owing:
            return
        del self.newest[topic]
        if accepted:
            (self.there.add if payload else self.there.discard)(topic)
        elif payload or topic in self.there or not self.topics.below(topic):
            self.owed[topic] = owing
            self.owes.set()

    async def _make_good(self) -> None:
        while True:
            await self.owes.wait()
            for delay in self.delays():
                await self.rest(delay)
                for topic in tuple(self.owed):
                    if topic in self.owed:  # else something newer was published meanwhile
                        way, payload = self.owed[topic]
                        await self.keep(topic, payload, way)
                if not self.owed:
                    break
            self.owes.clear()

    # ── one message ─────────────────────────────────────────────────────────────────────────────
    async def publish(self, topic: str, payload: bytes) -> bool:
        """Publish on one of our topics, in its way; False, and a line in the log, if the broker refuses it."""
        return await self.publish_in(self.topics.way(topic), topic, payload)

    async def publish_in(
        self, way: Way, topic: str, payload: bytes, *, correlation: bytes | None = None
    ) -> bool:
        """Publish in a way; False, and a line in the log, if the broker refuses it for now.

        What is larger than the broker takes is left out, with a line in the log: it would hold up all that comes after.
        """
        try:
            await self.connection.publish_in(way, topic, payload, correlation=correlation)
        except TooLarge as too_large:
            self.left_out.add(topic)
            self.trouble(f"left out, for the broker takes no packet so large: {too_large}", self._kind(topic))
        except Refused as refused:
            reason = str(refused).removeprefix(topic)
            self.trouble(f"the broker refuses {refused}", f"{self._kind(topic)}{reason}")
            return False
        return True

    def _kind(self, topic: str) -> str:
        """Return what a topic is about: of tasks, each on its own, is told as of one."""
        return self.topics.below(topic).partition("/")[0]
