"""What `finetuned demo` works on: handwritten digits lying on their side, and a model that knows them upright.

Written by `tools/demo_material.py`; ATTRIBUTION.md says where the digits come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "digits.mlmodel"
DROPS = FOLDER / "drops"
TEST = FOLDER / "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A labelled PNG file; its name is the digit's index in the set."""

    label: str
    path: Path


def pictures(folder: Path) -> tuple[Picture, ...]:
    """Return the pictures of `DROPS` or `TEST`, label by label, always in the same order."""
    return tuple(Picture(label=path.parent.name, path=path) for path in sorted(folder.glob("*/*.png")))


def truncated(picture: bytes) -> bytes:
    """Return the first half of a PNG file: still a PNG by its first bytes, but no decoder can finish it."""
    return picture[: len(picture) // 2]
