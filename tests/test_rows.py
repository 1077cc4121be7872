from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import networks as n
from finetuned import rows
from finetuned.errors import HostError
from finetuned.rows import FiledRows, Gathering, row_bytes, slices

if TYPE_CHECKING:
    from finetuned.rows import Rows

COUNT, SHAPE = 50, (3, 5)
NUMBERS = n.numbers(COUNT, *SHAPE)


def gathered(folder: Path | None, *, step: int = 7) -> Gathering:
    gathering = Gathering(SHAPE, folder=folder)
    for start in range(0, COUNT, step):
        gathering.add(NUMBERS[start : start + step])
    return gathering


def both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Rows, Rows]:
    """Return the same rows in memory and on the disk; they are too many after a part of them."""
    kept = gathered(folder).rows()
    monkeypatch.setattr(rows, "IN_MEMORY", 1000)
    filed = gathered(folder).rows()
    assert isinstance(kept, np.ndarray)
    assert isinstance(filed, FiledRows)
    return kept, filed


def test_rows_on_the_disk_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = np.random.default_rng(1).permutation(COUNT)[:20]
    for found in both(tmp_path, monkeypatch):
        assert (len(found), found.shape, found.dtype.str) == (COUNT, (COUNT, *SHAPE), "<f4")
        assert row_bytes(found) == 60
        for part in (slice(3, 9), slice(45, 99), slice(9, 3), slice(None)):
            np.testing.assert_array_equal(found[part], NUMBERS[part])
        out = np.empty((20, *SHAPE), np.float32)
        np.testing.assert_array_equal(found.take(order, axis=0, out=out, mode="clip"), NUMBERS[order])
    np.testing.assert_array_equal(gathered(tmp_path).mapped(), NUMBERS)


def test_nothing_gathered_is_no_rows(tmp_path: Path) -> None:
    assert Gathering(SHAPE, np.uint8, tmp_path).rows().shape == (0, *SHAPE)


def test_the_file_has_no_name_and_ends_with_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    _, filed = both(tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before + 1
    del filed
    assert open_files() == before


def test_a_disk_that_is_full_or_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, filed = both(tmp_path, monkeypatch)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as failing:
        failing.setattr(os, "write", full)
        with pytest.raises(HostError, match="writing the samples to the disk failed: the disk is full"):
            gathered(tmp_path)
        failing.setattr(os, "preadv", broken)
        with pytest.raises(HostError, match="reading the samples from the disk failed: Input/output"):
            filed[:1]
        failing.setattr(os, "preadv", lambda *_: 10)
        with pytest.raises(HostError, match="too short"):
            filed[:1]
    with pytest.raises(HostError, match="opening a file for the samples failed"):
        gathered(tmp_path / "none")


def test_a_write_that_takes_a_part_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:11]))
    np.testing.assert_array_equal(gathered(tmp_path).rows()[:], NUMBERS)


def test_rows_go_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    held = gathered(None)
    links = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert [link for link in links if link.is_relative_to(tmp_path)]
    del held


def test_slices_hold_at_least_one_row_and_no_more_than_they_may() -> None:
    assert [each.stop - each.start for each in slices(5, 1 << 30)] == [1] * 5
    assert [each.stop - each.start for each in slices(600, 1)] == [256, 256, 88]
    assert [each.stop for each in slices(9, 0, most=4)] == [4, 8, 9]
    assert list(slices(0, 8)) == []
