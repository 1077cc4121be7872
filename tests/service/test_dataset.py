from __future__ import annotations

import json
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
from finetuned import rows
from finetuned.errors import SampleError
from finetuned.service import dataset, tables
from finetuned.service.decoder import Decoders
from service.samples import GRAY, PICTURE, VECTOR, npy, numbered, png

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finetuned.service.dataset import Dataset
    from finetuned.service.messages import InputSpec

LABELS = ("rock", "paper", "✌️")


async def read(
    path: Path,
    inputs: Sequence[InputSpec] = (VECTOR,),
    labels: Sequence[str] = LABELS,
    mapping: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - each has its own type
) -> Dataset:
    async with Decoders() as decoders:
        parts = dataset.parts(
            path,
            inputs,
            target="y",
            labels=labels,
            mapping=mapping or {},
            decoders=decoders,
            **more,
        )
        return await dataset.whole(parts)


def folder(root: Path, **files: bytes) -> Path:
    """Write files; the name `rock_a` is rock/a."""
    for name, content in files.items():
        path = root / name.replace("_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


# ── folders ─────────────────────────────────────────────────────────────────────────────────────
async def test_a_folder_of_label_folders_is_decoded_in_the_order_of_names(tmp_path: Path) -> None:
    root = folder(tmp_path, rock_b=numbered(2), rock_a=numbered(1), paper_deep_c=numbered(3))
    folder(tmp_path, **{"rock_.DS": b"hidden", "rock_x.tmp": b"unfinished"})
    seen: list[tuple[int, int]] = []
    data = await read(root, [PICTURE], progress=lambda done, total: seen.append((done, total)))
    assert data.names == ["paper/deep/c", "rock/a", "rock/b"]
    assert data.targets == ["paper", "rock", "rock"]
    assert data.inputs["image"].shape == (3, 3, 4, 6)
    assert data.inputs["image"].dtype == np.uint8
    assert data.inputs["image"][:, 0, 0, 0].tolist() == [3, 1, 2]
    assert seen == [(1, 3), (2, 3), (3, 3)]


async def test_arrays_of_a_folder_are_float32(tmp_path: Path) -> None:
    data = await read(folder(tmp_path, **{"rock_a.npy": npy([1, 2, 3])}))
    assert data.inputs["x"].tolist() == [[1, 2, 3]]
    assert data.inputs["x"].dtype == np.float32


async def test_a_file_that_cannot_be_decoded_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    data = await read(folder(tmp_path, rock_a=png(), rock_b=b"nonsense"), [PICTURE])
    assert len(data) == 1
    assert list(data.rejected) == ["rock/b"]
    assert "not a file that any decoder knows" in data.rejected["rock/b"]


async def test_links_in_ones_own_data_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(png())
    root = tmp_path / "data"
    (root / "rock").mkdir(parents=True)
    (root / "rock" / "a.png").symlink_to(tmp_path / "elsewhere.png")
    assert len(await read(root, [PICTURE])) == 1


async def test_folder_names_that_are_no_labels_are_an_error_that_lists_the_labels(tmp_path: Path) -> None:
    root = folder(tmp_path, rock_a=png(), scissors_b=png())
    with pytest.raises(
        SampleError, match=r"labels of the model: scissors; its labels are rock, paper.*--label scissors=rock"
    ):
        await read(root, [PICTURE])
    data = await read(root, [PICTURE], mapping={"scissors": "✌️"})
    assert data.targets == ["rock", "✌️"]


@pytest.mark.parametrize(
    ("files", "inputs", "labels", "complaint"),
    [
        ({}, [PICTURE], LABELS, "holds no folders"),
        ({"rock_a": b"bad"}, [PICTURE], LABELS, "nothing that can be used; rock/a: not a file"),
        ({"rock_a": png()}, [PICTURE], (), "no class labels"),
        ({"rock_a": png()}, [PICTURE, VECTOR], LABELS, r"several inputs \(image, x\)"),
    ],
)
async def test_a_folder_that_cannot_serve_is_an_error(
    tmp_path: Path, files: dict[str, bytes], inputs: list[InputSpec], labels: Sequence[str], complaint: str
) -> None:
    with pytest.raises(SampleError, match=complaint):
        await read(folder(tmp_path, **files), inputs, labels)


# ── tables ──────────────────────────────────────────────────────────────────────────────────────
def npz(path: Path, **arrays: Any) -> Path:  # noqa: ANN401 - whatever NumPy takes
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def text(path: Path, name: str, content: str) -> Path:
    (path / name).write_text(content, "utf-8")
    return path / name


def jsonl(path: Path, *rows: object) -> Path:
    return text(path, "data.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")


async def test_an_npz_holds_arrays_by_feature_name(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.eye(3), y=np.array(["rock", "scissors", "rock"]), more=np.arange(9))
    data = await read(path, mapping={"scissors": "✌️"})
    assert data.inputs["x"].tolist() == np.eye(3).tolist()
    assert data.targets == ["rock", "✌️", "rock"]
    assert data.names == ["data.npz[0]", "data.npz[1]", "data.npz[2]"]


# ── new labels ──────────────────────────────────────────────────────────────────────────────────
async def test_a_model_of_open_labels_takes_new_ones_from_folders_and_tables(tmp_path: Path) -> None:
    root = folder(tmp_path / "folder", **{"sun flower_a": numbered(1), "rock_b": numbered(2)})
    data = await read(root, [PICTURE], mapping={"rock": "stone"}, new_labels="string")
    assert data.targets == ["stone", "sun flower"]
    np.savez(tmp_path / "data.npz", x=n.numbers(3, 3), y=np.array([3.0, -7, 2**40]))
    assert (await read(tmp_path / "data.npz", labels=(), new_labels="int64")).targets == [
        "3",
        "-7",
        str(2**40),
    ]
    (tmp_path / "data.csv").write_text("x[0],x[1],x[2],y\n1,2,3,+07\n")
    assert (await read(tmp_path / "data.csv", labels=(), new_labels="int64")).targets == ["7"]


@pytest.mark.parametrize(
    ("kind", "label", "said"),
    [
        ("int64", '"seven"', r"'seven' is no label of the model; its labels are whole numbers of 64 bits; map it with --label seven=7"),
        ("int64", "7.5", "the target y is a fraction, which is no label"),
        ("int64", str(2**63), "its labels are whole numbers of 64 bits"),
        ("string", "null", "'None' is no label"),
        ("string", "true", "'True' is no label"),
        ("string", '""', "'' is no label of the model; its labels are 1 to 120 bytes of any printable characters"),
        ("string", '{"a": 1}', "is no label"),
    ],
)  # fmt: skip
async def test_what_can_be_no_new_label_is_refused_with_what_can(
    tmp_path: Path, kind: str, label: str, said: str
) -> None:
    (tmp_path / "data.jsonl").write_text(f'{{"x": [1, 2, 3], "y": {label}}}\n')
    with pytest.raises(SampleError, match=said):
        await read(tmp_path / "data.jsonl", labels=(), new_labels=kind)


async def test_a_folder_that_can_be_no_whole_number_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, **{"seven_a": numbered(1), "7_b": numbered(2)})
    said = "no labels of the model: seven; its labels are whole numbers of 64 bits; map them with --label seven=7"
    with pytest.raises(SampleError, match=said):
        await read(root, [PICTURE], labels=(), new_labels="int64")


@pytest.mark.parametrize("turned", [False, True])
async def test_an_npz_is_read_row_by_row_however_its_numbers_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, turned: bool
) -> None:
    monkeypatch.setattr(tables, "AT_ONCE", 24)
    numbers = n.numbers(5, 3)
    labels = ["rock", "paper", "rock", "paper", "rock"]
    np.savez(tmp_path / "data.npz", x=np.asfortranarray(numbers) if turned else numbers, y=np.array(labels))
    assert [len(part) for part in tables_of(tmp_path / "data.npz")] == [2, 2, 1]
    data = await read(tmp_path / "data.npz")
    np.testing.assert_array_equal(data.inputs["x"], numbers)
    assert data.targets == labels


def tables_of(path: Path) -> list[list[str]]:
    """Return the names of each part."""
    wanted = tables.Wanted(inputs=(VECTOR,), target="y", labels=LABELS, mapping={})
    return [part.names for part in tables.parts(path, wanted)]


async def test_what_is_too_much_for_memory_is_the_same_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "AT_ONCE", 200)
    root = folder(tmp_path, **{f"rock_{number:02}.png": numbered(number) for number in range(9)})
    kept = await read(root, [PICTURE])
    monkeypatch.setattr(rows, "IN_MEMORY", 300)
    filed = await read(root, [PICTURE])
    np.testing.assert_array_equal(filed.inputs["image"], kept.inputs["image"])
    assert filed.inputs["image"][:, 0, 0, 0].tolist() == list(range(9))
    assert (filed.names, filed.targets) == (kept.names, kept.targets)
    assert not filed.inputs["image"].flags.writeable


async def test_images_of_an_npz_are_bytes(tmp_path: Path) -> None:
    path = npz(tmp_path, image=np.full((2, 4, 4), 200), y=np.array([1, 2]))
    data = await read(path, [GRAY], ("1", "2"))
    assert data.inputs["image"].shape == (2, 1, 4, 4)
    assert data.inputs["image"].dtype == np.uint8
    assert data.targets == ["1", "2"]


async def test_a_csv_has_a_column_for_a_scalar_and_numbered_ones_for_a_vector(tmp_path: Path) -> None:
    path = text(tmp_path, "data.csv", "\ufeffy,x[2],x[0],x[1]\r\n0.5,3,1,2\r\n-1e3,6,4,5\r\n")
    data = await read(path, labels=())
    assert data.inputs["x"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert isinstance(data.targets, np.ndarray)
    assert data.targets.tolist() == [[0.5], [-1000]]
    assert data.names == ["data.csv:2", "data.csv:3"]


async def test_a_jsonl_has_an_object_per_sample(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path, {"x": [1, 2, 3], "y": "rock"}, {"x": [[4], [5], [6]], "y": "paper", "note": "ignored"}
    )
    data = await read(path)
    assert data.inputs["x"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert data.targets == ["rock", "paper"]


async def test_whole_numbers_as_labels_may_be_written_in_any_way(tmp_path: Path) -> None:
    rows = ({"x": [0, 0, 0], "y": y} for y in (7, 7.0, "7", [7]))
    assert (await read(jsonl(tmp_path, *rows), labels=("7",))).targets == ["7"] * 4


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut_off() -> bytes:
    """Return an archive whose array tells of more rows than it has."""
    content, stream = npy(np.eye(3, dtype=np.float32)), BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", content[:-4])
        archive.writestr("y.npy", npy(["rock"] * 3))
    return stream.getvalue()


def zipped(path: Path, name: str, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, content)
        file.writestr("y.npy", content)
    return path


MISTAKES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing file": (lambda p: p / "none.csv", "No such file"),
    "other suffix": (lambda p: text(p, "data.txt", ""), "neither a folder nor one of .npz, .csv, .jsonl"),
    "npz without target": (lambda p: npz(p, x=np.eye(3)), "has no y; it has x"),
    "npz of objects": (lambda p: npz(p, x=np.array([{}]), y=np.array([1])), "without objects"),
    "npz that is none": (lambda p: text(p, "data.npz", "hello"), "no readable .npz"),
    "npz of two lengths": (lambda p: npz(p, x=np.eye(3), y=np.array(["rock"])), "first axes"),
    "npz of something else": (lambda p: zipped(p / "data.npz", "x.npy", "SECRET"), "has no sound header$"),
    "npz with fractions": (
        lambda p: npz(p, x=np.eye(3), y=np.full(3, 0.5)),
        "a fraction, which is no label$",
    ),
    "npz that is cut off": (lambda p: raw(p / "data.npz", cut_off()), "no readable .npz"),
    "npz of another shape": (
        lambda p: npz(p, x=np.zeros((1, 4)), y=np.array(["rock"])),
        r"shape \[1, 4\], \[1, 3\] is",
    ),
    "npz with nan": (lambda p: npz(p, x=np.full((1, 3), np.nan), y=np.array(["rock"])), "not finite"),
    "csv without column": (lambda p: text(p, "d.csv", "x[0],x[1],y\n"), r"no x\[0\] to x\[2\]; it has"),
    "csv with text": (
        lambda p: text(p, "d.csv", "x[0],x[1],x[2],y\n1,b,3,rock\n"),
        r"d.csv:2: the column x\[1\] holds no number$",
    ),
    "csv without header": (
        lambda p: text(p, "d.csv", "31337,2,3,rock\n1,2,3,rock\n"),
        "it holds numbers, where names are expected$",
    ),
    "csv with short row": (lambda p: text(p, "d.csv", "x[0],x[1],x[2],y\n1,2\n"), "d.csv:2: 2 cells"),
    "csv without rows": (lambda p: text(p, "d.csv", "x[0],x[1],x[2],y\n"), "holds no samples"),
    "csv in latin-1": (lambda p: raw(p / "d.csv", b"x,\xfc\n"), "no UTF-8"),
    "jsonl that is none": (lambda p: text(p, "d.jsonl", "{]\n"), "d.jsonl:1 is no JSON object"),
    "jsonl without input": (lambda p: jsonl(p, {"y": "rock"}), "data.jsonl:1 has no x"),
    "jsonl that is ragged": (lambda p: jsonl(p, {"x": [1, [2]], "y": "rock"}), "data.jsonl:1: x is no array"),
    "jsonl with text": (lambda p: jsonl(p, {"x": ["1", "2", "3"], "y": "rock"}), "no real numbers"),
    "unknown label": (
        lambda p: jsonl(p, {"x": [1, 2, 3], "y": "spock"}),
        "'spock' is no label.*--label spock=rock",
    ),
    "two labels": (lambda p: jsonl(p, {"x": [1, 2, 3], "y": ["rock", "paper"]}), "one label, not 2"),
}


@pytest.mark.parametrize(("make", "complaint"), MISTAKES.values(), ids=MISTAKES)
async def test_what_does_not_fit_is_an_error_that_says_where(
    tmp_path: Path, make: Callable[[Path], Path], complaint: str
) -> None:
    with pytest.raises(SampleError, match=complaint):
        await read(make(tmp_path))


@pytest.mark.parametrize("pixel", [-1, 256, 0.5])
async def test_pixels_are_whole_numbers_of_a_byte(tmp_path: Path, pixel: float) -> None:
    with pytest.raises(SampleError, match="from 0 to 255"):
        await read(jsonl(tmp_path, {"image": [pixel] * 16, "y": "rock"}), [GRAY])
