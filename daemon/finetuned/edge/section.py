"""What all sections of the configuration are made of: their base, and the types of their keys."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from finetuned.errors import RequestError
from finetuned.service.names import model_name

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 60  # characters of a wrong value that a message repeats
YEAR_S = 31_536_000
LARGEST = 2**63 - 1  # what the daemon's JSON can hold


def absolute(path: str) -> str:
    """Expand `~`; a relative path would depend on where the daemon was started."""
    if not path:
        return path
    if "\0" in path:
        raise ValueError("no path has a zero character in it")
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error}; give an absolute path") from None
    if not expanded.is_absolute():
        raise ValueError(f"{path!r:.{SHOWN}} is relative; give an absolute path, or one that begins with ~/")
    return str(expanded)


def _model_name(name: str) -> str:
    try:
        return model_name(name)
    except RequestError as error:
        raise ValueError(str(error)) from None


def matching(pattern: str, what: str) -> AfterValidator:
    """Return the check that a text matches the pattern, which is `what` in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r:.{SHOWN}} is no {what}")
        return text

    return AfterValidator(check)


Word = Annotated[str, StringConstraints(min_length=1)]
FilePath = Annotated[str, AfterValidator(absolute)]
Level = Annotated[
    str,
    matching(
        r"[^+#/$\x00-\x1f]{1,64}", "topic level (1 to 64 characters, no / + # $ and no control characters)"
    ),
]
ModelName = Annotated[str, AfterValidator(_model_name)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Section(BaseModel):
    """The base of all sections; the keys named in `ascending` must grow from left to right."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    ascending: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if mistakes := tuple(self.mistakes()):
            raise PydanticCustomError("inconsistent", "inconsistent", {"mistakes": mistakes})
        return self

    def mistakes(self) -> list[tuple[str, str]]:
        """Return what contradicts itself within the section: pairs of key and sentence."""
        return self.falling_short(self.ascending)

    def falling_short(self, keys: Sequence[str]) -> list[tuple[str, str]]:
        """Return those of the keys that are not below the next one, with a sentence."""
        return [
            (low, f"{getattr(self, low):g} must be below {high} ({getattr(self, high):g})")
            for low, high in pairwise(keys)
            if getattr(self, low) >= getattr(self, high)
        ]
