"""What is held out: samples that are never trained on, so that they can tell whether a candidate is better.

Every label gives its share, as nearly as whole samples allow: of ten samples each, a fifth is two of each and not five of one.
Which ones is decided by their content, so the same samples fall on the same sides on every machine and after every restart;
a sample that a task has seen keeps its side for ever.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LEAST = 10  # fewer samples of a model and user: none is held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A sample: the SHA-256 of its content in hex, its label ("" for a regressor).

    `decided` is the side it was on in an earlier task (True: held out), None if no task has seen it: a sample that
    was trained on can never again tell how good the model is.
    """

    digest: str
    label: str = ""
    decided: bool | None = None


def split(samples: Sequence[Item], share: float, least: int = LEAST) -> frozenset[str]:
    """Return the digests to hold out of all samples of one model and user, `share` (0 … 1) of them.

    Fewer than `least` samples: none more than before.  Every label keeps at least one sample to train on.
    """
    before = frozenset(item.digest for item in samples if item.decided)
    if len(samples) < least:
        return before
    by_label: defaultdict[str, list[Item]] = defaultdict(list)
    for item in samples:
        by_label[item.label].append(item)
    quotas = _quotas({label: len(items) for label, items in by_label.items()}, share)
    return before.union(*(_chosen(items, quotas[label]) for label, items in by_label.items()))


def _quotas(counts: Mapping[str, int], share: float) -> dict[str, int]:
    """Divide round(share · all) among the labels: what is exact first, then the largest remainders."""
    quotas = {label: floor(share * count) for label, count in counts.items()}
    left = round(share * sum(counts.values())) - sum(quotas.values())
    by_remainder = sorted(
        counts, key=lambda label: (floor(share * counts[label]) - share * counts[label], label)
    )
    for label in by_remainder[: max(left, 0)]:
        quotas[label] += 1
    return {label: min(quota, counts[label] - 1) for label, quota in quotas.items()}


def _chosen(items: Iterable[Item], quota: int) -> frozenset[str]:
    """Choose as many undecided samples of a label as its quota lacks, those with the least digests."""
    items = list(items)
    lacking = quota - sum(item.decided is True for item in items)
    open_ones = sorted(item.digest for item in items if item.decided is None)
    trained = any(item.decided is False for item in items)
    most = len(open_ones) if trained else len(open_ones) - 1
    return frozenset(open_ones[: max(0, min(lacking, most))])
