"""Which samples a nearest-neighbours model keeps: pure functions of the stored samples, the new ones and a `Growth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from finetuned.errors import ParameterError
from finetuned.rows import row_bytes, slices

if TYPE_CHECKING:
    from finetuned.rows import Rows

Array = NDArray[Any]
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


def growth_of(most: object, policy: object, *, duplicates: bool = False) -> Growth:
    """Return what somebody asks for; ParameterError where it is not allowed."""
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise ParameterError(f"max_samples is {most!r}; allowed: a whole number, 0 (no limit) or more")
    if policy not in get_args(Policy):
        raise ParameterError(f"when_full is {policy!r}; allowed: {', '.join(get_args(Policy))}")
    return Growth(most=most, policy=cast("Policy", policy), duplicates=duplicates)


# ── which stay ──────────────────────────────────────────────────────────────────────────────────
def kept(classes: Array, growth: Growth) -> Array:
    """Return the positions of the samples that stay, int64, in the order in which they are stored.

    Args:
        classes: int64 [n], those of the samples, the oldest first.
        growth: how many, and which go first.  Of labels with as many samples that is the one whose oldest is the oldest.
    """
    everything = np.arange(len(classes))
    if not growth.most or len(classes) <= growth.most:
        return everything
    if growth.policy == "oldest":
        return everything[-growth.most :]
    return np.flatnonzero(_from_newest(classes) < _quotas(classes, growth.most)[classes])


def _from_newest(classes: Array) -> Array:
    """Return how many samples of the same class each has after it."""
    order = np.argsort(classes[::-1], kind="stable")
    ranked = classes[::-1][order]
    starts = np.searchsorted(ranked, ranked)
    after = np.empty(len(classes), np.int64)
    after[len(classes) - 1 - order] = np.arange(len(classes)) - starts
    return after


def _quotas(classes: Array, most: int) -> Array:
    """Return how many samples of each class stay: one after the other goes, of whichever class has most."""
    counts = np.bincount(classes)
    level = _level(counts, most)
    quotas: Array = np.minimum(counts, level + 1)
    # All that have more than `level` come to `level` + 1 first; so many of them lose one more.
    losers = int(quotas.sum()) - most
    if losers:
        oldest = np.flatnonzero((_from_newest(classes) == level) & (counts[classes] > level))[:losers]
        quotas[classes[oldest]] -= 1
    return quotas


def _level(counts: Array, most: int) -> int:
    """Return the greatest number to which all classes may be cut without more than `most` being left."""
    low, high = 0, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(np.minimum(counts, middle).sum()) <= most:
            low = middle
        else:
            high = middle - 1
    return low


# ── which are new ───────────────────────────────────────────────────────────────────────────────
def newcomers(stored: Array, stored_classes: Array, rows: Rows, classes: Array) -> Array:
    """Return which of `rows` are not there yet, neither stored nor earlier among them: bool [m].

    A sample is there if one has the same numbers (0 and -0 are the same) and the same class.  A hash of each finds those
    that may be, one pass over the numbers, and these are compared.

    Args:
        stored: float32 [n, d].
        stored_classes: int64 [n].
        rows: float32 [m, d].
        classes: int64 [m].
    """
    everything = np.concatenate([_hashes(stored, stored_classes), _hashes(rows, classes)])
    _, firsts, places = np.unique(everything, return_index=True, return_inverse=True)
    earlier = firsts[places][len(stored) :]
    candidates = np.flatnonzero(earlier < np.arange(len(stored), len(everything)))
    new = np.ones(len(classes), bool)
    all_classes = np.concatenate([stored_classes, classes])
    for part in slices(len(candidates), row_bytes(rows)):
        found, before = candidates[part], earlier[candidates[part]]
        same = (_taken(stored, rows, before) == _taken(stored, rows, found + len(stored))).all(axis=1)
        new[found] = ~(same & (all_classes[before] == classes[found]))
    return new


def _hashes(rows: Rows, classes: Array) -> Array:
    """Return uint64 [n]: a sum of odd multiples of each row's bits and class, in parts."""
    multiples = np.random.default_rng(0).integers(1 << 63, size=rows.shape[1] + 1, dtype=np.uint64)
    multiples = multiples * np.uint64(2) + np.uint64(1)
    hashes: Array = classes.astype(np.uint64) * multiples[-1]
    for part in slices(len(rows), row_bytes(rows), most=len(rows)):
        bits = (rows[part] + np.float32(0)).view(np.uint32)  # -0 becomes 0
        hashes[part] += bits.astype(np.uint64) @ multiples[:-1]
    return hashes


def _taken(stored: Array, rows: Rows, places: Array) -> Array:
    """Return rows by their places among all, the stored ones first."""
    found = np.empty((len(places), *rows.shape[1:]), np.float32)
    old = places < len(stored)
    found[old] = stored[places[old]]
    new = np.empty((int((~old).sum()), *rows.shape[1:]), np.float32)
    found[~old] = rows.take(places[~old] - len(stored), axis=0, out=new, mode="clip")
    return found
