"""What a model says of itself: author, licence, description, version, and entries of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec.author.editing import opened, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN = ("author", "license", "shortDescription", "versionString")
"""Apple's four fields."""


def described(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the model with these texts in its metadata: Apple's four fields by their names, any other as the user's own.

    An empty text takes the entry away.
    """
    message = opened(data)
    metadata = message.description.metadata
    for key, text in texts.items():
        if key in OWN:
            setattr(metadata, key, text)
        elif text:
            metadata.userDefined[key] = text
        else:
            metadata.userDefined.pop(key, None)
    return sealed(message, data)
