"""What is dropped into a house: real pictures, each with a content of its own, and what must become of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.edge.demo_data import DROPS, MODEL, TEST, pictures, truncated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from torture.house import House

SHARED = Path(os.environ.get("FINETUNED_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
HANDS = SHARED / "updatable_built" / "Hands_MobileNetV1_025_updatable.mlmodel"
HANDS_PICTURES = SHARED / "rock_paper_scissors" / "train"
SHORT_AND_LONG = ({"epochs": 60}, {"epochs": 600}, {"epochs": 1000, "miniBatchSize": 2})
"""Of the demo's model; a task takes between half a second and some five."""
BAD_SHARE, TWIN_SHARE, RELABEL_SHARE = 0.08, 0.08, 0.05

Key = tuple[str, str, str]
"""Model, user, SHA-256: what a sample is known by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model and pictures for it, (folder, content) each.

    `parameters` are those that a house may choose from; `labels` leads from a folder's name to the model's label.
    """

    model: Path
    pictures: tuple[tuple[str, bytes], ...]
    parameters: tuple[Mapping[str, int], ...]
    labels: Mapping[str, str] = field(default_factory=dict)


def digits() -> Subject:
    """Return the demo's model and handwritten digits."""
    found = [*pictures(DROPS), *pictures(TEST)]
    content = tuple((each.label, each.path.read_bytes()) for each in found)
    return Subject(model=MODEL, pictures=content, parameters=SHORT_AND_LONG)


def hands() -> Subject | None:
    """Return a MobileNet with a head for rock, paper and scissors, and other people's photographs; None without them."""
    if not (HANDS.exists() and HANDS_PICTURES.exists()):
        return None
    found = sorted(path for path in HANDS_PICTURES.rglob("*") if path.is_file())
    content = tuple((path.parent.name, path.read_bytes()) for path in found)
    return Subject(
        model=HANDS,
        pictures=content,
        parameters=({"epochs": 30}, {"epochs": 100}),
        labels={"rock": "✊", "paper": "✋", "scissors": "✌️"},
    )


@dataclass(slots=True)
class Dropped:
    """Everything that was dropped: `good` with the folder that counts, `bad` by SHA-256, and the contents of both.

    `fresh` are those of this round: of two labels in one round nobody could say which came last.
    """

    good: dict[Key, str] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    contents: dict[str, bytes] = field(default_factory=dict)
    fresh: set[Key] = field(default_factory=set)


def drop(house: House, rng: Random, files: int) -> None:
    """Drop so many files for one model and user, as real producers do: some broken, some twice, some relabelled."""
    model = rng.choice(sorted(house.subjects))
    user = rng.choice(house.users)
    for _ in range(files):
        _drop_one(house, rng, model, user)


def _drop_one(house: House, rng: Random, model: str, user: str) -> None:
    dropped, chance = house.dropped, rng.random()
    subject = house.subjects[model]
    folder, content = rng.choice(subject.pictures)
    mine = sorted(key for key in dropped.good.keys() - dropped.fresh if key[:2] == (model, user))
    name = f"{len(dropped.contents):05}-{rng.getrandbits(24):06x}.{_suffix(content)}"
    if chance < BAD_SHARE:
        content = _with_mark(truncated(content), name)
        dropped.bad.add(_kept(dropped, content))
    elif chance < BAD_SHARE + TWIN_SHARE + RELABEL_SHARE and mine:
        key = rng.choice(mine)
        content = dropped.contents[key[2]]
        folder = dropped.good[key] if chance < BAD_SHARE + TWIN_SHARE else folder
        dropped.good[key] = folder
        dropped.fresh.add(key)
    else:
        content = _with_mark(content, name)
        key = (model, user, _kept(dropped, content))
        dropped.good[key] = folder
        dropped.fresh.add(key)
    house.put(f"{model}/{user}/{folder}/{name}", content)


def _with_mark(content: bytes, mark: str) -> bytes:
    """Return the picture with something behind its end: another content, the same picture."""
    return content + mark.encode()


def _kept(dropped: Dropped, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    dropped.contents[digest] = content
    return digest


def _suffix(content: bytes) -> str:
    return "png" if content.startswith(b"\x89PNG") else "jpg"
