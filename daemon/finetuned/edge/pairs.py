"""`KEY=VALUE` as it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Iterable


def pairs(typed: Iterable[str] | None, option: str) -> dict[str, str]:
    """Return `KEY=VALUE` strings as a table; ParameterError where one has no `=`, or a key comes twice."""
    found: dict[str, str] = {}
    for text in typed or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ParameterError(f"{option} {text!r} is not KEY=VALUE")
        if key in found:
            raise ParameterError(f"{option} {key} is given twice: {found[key]} and {value}")
        found[key] = value
    return found
