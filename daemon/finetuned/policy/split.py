"""What is held out: samples that are never trained on, so that they can tell whether a candidate is better.

The content decides, so the same sample falls on the same side on every machine and after every restart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST = 10  # fewer samples of a model and user: none is held out
_DIGITS = 16
_WHOLE = 2.0 ** (4 * _DIGITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A sample: the SHA-256 of its content in hex, its label ("" for a regressor).

    `decided` is the side it was on in an earlier task (True: held out), None if no task has seen it: a sample that
    was trained on can never again tell how good the model is.
    """

    digest: str
    label: str = ""
    decided: bool | None = None


def held_out(digest: str, share: float) -> bool:
    """Say whether the content with this digest (hex) belongs to the `share` (0 … 1) that is held out."""
    return int(digest[:_DIGITS], 16) < share * _WHOLE


def split(samples: Sequence[Item], share: float, least: int = LEAST) -> frozenset[str]:
    """Return the digests to hold out of all samples of one model and user.

    Fewer than `least` samples: none more than before.  Every label keeps at least one sample to train on: if the
    share took all of them, the undecided one with the greatest digest stays.
    """
    chosen = {item.digest for item in samples if _chosen(item, share, open_now=len(samples) >= least)}
    return frozenset(chosen - _spared(samples, chosen))


def _chosen(item: Item, share: float, *, open_now: bool) -> bool:
    if item.decided is not None:
        return item.decided
    return open_now and held_out(item.digest, share)


def _spared(samples: Iterable[Item], chosen: set[str]) -> set[str]:
    by_label: defaultdict[str, list[Item]] = defaultdict(list)
    for item in samples:
        by_label[item.label].append(item)
    bare = (items for items in by_label.values() if all(item.digest in chosen for item in items))
    undecided = ([item.digest for item in items if item.decided is None] for items in bare)
    return {max(digests) for digests in undecided if digests}
