"""Which samples a nearest-neighbours model keeps: pure functions of the stored samples, the new ones and a `Growth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Policy = Literal["oldest", "balanced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How far a model may grow.

    `most` samples are kept (0: all).  Where there are more, `policy` says which go first: the `oldest`, or (`balanced`) the
    oldest of whichever label has most.  A sample with the same vector and the same label as a stored one is stored once,
    unless `duplicates`.
    """

    most: int = 0
    policy: Policy = "oldest"
    duplicates: bool = False
