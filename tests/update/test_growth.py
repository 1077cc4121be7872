"""Which samples stay, and which are new, against the same said sample by sample."""

from __future__ import annotations

import numpy as np
import pytest

from finetuned.errors import ParameterError
from finetuned.update import growth
from finetuned.update.growth import Growth, growth_of, kept, newcomers


def one_by_one(classes: list[int], growth: Growth) -> list[int]:
    """Let one sample go after the other."""
    there = list(range(len(classes)))
    while growth.most and len(there) > growth.most:
        if growth.policy == "oldest":
            del there[0]
            continue
        counts = {c: sum(classes[p] == c for p in there) for c in classes}
        most = max(counts.values())
        there.remove(next(p for p in there if counts[classes[p]] == most))
    return there


@pytest.mark.parametrize("policy", ["oldest", "balanced"])
@pytest.mark.parametrize("seed", range(8))
def test_what_stays_is_what_is_left_when_one_goes_after_the_other(policy: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(4, size=30, p=[0.6, 0.2, 0.15, 0.05])
    for most in (0, 1, 3, 7, 12, 29, 30, 40):
        limit = growth_of(most, policy)
        assert kept(classes, limit).tolist() == one_by_one(classes.tolist(), limit), most


def test_a_sample_is_new_unless_its_numbers_and_its_label_are_there() -> None:
    stored = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    rows = np.array([[-0.0, 1.0], [0.0, 1.0], [2.0, 3.0], [3.0, 2.0], [3.0, 2.0]], np.float32)
    new = newcomers(stored, np.array([0, 1]), rows, np.array([0, 1, 1, 1, 1]))
    assert new.tolist() == [False, True, False, True, False]


def test_many_samples_are_compared_as_few_are() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(3, size=(5000, 3)).astype(np.float32)
    classes = rng.integers(2, size=5000)
    seen = {(*row, c) for row, c in zip(rows[:40].tolist(), classes[:40].tolist(), strict=True)}
    expected = []
    for row, c in zip(rows[40:].tolist(), classes[40:].tolist(), strict=True):
        expected.append((*row, c) not in seen)
        seen.add((*row, c))
    assert newcomers(rows[:40], classes[:40], rows[40:], classes[40:]).tolist() == expected


def test_what_has_the_same_hash_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "_hashes", lambda rows, _classes: np.zeros(len(rows), np.uint64))
    stored, rows = (
        np.array([[0.0, 1.0]], np.float32),
        np.array([[2.0, 3.0], [0.0, 1.0], [0.0, 1.0]], np.float32),
    )
    assert newcomers(stored, np.array([0]), rows, np.array([0, 0, 1])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("most", "policy"), [(-1, "oldest"), (True, "oldest"), (1.5, "oldest"), (1, "newest")]
)
def test_a_limit_is_a_whole_number_and_a_policy_one_that_there_is(most: object, policy: object) -> None:
    with pytest.raises(ParameterError, match="allowed: "):
        growth_of(most, policy)
