"""Requests: bytes from anybody on the broker become a verb and a body for the daemon, or a sentence of refusal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.disclosure import Disclosure
from finetuned.edge.logs import get_logger
from finetuned.edge.payloads import MAX_TRANSACTION, Response
from finetuned.errors import FinetunedError, RequestError
from finetuned.service.ledger_requests import BEGUN, Answer

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_BYTES = 64 * 1024
SHOWN = 40
MAX_ERROR = 1000
"""Characters."""
HARMLESS = "status"
"""The only verb that changes nothing: it needs no mark that it was begun."""
UNKNOWN = (
    "this request was begun, but the daemon ended or could not keep the answer; look at the state before you ask again, "
    "with a new transaction"
)
OUR_OWN = "an error of the daemon's own; its log says more"
log = get_logger("requests")

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Does what a verb asks; returns what msgspec can write as JSON; raises RequestError and its like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The ledger's memory: `remember` returns the answer that counts, the first that is more than BEGUN."""

    recall: Callable[[str], Awaitable[Answer | None]]
    remember: Callable[[str, Answer], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that can be understood."""

    verb: str
    transaction: str
    body: dict[str, Any]
    expires: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Answers requests, each transaction once.

    One that changes something is kept as begun before it is obeyed.  `under_way` are, by transaction, the verb and the
    answer of those that this process has begun: a repeat waits for that answer, on whatever connection it comes.
    """

    allow: Collection[str]
    handler: Handler
    memory: Memory
    disclosure: Disclosure = field(default_factory=Disclosure)
    now: Callable[[], float] = time.time
    under_way: dict[str, tuple[str, asyncio.Task[str]]] = field(default_factory=dict)

    async def answer(self, verb: str, payload: bytes, *, retained: bool, wrong: str = "") -> bytes:
        """Return the response's payload; whatever the request is, this is an answer and never an exception.

        `wrong` is what is wrong with how it came; then it is refused with that sentence, and not remembered.
        """
        transaction = ""
        try:
            request = understood(verb, payload, retained=retained)
            transaction = request.transaction
            if wrong:
                return self._refusal(transaction, wrong)
            return (await self._once(request)).encode()
        except FinetunedError as error:
            return self._refusal(transaction, str(error))
        except Exception:
            log.exception("a request could not be answered", verb=verb[:SHOWN])
            return self._refusal(transaction, OUR_OWN)

    async def _once(self, request: Request) -> str:
        """Return the answer to this transaction: from the task that is at it, which goes on if nobody waits any more."""
        if request.transaction not in self.under_way:
            answering = asyncio.create_task(self._remembered(request), name=f"request {request.verb[:SHOWN]}")
            self.under_way[request.transaction] = request.verb, answering
            answering.add_done_callback(lambda _: self.under_way.pop(request.transaction))
        verb, answering = self.under_way[request.transaction]
        _refuse_other(verb, request)
        return await asyncio.shield(answering)

    async def _remembered(self, request: Request) -> str:
        """Return the first answer to this transaction, which may be the one that is made now."""
        if known := await self.memory.recall(request.transaction):
            _refuse_other(known.verb, request)
            if known.response != BEGUN:
                return known.response
            return await self._keep(request, self._refusal(request.transaction, UNKNOWN).decode())
        self._check(request)
        if request.verb != HARMLESS:
            await self._keep(request, BEGUN)
        return await self._keep(request, (await self._response(request)).decode())

    async def _keep(self, request: Request, response: str) -> str:
        answer = Answer(verb=request.verb, response=response)
        return (await self.memory.remember(request.transaction, answer)).response

    def _check(self, request: Request) -> None:
        if request.verb not in self.allow:
            raise RequestError(
                f"{request.verb[:SHOWN]!r} is not obeyed; allowed: {', '.join(self.allow) or 'nothing'} "
                "(mqtt.allow in the daemon's configuration)"
            )
        if request.expires is not None and _seconds(request.expires) < self.now():
            raise RequestError(f"the request expired at {request.expires}")

    async def _response(self, request: Request) -> bytes:
        try:
            data = await self.handler(request.verb, request.body)
        except FinetunedError as error:
            return self._refusal(request.transaction, str(error))
        except Exception:  # remembered like any answer: what it has changed by then nobody knows
            log.exception("a request could not be obeyed", verb=request.verb[:SHOWN])
            return self._refusal(request.transaction, OUR_OWN)
        told = self.disclosure.answer(data)
        return msgspec.json.encode(Response(transaction=request.transaction, status="ok", data=told))

    def _refusal(self, transaction: str, error: str) -> bytes:
        told = _bounded(self.disclosure.error(error))
        return msgspec.json.encode(Response(transaction=transaction, status="error", error=told))


def understood(verb: str, payload: bytes, *, retained: bool = False) -> Request:
    """Return the request that these bytes are.

    Raises:
        RequestError: they are none; the message says what is wrong, without repeating much of it.
    """
    if retained:
        raise RequestError("a retained request is refused: it would be obeyed again at every start")
    if len(payload) > MAX_BYTES:
        raise RequestError(f"{len(payload)} bytes are too many (allowed: up to {MAX_BYTES})")
    body = _object(payload)
    transaction = body.pop("transaction", None)
    if not isinstance(transaction, str) or not 0 < len(transaction) <= MAX_TRANSACTION:
        raise RequestError(
            f"needs a `transaction`: a string of 1 to {MAX_TRANSACTION} characters of your own"
        )
    return Request(verb=verb, transaction=transaction, expires=body.pop("expires", None), body=body)


def _refuse_other(verb: str, request: Request) -> None:
    if verb != request.verb:
        raise RequestError(f"this transaction was a {verb}; take a new one for every request")


def _bounded(error: str) -> str:
    """Return a sentence without its middle, where what was asked, and is repeated there, was long."""
    half = MAX_ERROR // 2
    return error if len(error) <= MAX_ERROR else f"{error[:half]}…{error[-half:]}"


def _object(payload: bytes) -> dict[str, Any]:
    try:
        body: dict[str, Any] = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the payload is not a JSON object: {error}") from None
    return body


def _seconds(expires: object) -> float:
    try:
        time = datetime.fromisoformat(str(expires))
    except ValueError:
        time = datetime.min  # noqa: DTZ901 - naive, hence refused below
    if time.tzinfo is None:
        raise RequestError('`expires` is no time: write it as "2026-11-23T04:50:12Z"')
    return time.timestamp()
