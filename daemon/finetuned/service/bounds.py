"""What the daemon takes of a model's description: a file may be made so that there is a great deal to say.

What is only to be looked at is cut; what the daemon needs whole (labels, parameters, the input) has bounds, and a model
beyond them is one that it does not take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from finetuned.service.messages import FeatureInfo, LayerInfo, ModelInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Row = TypeVar("Row", FeatureInfo, LayerInfo)

MOST_LABELS = 50_000
"""Each is a folder of the inbox."""
MOST_BYTES = 2 * 2**20
"""Of the whole description, as JSON."""
MOST_ROWS = 200
"""Of a table: layers, inputs, outputs."""
MOST_SENTENCES = 100
MOST_TEXT = 4096
"""Characters of all metadata, and of a sentence."""
MOST_NAME = 80
"""Characters."""


def cut(info: ModelInfo) -> ModelInfo:
    """Return the description with tables, texts and names cut to what somebody looks at."""
    return msgspec.structs.replace(
        info,
        reasons=_sentences(info.reasons),
        departures=_sentences(info.departures),
        inputs=_rows(info.inputs, _more_features),
        outputs=_rows(info.outputs, _more_features),
        training_inputs=_rows(info.training_inputs, _more_features),
        layers=_rows(info.layers, _more_layers),
        losses=tuple({key: _short(text) for key, text in loss.items()} for loss in info.losses),
        metadata=_texts(info.metadata),
    )


def bounded(info: ModelInfo) -> ModelInfo:
    """Return the description cut to what the daemon holds; `updatable` is false where that is not enough of it."""
    held = cut(info)
    if len(held.class_labels) > MOST_LABELS:
        return _refused(held, f"it has {len(held.class_labels)} labels, and the daemon takes {MOST_LABELS}")
    if (size := len(msgspec.json.encode(held))) > MOST_BYTES:
        what = "labels, parameters and inputs"
        return _refused(
            held, f"its {what} are {size} bytes of names and numbers; the daemon takes {MOST_BYTES}"
        )
    return held


def _refused(info: ModelInfo, why: str) -> ModelInfo:
    """Return a description without anything of the model's own, that only says why."""
    return ModelInfo(
        updatable=False, kind=info.kind, specification_version=info.specification_version, reasons=(why,)
    )


def _sentences(sentences: tuple[str, ...]) -> tuple[str, ...]:
    more = len(sentences) - MOST_SENTENCES
    told = tuple(_cut(each, MOST_TEXT) for each in sentences[:MOST_SENTENCES])
    return (*told, f"and {more} more") if more > 0 else told


def _rows(rows: tuple[Row, ...], more: Callable[[tuple[Row, ...]], Row]) -> tuple[Row, ...]:
    """Return the first rows, with short names, and one in place of all others."""
    told: list[Row] = [msgspec.structs.replace(row, name=_short(row.name)) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        told.append(more(rows[MOST_ROWS:]))
    return tuple(told)


def _more_layers(rest: tuple[LayerInfo, ...]) -> LayerInfo:
    return LayerInfo(
        name=f"{len(rest)} more layers",
        type="",
        trainable=any(row.trainable for row in rest),
        parameters=sum(row.parameters for row in rest),
    )


def _more_features(rest: tuple[FeatureInfo, ...]) -> FeatureInfo:
    return FeatureInfo(name=f"{len(rest)} more", type="")


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the texts up to `MOST_TEXT` characters in all, the shortest first: a long one leaves the others be."""
    left = MOST_TEXT
    told: dict[str, str] = {}
    for key, text in sorted(metadata.items(), key=lambda pair: len(pair[1])):
        if left <= 0:
            break
        told[_short(key)] = _cut(text, left)
        left -= len(_short(key)) + len(text)
    return told


def _short(name: str) -> str:
    return _cut(name, MOST_NAME)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
