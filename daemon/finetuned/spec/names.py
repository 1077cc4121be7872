"""Names from a stranger's file, as they may stand in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 80
MOST = 6
LONGEST_MESSAGE = 2000


def quoted(name: str) -> str:
    """Return the name in quotes, shortened, with control characters (a terminal would obey them) escaped."""
    return repr(name) if len(name) <= LONGEST else f"{name[:LONGEST]!r}… ({len(name)} characters)"


def listed(names: list[str]) -> str:
    """Return some names in quotes."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(quoted(name) for name in names[:MOST]) + more


def few(numbers: Sequence[int]) -> str:
    """Return some numbers in brackets."""
    return f"[{', '.join(map(str, numbers[:MOST]))}{', …' if len(numbers) > MOST else ''}]"


def shortened(message: str) -> str:
    """Return a message that may quote a file at length, cut to what a log takes."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"
