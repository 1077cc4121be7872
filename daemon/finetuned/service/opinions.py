"""The socket for a second opinion: what other software makes of a model file that a command has looked at."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from finetuned.service.messages import Value


class Opinion(Value, frozen=True, kw_only=True):
    """What somebody else says of a model file.

    `remarks` are sentences, one for each thing in which finetuned and the other differ; `agrees` where there is none.
    `checked` and `unchecked` say what the other looked at, and what it did not: it may know less than its name promises.
    """

    version: str
    agrees: bool
    remarks: tuple[str, ...]
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]


@runtime_checkable
class SecondOpinion(Protocol):
    """Looks at a model file with other software, away from this process: it may be large, loud or frail."""

    @property
    def name(self) -> str:
        """The software's name."""

    def judge(self, data: bytes) -> Opinion:
        """Say what the software makes of the file; raise `HostError` where it cannot be asked."""
