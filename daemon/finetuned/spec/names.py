"""Names from a stranger's file, as they may stand in a message."""

from __future__ import annotations

LONGEST = 80
LONGEST_MESSAGE = 2000


def quoted(name: str) -> str:
    """Return the name in quotes, shortened, with control characters (a terminal would obey them) escaped."""
    return repr(name) if len(name) <= LONGEST else f"{name[:LONGEST]!r}… ({len(name)} characters)"


def listed(names: list[str]) -> str:
    """Return some names in quotes."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004 - what a reader takes in
    return ", ".join(quoted(name) for name in names[:5]) + more


def shortened(message: str) -> str:
    """Return a message that may quote a file at length, cut to what a log takes."""
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"
