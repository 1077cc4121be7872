"""Names from outside that become folders and topics; whatever could leave its place is refused."""

from __future__ import annotations

import hashlib
import unicodedata

from finetuned import labels
from finetuned.errors import RequestError
from finetuned.labels import MAX_BYTES, is_label, is_printable, is_unprintable
from finetuned.parameters import label_of

MAX_FILE_BYTES = 255
REASON = ".txt"
SPARE = len(".") + len(REASON) + len(".tmp")
"""What is put around a rejected file's name: its reason's suffix, and what it is written aside as."""
NO_USER = "_"
BASE = "base.mlmodel"

ALLOWED = f"a name may be 1 to {MAX_BYTES} bytes of any printable characters, but may not hold / nor begin with a dot"
LABELS = {
    "string": labels.ALLOWED,
    "int64": "whole numbers of 64 bits",
}
"""What a label may be in a model that takes new ones, by the kind of its labels."""

ALLOWED_IN_TOPICS = f"{ALLOWED}, and names of models and users may hold neither + nor #"


def folder_name(name: str, what: str = "label") -> str:
    """Return the name if it can be a label's folder; RequestError, which says what is allowed, if not."""
    if not _is_safe(name):
        raise RequestError(f"the {what} {_shown(name)} cannot be a folder's name: {ALLOWED}")
    return name


def new_label(text: str, kind: str) -> str | None:
    """Return `text` as a label of a model that takes new ones of this kind, spelt in the one way; None where it is none."""
    text = unicodedata.normalize("NFC", text)
    if kind == "int64":
        number = label_of(text)
        return None if number is None else str(number)
    return text if is_label(text) else None


def label_folder(label: str) -> str:
    """Return a folder's name for any label that a model may have; no two labels get the same.

    `cat/dog` becomes `cat%2Fdog`; what is too long even so becomes the start of its SHA-256.
    """
    named = "".join(f"%{ord(c):02X}" if c in "/%" or is_unprintable(c) else c for c in label)
    named = f"%2E{named[1:]}" if named.startswith(".") else named
    if _is_safe(named):
        return named
    return "%" + hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def model_name(name: str) -> str:
    """Return the name if it can be a model's; RequestError if not."""
    if not _is_safe(name) or _is_wildcard(name):
        raise RequestError(f"{_shown(name)} cannot be a model's name: {ALLOWED_IN_TOPICS}")
    return name


def user_name(name: str) -> str:
    """Return the name if it can be a user's; RequestError if not."""
    if not _is_safe(name) or _is_wildcard(name) or name in {NO_USER, BASE}:
        raise RequestError(
            f"{_shown(name)} cannot be a user's name: {ALLOWED_IN_TOPICS}; {NO_USER} and {BASE} are taken"
        )
    return name


def file_name(name: str, prefix: str, *, spare: int = 0) -> str:
    """Return `prefix` and a file's name as one name that any folder can hold; what does not fit is cut at the front.

    The end stays, since the suffix tells the format.  `spare` bytes are left for what is put around it.
    """
    cleaned = "".join(
        "_" if is_unprintable(character) else character for character in name.rpartition("/")[2]
    )
    room = MAX_FILE_BYTES - len(prefix.encode()) - spare
    return prefix + cleaned.encode()[-room:].decode(errors="ignore")


def _is_safe(name: str) -> bool:
    return not name.startswith(".") and "/" not in name and is_printable(name)


def _is_wildcard(name: str) -> bool:
    """MQTT's wildcards: a topic that holds one cannot be published to."""
    return "+" in name or "#" in name


def _shown(name: str) -> str:
    return ascii(name) if len(name) <= MAX_BYTES else ascii(name[:MAX_BYTES]) + "…"
