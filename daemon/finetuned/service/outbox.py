"""What leaves the daemon: outcomes durable, progress thinned out when nobody can take it, states latest-wins.

Theory of operation.  Whoever has something to say calls `progress`, `state` or, after a ledger transaction
that appended outcomes, `outcomes_written`; none of them waits.  Each sink iterates over a `Subscription`:

* outcomes are read from the ledger after the sink's cursor, in order; the next one comes when the one before
  is acknowledged, so an outcome that is lost on the way is never overtaken in the cursor;
* progress lies in a bounded queue per sink, from which the least important fall out (`backlog`);
* of states only the latest value of each key waits; a new subscription begins with all of them.

Events come by their time, so that `completed` does not overtake the last `epochEnd`; states and events take
turns.  A sink that stands still costs one page of outcomes, one bounded queue and one value per key.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetuned.errors import HostError, PluginError
from finetuned.service.backlog import Backlog
from finetuned.service.ledger_forgetting import scrub
from finetuned.service.ledger_outcomes import OutcomeRow, advance_sink, is_kept, sink_cursor, unsent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from finetuned.service.events import Progress
    from finetuned.service.ledger import Ledger

PAGE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeItem:
    """A durable event, to be acknowledged by its `id`, which is in the payload too."""

    id: int
    type: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressItem:
    """An event that is told once."""

    event: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class StateItem:
    """A state's latest value as JSON; None: it is no more, and what is retained of it must go."""

    key: str
    payload: bytes | None


Item = OutcomeItem | ProgressItem | StateItem


class Outbox:
    """The daemon's side: say it and go on."""

    def __init__(self, ledger: Ledger) -> None:
        """Send the ledger's outcomes."""
        self._ledger = ledger
        self._states: dict[str, bytes] = {}
        self._subscriptions: dict[str, Subscription] = {}

    @property
    def states(self) -> Mapping[str, bytes]:
        """The present value of every state."""
        return dict(self._states)

    def outcomes_written(self) -> None:
        """Say that the ledger has outcomes which it had not before."""
        for subscription in self._subscriptions.values():
            subscription.note_outcomes()

    def progress(self, event: Progress) -> None:
        """Tell those who listen now."""
        for subscription in self._subscriptions.values():
            subscription.note_progress(event)

    def state(self, key: str, payload: bytes | None) -> None:
        """Set a state, or with None clear it; a value that is the present one is not sent again."""
        if self._states.get(key) == payload:
            return
        if payload is None:
            del self._states[key]
        else:
            self._states[key] = payload
        for subscription in self._subscriptions.values():
            subscription.note_state(key, payload)

    def forget(self, about: Callable[[str, str], bool]) -> None:
        """Let go of what waits about a (model, user) that was forgotten; the ledger has no such outcomes any more."""
        for subscription in self._subscriptions.values():
            subscription.forget(about)

    async def drained(self) -> None:
        """Wait until every sink that is subscribed has been given everything there is, and has acknowledged it."""
        for subscription in tuple(self._subscriptions.values()):
            await subscription.idle.wait()

    @asynccontextmanager
    async def subscribe(self, name: str) -> AsyncIterator[Subscription]:
        """Open the subscription of the sink `name`: all states, then outcomes from its cursor on.

        PluginError where a sink of that name is subscribed already.
        """
        if name in self._subscriptions:
            raise PluginError(f"a sink named {name} is subscribed already; each sink needs a name of its own")
        # Entered before the cursor is known: what is said meanwhile waits in it.
        subscription = self._subscriptions[name] = Subscription(self._ledger, name, self._states)
        try:
            await subscription.begin()
            yield subscription
        finally:
            del self._subscriptions[name]


class Subscription:
    """A sink's side: `async for item in subscription`, and `acknowledge` each outcome."""

    def __init__(self, ledger: Ledger, name: str, states: Mapping[str, bytes]) -> None:
        """Begin with all states; outcomes follow after `begin`."""
        self._ledger = ledger
        self._name = name
        self.idle = asyncio.Event()
        """Set while there is nothing to give and nothing to be acknowledged."""
        self._wake = asyncio.Event()
        self._progress = Backlog()
        self._states: dict[str, bytes | None] = dict(states)
        # What there is may be retained from an earlier subscription: should it go, it has to be cleared.
        self._shown: set[str] = set(states)
        self._state_is_next = True
        self._page: deque[OutcomeRow] = deque()
        self._read_up_to = self._given = 0
        self._more = True
        self._outstanding: int | None = None

    @property
    def dropped(self) -> int:
        """How many progress events fell out of the queue."""
        return self._progress.dropped

    async def begin(self) -> None:
        """Read where the sink stopped the last time."""
        self._read_up_to = self._given = await self._ledger.run(sink_cursor, self._name)

    def __aiter__(self) -> Subscription:
        """Iterate over what is to be sent, for as long as the sink likes."""
        return self

    async def __anext__(self) -> Item:
        """Return the next item, waiting for one; a cancelled wait loses nothing."""
        while True:
            self._wake.clear()
            await self._read_page()
            item = self._next_item()
            if item is not None:
                return item
            if self._outstanding is None and not self._wake.is_set():
                self.idle.set()
            await self._wake.wait()

    async def still_counts(self, outcome: int) -> bool:
        """Say whether an outcome that could not be sent yet is to be sent at all: it may have been forgotten meanwhile."""
        return await self._ledger.run(is_kept, outcome)

    async def acknowledge(self, outcome: int) -> None:
        """Note durably that this outcome has arrived; PluginError for any but the one that is on its way."""
        if outcome != self._outstanding:
            raise PluginError(
                f"sink {self._name} acknowledges outcome {outcome}; on its way is {self._outstanding or 'none'}"
            )
        forgotten = await self._ledger.run(advance_sink, self._name, outcome)
        self._outstanding = None
        self._wake.set()
        if forgotten:
            with suppress(HostError):  # a full disk, or somebody reads the ledger: the next start does it
                await self._ledger.run(scrub)

    # ── the outbox's side ───────────────────────────────────────────────────────────────────────
    def note_outcomes(self) -> None:
        """Look into the ledger again."""
        self._more = True
        self._stir()

    def note_progress(self, event: Progress) -> None:
        """Queue an event; less important ones may make room."""
        self._progress.append(event)
        self._stir()

    def note_state(self, key: str, payload: bytes | None) -> None:
        """Keep the latest value; one that came and went unshown needs no clearing."""
        if payload is None and key not in self._shown:
            self._states.pop(key, None)
            return
        self._states[key] = payload
        self._stir()

    def forget(self, about: Callable[[str, str], bool]) -> None:
        """Read outcomes anew behind the one that was given last, and drop progress."""
        self._progress.forget(lambda event: about(event.model, event.user))
        self._page.clear()
        self._read_up_to = self._given
        self.note_outcomes()

    def _stir(self) -> None:
        self.idle.clear()
        self._wake.set()

    # ── what comes next ─────────────────────────────────────────────────────────────────────────
    async def _read_page(self) -> None:
        if self._page or not self._more or self._outstanding is not None:
            return
        self._more = False
        try:
            self._page.extend(await self._ledger.run(unsent, self._read_up_to, PAGE))
        except BaseException:
            self._more = True
            raise
        if self._page:
            self._read_up_to = self._page[-1].id
            self._more = True

    def _next_item(self) -> Item | None:
        turns = (self._next_state, self._next_event)
        for turn in turns if self._state_is_next else reversed(turns):
            item = turn()
            if item is not None:
                self._state_is_next = not isinstance(item, StateItem)
                return item
        return None

    def _next_state(self) -> StateItem | None:
        if not self._states:
            return None
        key = next(iter(self._states))
        payload = self._states.pop(key)
        if payload is None:
            self._shown.discard(key)
        else:
            self._shown.add(key)
        return StateItem(key=key, payload=payload)

    def _next_event(self) -> OutcomeItem | ProgressItem | None:
        outcome = self._page[0] if self._page and self._outstanding is None else None
        progress = self._progress.first
        if progress is not None and (outcome is None or progress.ts <= outcome.ts):
            return ProgressItem(event=self._progress.take())
        if outcome is None:
            return None
        self._page.popleft()
        self._outstanding = self._given = outcome.id
        return OutcomeItem(id=outcome.id, type=outcome.type, payload=outcome.payload)
