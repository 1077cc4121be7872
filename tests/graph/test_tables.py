from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from finetuned.graph import tables
from finetuned.graph.frames import Axis, Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetuned.graph.tables import Table


def matrix(table: Table, positions: int) -> NDArray[np.int64]:
    """Return how often place k·P + p of a table takes each position."""
    places = table[0].size
    counts = np.zeros((places, positions + 1), dtype=np.int64)  # NONE is the last
    for row in table.reshape(len(table), places):
        np.add.at(counts, (np.arange(places), row), 1)
    return counts[:, :-1]


@pytest.mark.parametrize("seed", range(5))
def test_the_inverse_of_a_table_is_its_transpose_and_leads_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = 7
    table = rng.integers(-1, positions, (2, 3, 5), dtype=np.int32)
    back = tables.inverse(table, positions)
    np.testing.assert_array_equal(matrix(back, table[0].size), matrix(table, positions).T)
    again = tables.inverse(back, table[0].size)
    np.testing.assert_array_equal(matrix(again, positions), matrix(table, positions))


def test_a_position_that_no_window_sees_stands_for_a_zero() -> None:
    back = tables.inverse(np.full((1, 2, 2), tables.NONE, np.int32), 3)
    assert back.tolist() == [[[tables.NONE] * 3]]


def test_windows_are_counted_row_by_row_and_so_are_their_places() -> None:
    rows, columns = Axis(size=3, out=2, kernel=2), Axis(size=4, out=2, kernel=2, stride=2)
    found = Frame(rows=rows, columns=columns).table()
    assert found.dtype == np.int32
    assert found[0].T.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [4, 5, 8, 9], [6, 7, 10, 11]]


def test_clamped_padding_stands_for_the_nearest_pixel_and_is_seen_no_more_often_than_others() -> None:
    axis = Axis(size=5, out=5, kernel=3, begin=1, end=1)
    clamped = Frame(rows=axis, columns=axis).table(clamped=True)
    assert clamped[0, :, 0].tolist() == [0, 0, 1, 0, 0, 1, 5, 5, 6]
    assert clamped[0, :, -1].tolist() == [18, 19, 19, 23, 24, 24, 23, 24, 24]
    assert len(tables.inverse(clamped, 25)) == 9


def test_what_several_positions_make_is_summed_over_the_windows_places() -> None:
    table = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
    assert tables.summed(table)[:, 0, 0].tolist() == table[:, :, 0].reshape(-1).tolist()
