"""Names from outside as Home Assistant's ids, which hold [a-zA-Z0-9_-] only; no two names become the same id."""

from __future__ import annotations

import hashlib
import re

PLAIN = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
OTHERS = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
MOST, DIGEST = 24, 10


def identifier(name: str) -> str:
    """Return the name, if it is plain; else what is plain in it, `_`, and the beginning of its SHA-256.

    None holds two `_` in a row nor ends with one, so that joined with `__` they can be told apart.
    """
    if PLAIN.fullmatch(name):
        return name
    readable = OTHERS.sub("-", name).strip("-")[:MOST] or "x"
    return f"{readable}_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:DIGEST]}"


def joined(*names: str) -> str:
    """Return several names as one id."""
    return "__".join(map(identifier, names))


def slug(text: str) -> str:
    """Return a text as the second half of an entity's id: small letters, digits and single `_`."""
    return OTHERS.sub("_", text.lower()).strip("_")
