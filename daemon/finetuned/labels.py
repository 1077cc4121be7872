"""What a label may be that a model takes new: one answer for the door, where samples come in, and for the engine.

It asks for no font: which characters there are grows with every Unicode, and what joins them (in 👨‍👩‍👧, in Persian) belongs to them.
"""

from __future__ import annotations

import unicodedata

MAX_BYTES = 120
ALLOWED = f"1 to {MAX_BYTES} bytes of any printable characters that do not turn the direction of writing"
# Control characters, half characters (a name that was no UTF-8), line and paragraph separators.
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""They let a text look like another one: what stands behind them is shown the other way round."""


def is_label(text: str) -> bool:
    """Say whether a text may be a new label."""
    return is_printable(text) and TURNING.isdisjoint(text)


def is_printable(text: str) -> bool:
    """Say whether a text is 1 to 120 bytes of characters that are no `is_unprintable`."""
    return bool(text) and not any(map(is_unprintable, text)) and len(text.encode()) <= MAX_BYTES


def is_unprintable(character: str) -> bool:
    """Say whether a character breaks a line, steers a terminal, or is half of one."""
    return unicodedata.category(character) in UNPRINTABLE
