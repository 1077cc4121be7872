"""How neighbours decide, against votes that are counted by hand in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from finetuned.update.voting import vote


def by_hand(classes: list[int], distances: list[int], *, inverse: bool) -> tuple[int, list[Fraction]]:
    """Count the votes of one sample's neighbours, nearest first."""
    votes = [Fraction(1)] * len(classes)
    if inverse:
        exact = 0 in distances
        votes = [Fraction(d == 0) if exact else Fraction(1, d) for d in distances]
    totals = [
        sum((v for v, c in zip(votes, classes, strict=True) if c == each), Fraction()) for each in range(4)
    ]
    best = max(totals)
    winner = next(c for c in classes if totals[c] == best)
    return winner, [total / sum(totals) for total in totals]


CASES = {
    "most": ([1, 0, 0], [1, 2, 4]),
    "a tie": ([2, 0, 0, 2], [1, 2, 3, 4]),
    "all differ": ([3, 1, 0], [1, 1, 1]),
    "one is exact": ([1, 0, 0], [0, 2, 4]),
    "two are exact": ([2, 1, 2, 1], [0, 0, 1, 1]),
    "alone": ([0], [7]),
}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_votes_are_those_counted_by_hand(name: str, *, inverse: bool) -> None:
    classes, distances = CASES[name]
    winner, shares = by_hand(classes, distances, inverse=inverse)
    # Beside another sample with other neighbours, which has no say here.
    others = np.zeros_like(classes)
    found, parts = vote(
        np.array([classes, others]), np.array([distances, np.ones(len(classes))], float), 4, inverse=inverse
    )
    assert found.tolist() == [winner, 0]
    assert parts[0] == pytest.approx([float(share) for share in shares], abs=1e-15)


def test_the_distance_in_a_vote_is_the_squared_one() -> None:
    # At distances 1 and 2, of squares 1 and 4: 4 of 5 votes, where plain distances would give 2 of 3.
    assert vote(np.array([[0, 1]]), np.array([[1.0, 4.0]]), 2, inverse=True)[1].tolist() == [[0.8, 0.2]]
