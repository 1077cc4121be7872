from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import HostError
from finetuned.service.inputs import (
    keep_features_of,
    missing_inputs,
    opened,
    put_features,
    put_inputs,
    read_features,
    read_inputs,
)

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURE = "RGB:3x4x6:stretch"


def test_inputs_are_read_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path / "inputs.db") as db:
        put_inputs(db, SIGNATURE, [("a", b"1"), ("b", b"2"), ("c", b"3")])
    with opened(tmp_path / "inputs.db") as db:
        assert list(read_inputs(db, SIGNATURE, ["c", "a", "c"])) == [b"3", b"1", b"3"]


def test_what_was_decoded_for_another_shape_is_missing(tmp_path: Path) -> None:
    with opened(tmp_path / "inputs.db") as db:
        put_inputs(db, "GRAYSCALE:1x2x2:stretch", [("a", b"1")])
        put_inputs(db, SIGNATURE, [("b", b"2")])
        assert missing_inputs(db, SIGNATURE, ["c", "a", "b"]) == ["c", "a"]
        with pytest.raises(HostError, match="missing"):
            list(read_inputs(db, SIGNATURE, ["b", "a"]))


def test_features_belong_to_a_model_and_a_missing_one_reads_as_none(tmp_path: Path) -> None:
    with opened(tmp_path / "inputs.db") as db:
        put_features(db, "model", [("a", b"1"), ("b", b"2")])
        put_features(db, "model", [("a", b"3")])
        assert list(read_features(db, "model", ["b", "x", "a"])) == [b"2", None, b"3"]
        assert list(read_features(db, "other", ["a"])) == [None]


def test_the_worker_may_read_and_write_while_the_daemon_writes(tmp_path: Path) -> None:
    path = tmp_path / "inputs.db"

    def write_features() -> None:
        with opened(path) as db:
            for number in range(50):
                put_features(db, "model", [(str(number), b"f")])

    worker = threading.Thread(target=write_features)
    worker.start()
    with opened(path) as db:
        for number in range(50):
            put_inputs(db, SIGNATURE, [(str(number), b"i")])
    worker.join()
    with opened(path) as db:
        names = [str(number) for number in range(50)]
        assert list(read_features(db, "model", names)) == list[bytes | None]([b"f"] * 50)
        assert list(read_inputs(db, SIGNATURE, names)) == [b"i"] * 50


def test_what_the_disk_has_changed_is_missing_and_so_is_all_else_that_it_has_changed(tmp_path: Path) -> None:
    """SQLite itself does not notice."""
    path = tmp_path / "inputs.db"
    with opened(path) as db:
        put_inputs(db, SIGNATURE, [(name, name.encode() * 50) for name in "abcd"])
        put_features(db, "model", [("a", b"zzzzzz")])
    for name, seen in (("b", b"bbbb"), ("d", b"dddd"), ("z", b"zzzz")):
        assert seen in path.read_bytes(), name
        path.write_bytes(path.read_bytes().replace(seen, seen[:-1] + b"?", 1))
    with opened(path) as db:
        assert list(read_inputs(db, SIGNATURE, ["a", "c"])) == [b"a" * 50, b"c" * 50]
        assert list(read_features(db, "model", ["a"])) == [None]
        with pytest.raises(HostError, match="damaged; it is made anew"):
            list(read_inputs(db, SIGNATURE, ["b"]))
        assert missing_inputs(db, SIGNATURE, "abcd") == ["b", "d"]


def test_a_file_of_an_older_finetuned_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "inputs.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE inputs (digest TEXT, signature TEXT, data BLOB)")
        db.execute("INSERT INTO inputs VALUES ('a', ?, x'01')", (SIGNATURE,))
    with opened(path) as db:
        assert missing_inputs(db, SIGNATURE, ["a"]) == ["a"]


def test_features_that_nobody_asks_for_any_more_are_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "inputs.db") as db:
        for version in ("older", "newer"):
            put_features(db, version, [("a", b"1")])
        keep_features_of(db, "newer")
        assert [list(read_features(db, each, ["a"])) for each in ("older", "newer")] == [[None], [b"1"]]


def test_a_file_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "inputs.db"
    path.write_bytes(b"not a database, " * 1000)
    with opened(path) as db:
        assert missing_inputs(db, SIGNATURE, ["a"]) == ["a"]


def test_a_database_found_damaged_later_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "inputs.db"
    with opened(path) as db:
        put_inputs(db, SIGNATURE, [(str(n), bytes(4000)) for n in range(100)])
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(HostError, match="made anew"), opened(path) as db:
        list(read_inputs(db, SIGNATURE, [str(n) for n in range(100)]))
    with opened(path) as db:
        assert missing_inputs(db, SIGNATURE, ["7"]) == ["7"]


def test_a_file_that_cannot_be_opened_is_the_hosts_fault_and_stays(tmp_path: Path) -> None:
    (tmp_path / "inputs.db").mkdir()
    with pytest.raises(HostError, match="cannot be opened"), opened(tmp_path / "inputs.db"):
        pass
    assert (tmp_path / "inputs.db").is_dir()


def test_a_mistake_in_the_code_is_not_taken_for_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.ProgrammingError), opened(tmp_path / "inputs.db") as db:
        db.execute("SELECT ?", ())
    assert (tmp_path / "inputs.db").exists()
