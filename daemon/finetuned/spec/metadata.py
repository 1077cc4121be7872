"""Texts beside a model: entries of `description.metadata.userDefined`, added to a file in which every other byte stays.

The messages that enclose an entry get their new lengths; nothing is decoded and written anew, so what this version of
the format does not know survives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec import coreml_pb2 as pb
from finetuned.spec import wire
from finetuned.spec.rules.departures import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BEYOND_COREML = "finetuned.beyondCoreML"
"""The key of the warning that a model carries which Apple's run time will refuse to train."""

_METADATA = (pb.Model.DESCRIPTION_FIELD_NUMBER, pb.ModelDescription.METADATA_FIELD_NUMBER)
_ENTRY = pb.Metadata.USERDEFINED_FIELD_NUMBER


def warning(departures: Sequence[str]) -> dict[str, str]:
    """Return the entry that says in what ways a model leaves Core ML."""
    said = "; ".join(each.removesuffix(f": {REFUSED}") for each in departures)
    return {BEYOND_COREML: f"{REFUSED}: {said}"}


def annotated(data: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the bytes of a `.mlmodel` with these texts in its user-defined metadata, in place of those of the same key."""
    return _changed(data, _METADATA, lambda old: _with_entries(old, texts))


def _changed(data: bytes, path: Sequence[int], change: Callable[[bytes], bytes]) -> bytes:
    """Return a message in which the one at the end of the path of fields is changed, or made where there is none.

    Of a field that occurs several times, which protobuf merges, the last is taken.
    """
    if not path:
        return change(data)
    start, end, payload = len(data), len(data), b""
    for field in wire.fields(data):
        if field.number == path[0] and field.kind == wire.BYTES:
            start, end, payload = field.begin, field.end, data[field.start : field.end]
    inner = _changed(payload, path[1:], change)
    return data[:start] + wire.headed(path[0], inner) + data[end:] if inner != payload else data


def _with_entries(metadata: bytes, texts: Mapping[str, str]) -> bytes:
    """Leave those that are there as they say; else drop the old ones of these keys and add the new at the end."""
    kept = b"".join(
        metadata[field.begin : field.end]
        for field in wire.fields(metadata)
        if field.number != _ENTRY or _key(metadata[field.start : field.end]) not in texts
    )
    found = pb.Metadata.FromString(metadata).userDefined
    if all(found.get(key) == text for key, text in texts.items()):
        return metadata
    return kept + pb.Metadata(userDefined=dict(texts)).SerializeToString(deterministic=True)


def _key(entry: bytes) -> str:
    return pb.Metadata.UserDefinedEntry.FromString(entry).key
