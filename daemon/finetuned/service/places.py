"""What a file's place in the inbox means: which model, user and label, or why it has to wait.  Pure.

`<inbox>/<model>/[<user>/]<label>/…/<file>`; a label's folder may hold further folders, which mean nothing.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from finetuned.errors import RequestError
from finetuned.service.names import LABELS, file_name, folder_name, model_name, new_label, user_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath
    from typing import Literal

    from finetuned.service.messages import InputSpec, ModelInfo

UNFINISHED = (".part", ".tmp", ".crdownload", "~")
MODEL_SUFFIX = ".mlmodel"
SHOWN_LABELS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What a model takes: samples decoded to `want`, under its `labels`; `mapping` is folder name → label.

    `new_labels`: the kind of those that it takes beside these (`string`, `int64`; nearest neighbours do), "": none.
    """

    want: InputSpec
    labels: tuple[str, ...]
    mapping: Mapping[str, str] = field(default_factory=dict)
    new_labels: str = ""

    def label_of(self, folder: str) -> str | None:
        """Return the model's label for a folder, a new one where it takes such; None where it is none.

        Both spellings of an umlaut will do.
        """
        folder = _composed(folder)
        mapped = {_composed(key): label for key, label in self.mapping.items()}.get(folder, folder)
        known = next((label for label in self.labels if _composed(label) == _composed(mapped)), None)
        return new_label(mapped, self.new_labels) if known is None and self.new_labels else known

    @property
    def known(self) -> str:
        """Say which labels there are, or may be."""
        return LABELS.get(self.new_labels) or ", ".join(self.labels[:SHOWN_LABELS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file that may be taken: `folder` is what its label's folder is called, `label` the model's own."""

    model: str
    user: str
    label: str
    folder: str
    name: str
    want: InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A file that waits, with what is known of its place (all printable) and why."""

    model: str
    user: str
    label: str
    name: str
    reason: str


def is_unfinished(name: str) -> bool:
    """Say whether somebody is still at it: hidden names, and those of downloads and editors."""
    return name.startswith(".") or name.endswith(UNFINISHED)


def is_model(relative: PurePath) -> bool:
    """Say whether this is a model, dropped into the inbox itself."""
    return len(relative.parts) == 1 and relative.suffix == MODEL_SUFFIX


def intake(
    info: ModelInfo, mapping: Mapping[str, str], fit: Literal["stretch", "crop"] = "stretch"
) -> Intake | str:
    """Return what a model takes from its inbox, or why it takes nothing."""
    if not info.updatable:
        return f"it cannot be updated: {'; '.join(info.reasons)}"
    if not (info.class_labels or info.open_labels):
        return "it has no class labels, so a folder cannot tell the target; use finetuned update with DATA"
    if len(info.losses) > 1:
        return (
            f"it has {len(info.losses)} losses and a folder tells one target; use finetuned update with DATA"
        )
    if len(info.sample_inputs) != 1:
        return f"it has {len(info.sample_inputs)} inputs and a file holds one; use finetuned update with DATA"
    want = with_fit(info.sample_inputs[0], fit)
    labels = tuple(map(str, info.class_labels))
    kind = info.label_kind if info.open_labels else ""
    return Intake(want=want, labels=labels, mapping=mapping, new_labels=kind)


def with_fit(want: InputSpec, fit: Literal["stretch", "crop"]) -> InputSpec:
    """Return the same input, its pictures fitted as `fit` says."""
    return type(want)(name=want.name, shape=want.shape, color=want.color, fit=fit)


def classify(relative: PurePath, intakes: Mapping[str, Intake | str], *, users: bool) -> Place | Waiting:
    """Tell what a file's path below the inbox means; `intakes` is what each known model takes, or why nothing."""
    parts = (*relative.parts[:-1], "", "", "")
    model, user, folder = (parts[0], parts[1], parts[2]) if users else (parts[0], "", parts[1])
    reason = _objection(model, user if users else None, folder, intakes)
    taken = intakes.get(model)
    if reason or not isinstance(taken, Intake) or not (label := taken.label_of(folder)):
        known = taken.known if isinstance(taken, Intake) else ""
        reason = reason or f"{file_name(folder, '')} is no label of {model}; its labels are {known}"
        return Waiting(
            model=file_name(model, ""),
            user=file_name(user, ""),
            label=file_name(folder, ""),
            name=file_name(relative.name, ""),
            reason=reason,
        )
    name = file_name(relative.name, "")
    return Place(model=model, user=user, label=label, folder=folder, name=name, want=taken.want)


def _objection(model: str, user: str | None, folder: str, intakes: Mapping[str, Intake | str]) -> str:
    """Say what keeps the file from being taken, apart from an unknown label."""
    if not model or not folder:
        layout = "<model>/<label>/<file>" if user is None else "<model>/<user>/<label>/<file>"
        return f"it lies in no label's folder; the inbox's layout is {layout}"
    try:
        model_name(model)
        folder_name(folder)
        if user is not None:
            user_name(user)
    except RequestError as error:
        return str(error)
    taken = intakes.get(model, f"no model named {model} is registered")
    return taken if isinstance(taken, str) else ""


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
