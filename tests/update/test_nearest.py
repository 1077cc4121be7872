from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetuned.update.nearest import Nearest

Array = NDArray[Any]


def brute(samples: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """What is right: every distance in float64, one query at a time."""
    positions, distances = [], []
    for query in queries.astype(np.float64):
        apart = ((samples.astype(np.float64) - query) ** 2).sum(axis=1)
        order = sorted(range(len(samples)), key=lambda position: (apart[position], position))[:k]
        positions.append(order)
        distances.append(apart[order])
    return np.array(positions).reshape(len(queries), -1), np.array(distances).reshape(len(queries), -1)


def agree(found: tuple[Array, Array], right: tuple[Array, Array]) -> None:
    np.testing.assert_array_equal(found[0], right[0])
    np.testing.assert_allclose(found[1], right[1], rtol=1e-13)


def cloud(shape: tuple[int, int], *, seed: int = 0, scale: float = 1, far: float = 0, grid: int = 0) -> Array:
    """Random samples; on a grid many are equally far from each other."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, grid, shape) if grid else rng.normal(size=shape)
    return (numbers * scale + far).astype(np.float32)


CLOUDS: dict[str, dict[str, Any]] = {
    "as they come": {},
    "equally far": {"grid": 3},
    "far off": {"far": 1e4, "scale": 0.1},
    "huge": {"scale": 1e30},
    "tiny": {"scale": 1e-30},
    "all the same": {"grid": 1, "far": 3},
}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("shape", [(2000, 5), (300, 130)], ids=str)
@pytest.mark.parametrize("tree", [False, True])
def test_the_nearest_are_those_of_computing_all_distances(
    name: str,
    shape: tuple[int, int],
    tree: bool,  # noqa: FBT001 - a column of the table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finetuned.update.nearest_tree._DEEP", {5: 1})
    samples = cloud(shape, **CLOUDS[name])
    queries = np.concatenate([samples[7:10], cloud((6, shape[1]), seed=1, **CLOUDS[name])])

    agree(Nearest(samples, tree=tree).nearest(queries, 4), brute(samples, queries, 4))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 90), d=st.integers(1, 70), m=st.integers(1, 9), k=st.integers(1, 100), data=st.data())
def test_whatever_the_numbers_the_earliest_of_equally_near_ones_comes_first(
    n: int, d: int, m: int, k: int, data: st.DataObject
) -> None:
    few = data.draw(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            min_size=1,
            max_size=4,
        )
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    samples, queries = (rng.choice(np.array(few, np.float32), (rows, d)) for rows in (n, m))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetuned.update.nearest._SMALL", 0)
        agree(Nearest(samples).nearest(queries, k), brute(samples, queries, k))


@pytest.mark.parametrize("rows", [1, 9, 30])
def test_what_products_in_float32_cannot_tell_apart_is_looked_at_again(rows: int) -> None:
    """Two clusters far off on either side: their middle is no better a place to look from."""
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 2, (1500, 1)) * 2 - 1
    samples = (sides * 1000 + rng.normal(size=(1500, 40)) * 0.01).astype(np.float32)
    queries = (samples[:rows] + np.float32(0.003)).astype(np.float32)
    agree(Nearest(samples).nearest(queries, 3), brute(samples, queries, 3))


def test_what_a_tree_in_float32_cannot_tell_apart_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few samples all but equally far, on a sphere around the query, and all others farther."""
    monkeypatch.setattr("finetuned.update.nearest_tree._DEEP", {3: 1})
    rng = np.random.default_rng(0)
    for _ in range(20):
        samples = rng.normal(size=(2000, 3))
        samples /= np.linalg.norm(samples, axis=1, keepdims=True)
        samples[6:] *= 3
        query = rng.normal(size=(1, 3)).astype(np.float32)
        samples = (samples + query).astype(np.float32)
        agree(Nearest(samples, tree=True).nearest(query, 3), brute(samples, query, 3))


def test_neither_batch_nor_threads_nor_method_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetuned.update.nearest_tree._DEEP", {3: 1, 100: 1})
    for d in (3, 100):
        samples, queries = cloud((5000, d)), cloud((300, d), seed=1)
        found = Nearest(samples).nearest(queries, 5)
        for threads, tree, batch in ((1, False, 1), (2, False, 7), (2, True, 300), (1, True, 1)):
            memory = Nearest(samples, threads=threads, tree=tree)
            parts = [memory.nearest(queries[first : first + batch], 5) for first in range(0, 300, batch)]
            for side in (0, 1):
                np.testing.assert_array_equal(np.concatenate([part[side] for part in parts]), found[side])


@pytest.mark.parametrize("tree", [False, True])
def test_what_is_added_is_found(tree: bool) -> None:  # noqa: FBT001 - a parameter of the test
    samples = cloud((4000, 3))
    memory = Nearest(samples[:3500], tree=tree)
    queries = cloud((20, 3), seed=1)
    memory.nearest(queries, 3)
    for first in range(3500, 4000, 50):
        memory.add(samples[first : first + 50])
        agree(memory.nearest(queries, 3), brute(samples[: first + 50], queries, 3))
    assert len(memory) == len(memory.samples) == 4000


def test_a_memory_may_be_empty_at_first() -> None:
    memory = Nearest(np.empty((0, 4), np.float32))
    assert [part.shape for part in memory.nearest(np.zeros((2, 4), np.float32), 3)] == [(2, 0), (2, 0)]
    memory.add(np.ones((1, 4), np.float32))
    positions, distances = memory.nearest(np.zeros((2, 4), np.float32), 3)
    assert (positions.tolist(), distances.tolist()) == ([[0], [0]], [[4], [4]])


def test_to_add_a_row_moves_the_old_ones_rarely() -> None:
    memory = Nearest(cloud((1000, 2)))
    places = set()
    for _ in range(400):
        memory.add(np.zeros((1, 2), np.float32))
        places.add(memory.samples.ctypes.data)
    assert len(places) <= 3


def test_numbers_that_are_none_are_farther_than_all_others() -> None:
    samples = cloud((3000, 6))
    samples[::2] = np.nan
    samples[1] = np.inf
    positions, _ = Nearest(samples).nearest(samples[3:4], 1499)
    assert positions[0, 0] == 3
    assert set(positions[0]) == set(range(3, 3000, 2))
