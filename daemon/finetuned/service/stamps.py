"""Ids and times as the ledger and the events write them; clock and randomness are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ID_LENGTH = 26
RANDOM_BYTES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When something happens: `at` as the wall clock shows it, `lived_s` as intervals are reckoned."""

    at: str
    lived_s: float = 0.0


def new_id(ms: int, random_bytes: bytes) -> str:
    """Return a ULID: 48 bits of milliseconds since 1970, then 80 random bits; it sorts by time.

    26 characters of Crockford's base 32 (github.com/ulid/spec).
    """
    number = ms << 80 | int.from_bytes(random_bytes[:RANDOM_BYTES], "big")
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 in UTC with milliseconds; these sort as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(ts: str) -> float:
    """Return the seconds since 1970 of a `timestamp`."""
    return datetime.fromisoformat(ts).timestamp()
