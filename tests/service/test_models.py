"""Baselines: registered once, dropped into the inbox, put aside with a reason; and the inbox each of them gets."""

from __future__ import annotations

import hashlib
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from benches import a_desk
from fakes import INFO, WANT, ScriptedExecutor
from finetuned.errors import HostError, ModelError, RequestError
from finetuned.service.ledger_models import ModelRow, add_model, list_models
from finetuned.service.models import Entry, Models
from finetuned.service.places import Intake
from finetuned.service.watch import Found
from ledgers import at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from finetuned.service.desk import Desk

ONE, OTHER = b"one model", b"another model"


@dataclass(kw_only=True)
class Place:
    """Models over a desk, with an executor that describes whatever it is given."""

    desk: Desk
    executor: ScriptedExecutor
    models: Models
    inbox: Path

    def file(self, data: bytes, name: str = "some.mlmodel") -> Path:
        """Return a file with this content, outside of the inbox."""
        path = self.inbox.parent / name
        path.write_bytes(data)
        return path

    def drop(self, data: bytes, name: str = "dropped.mlmodel") -> Found:
        """Put a file into the inbox, and return it as the watch finds it."""
        path = self.inbox / name
        path.write_bytes(data)
        return Found.of(path, os.lstat(path))

    async def names(self) -> list[str]:
        """Return what the ledger has."""
        return [row.name for row in await self.desk.ledger.run(list_models)]

    @property
    def folders(self) -> set[str]:
        """All folders of the inbox, relative to it."""
        return {str(path.relative_to(self.inbox)) for path in self.inbox.rglob("*") if path.is_dir()}


@asynccontextmanager
async def a_place(folder: Path, **entries: Entry) -> AsyncIterator[Place]:
    async with a_desk(folder) as desk:
        executor = ScriptedExecutor()
        inbox = desk.store.inbox
        yield Place(desk=desk, executor=executor, models=Models(desk, executor, inbox, entries), inbox=inbox)


# ── registering ─────────────────────────────────────────────────────────────────────────────────
async def test_a_model_is_described_once_kept_and_given_an_inbox(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        row = await place.models.register("hands", place.file(ONE))
        assert (row.name, row.info) == ("hands", INFO)
        assert place.desk.store.base("hands").read_bytes() == ONE
        assert place.folders == {"hands", "hands/✊", "hands/✋"}
        assert place.models.want("hands") == WANT
        again = await place.models.register("hands", place.file(ONE, "copy.mlmodel"))
        assert (again, place.executor.described) == (row, [ONE])


async def test_another_file_does_not_take_a_name_that_is_taken(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        await place.models.register("hands", place.file(ONE))
        with pytest.raises(RequestError, match="registered already, with another content"):
            await place.models.register("hands", place.file(OTHER))
        assert place.desk.store.base("hands").read_bytes() == ONE


async def test_what_cannot_be_a_model_is_refused_with_its_reason_and_leaves_nothing(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        for name, path, error, complaint in [
            ("a/b", place.file(ONE), RequestError, "cannot be a model's name"),
            ("hands", tmp_path, ModelError, "is a folder.*no .mlpackage"),
            ("hands", tmp_path / "nothing", HostError, "reading .*nothing"),
        ]:
            with pytest.raises(error, match=complaint):
                await place.models.register(name, path)
        place.executor.info = msgspec.structs.replace(INFO, updatable=False, reasons=("no loss", "no layer"))
        with pytest.raises(ModelError, match="hands cannot be updated: no loss; no layer"):
            await place.models.register("hands", place.file(ONE))
        place.executor.info = ModelError("it begins like a zip file")
        with pytest.raises(ModelError, match="like a zip"):
            await place.models.register("hands", place.file(ONE))
        assert (await place.names(), place.folders) == ([], set())
        with pytest.raises(RequestError, match="model hands takes no samples: it is not known"):
            place.models.want("hands")


async def test_a_model_that_another_process_has_added_is_found(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        assert not await place.models.refresh()
        row = ModelRow(name="hands", digest="a" * 64, info=INFO, added_at=at(0))
        await place.desk.ledger.run(add_model, row)
        assert [await place.models.refresh() for _ in range(2)] == [True, False]
        assert place.models.want("hands") == WANT
        assert "hands/✊" in place.folders


# ── dropping ────────────────────────────────────────────────────────────────────────────────────
async def test_a_dropped_model_is_registered_under_its_files_name_and_taken_away(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        found = place.drop(ONE, "my hands.mlmodel")
        row = await place.models.take(found)
        assert row is not None
        assert row.name == "my hands"
        assert not found.path.exists()
        assert list(place.desk.store.incoming.iterdir()) == []
        assert await place.models.take(place.drop(ONE, "my hands.mlmodel")) == row


@pytest.mark.parametrize("taken", [False, True], ids=["no model", "a name that is taken"])
async def test_a_dropped_model_that_is_refused_lies_aside_with_the_reason(
    tmp_path: Path, *, taken: bool
) -> None:
    async with a_place(tmp_path) as place:
        if taken:
            await place.models.register("dropped", place.file(ONE))
        else:
            place.executor.info = ModelError("it begins like a zip file")
        found = place.drop(OTHER)
        assert await place.models.take(found) is None
        aside = place.desk.store.rejected / "dropped.mlmodel"
        assert aside.read_bytes() == OTHER
        reason = aside.with_name("dropped.mlmodel.txt").read_text()
        assert ("registered already" if taken else "like a zip") in reason
        assert not found.path.exists()
        assert list(place.desk.store.incoming.iterdir()) == []
        assert await place.names() == (["dropped"] if taken else [])


async def test_a_dropped_model_that_somebody_still_writes_stays_where_it_is(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        found = place.drop(ONE)
        now = place.drop(ONE + b", and more of it")
        assert await place.models.take(found) is None
        assert now.path.read_bytes() == ONE + b", and more of it"
        assert (await place.names(), place.executor.described) == ([], [])


async def test_a_dropped_model_that_changes_while_it_is_read_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_place(tmp_path) as place:
        found = place.drop(ONE)
        describe = place.executor.describe

        async def meanwhile(path: Path, *, beyond_coreml: bool, scaled: object) -> object:
            assert scaled is None
            place.drop(OTHER)
            return await describe(path, beyond_coreml=beyond_coreml)

        monkeypatch.setattr(place.executor, "describe", meanwhile)
        assert await place.models.take(found) is not None
        assert place.desk.store.base("dropped").read_bytes() == ONE
        assert found.path.read_bytes() == OTHER


async def test_rules_beyond_core_ml_hold_where_the_request_or_the_configuration_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_place(tmp_path, configured=Entry(beyond_coreml=True)) as place:
        asked: list[bool] = []

        async def describe(path: Path, *, beyond_coreml: bool, scaled: object) -> object:
            assert path
            assert scaled is None
            asked.append(beyond_coreml)
            return INFO

        monkeypatch.setattr(place.executor, "describe", describe)
        await place.models.register("strict", place.file(b"1"))
        await place.models.register("named", place.file(b"2"), beyond_coreml=True)
        await place.models.register("configured", place.file(b"3"))
        assert asked == [False, True, True]


async def test_what_the_configuration_no_longer_allows_is_refused_though_it_is_registered(
    tmp_path: Path,
) -> None:
    beyond = msgspec.structs.replace(INFO, departures=("the model has 2 losses",))
    async with a_place(tmp_path, hands=Entry()) as place:
        row = ModelRow(name="hands", digest=hashlib.sha256(ONE).hexdigest(), info=beyond, added_at=at(0))
        await place.desk.ledger.run(add_model, row)
        with pytest.raises(ModelError, match=r"has 2 losses.*\[models.hands\].*set beyond_coreml = true"):
            await place.models.register("hands", place.file(ONE))
        assert place.executor.described == []


async def test_a_command_does_not_outvote_the_configuration(tmp_path: Path) -> None:
    async with a_place(tmp_path, hands=Entry()) as place:
        place.executor.info = msgspec.structs.replace(INFO, departures=("the model has 2 losses",))
        with pytest.raises(ModelError, match="set beyond_coreml = true"):
            await place.models.register("hands", place.file(ONE), beyond_coreml=True)
        assert await place.names() == []
        await place.models.register("others", place.file(ONE), beyond_coreml=True)
        assert await place.names() == ["others"]


# ── the scale of pixels ─────────────────────────────────────────────────────────────────────────
async def test_a_base_is_registered_with_its_pixels_scaled_and_again_without_a_word(tmp_path: Path) -> None:
    async with a_place(tmp_path, hands=Entry(pixel_scale=0.5)) as place:
        for _ in range(2):
            row = await place.models.register("hands", place.file(ONE))
        assert place.desk.store.base("hands").read_bytes() == ONE + b" x 0.5"
        assert row.digest == hashlib.sha256(ONE + b" x 0.5").hexdigest()
        assert (row.info.pixel_scale, row.info.source) == (0.5, hashlib.sha256(ONE).hexdigest())
        assert list(place.desk.store.incoming.iterdir()) == []
        assert len(place.executor.described) == 1


@pytest.mark.parametrize(
    ("first", "said"), [(0.0, "its pixels as its file has them"), (0.25, "pixel_scale = 0.25")]
)
async def test_another_scale_than_a_model_is_registered_with_is_refused(
    tmp_path: Path, first: float, said: str
) -> None:
    async with a_place(tmp_path) as place:
        await place.models.register("hands", place.file(ONE), pixel_scale=first)
        with pytest.raises(RequestError, match=rf"{said}, and 0.5 is asked for.*finetuned forget hands"):
            await place.models.register("hands", place.file(ONE), pixel_scale=0.5)


# ── the inbox ───────────────────────────────────────────────────────────────────────────────────
async def test_labels_get_folders_by_the_configurations_names_where_it_gives_them_some(
    tmp_path: Path,
) -> None:
    entry = Entry(labels={"rock": "✊", "pets": "cat/dog"}, fit="crop")
    async with a_place(tmp_path, hands=entry) as place:
        place.executor.info = msgspec.structs.replace(INFO, class_labels=("✊", "cat/dog", "a/b", ".", 7))
        await place.models.register("hands", place.file(ONE))
        assert place.folders == {"hands", "hands/rock", "hands/pets", "hands/7"}
        taken = place.models.intakes["hands"]
        assert isinstance(taken, Intake)
        assert [taken.label_of(folder) for folder in ("rock", "pets", "7")] == ["✊", "cat/dog", "7"]
        assert taken.want.fit == "crop"


async def test_a_model_of_open_labels_takes_any_folder_that_is_a_name(tmp_path: Path) -> None:
    async with a_place(tmp_path, hands=Entry(labels={"pets": "cat/dog", "seven": "+07", "x": "x"})) as place:
        place.executor.info = msgspec.structs.replace(
            INFO, class_labels=("✊",), label_kind="string", open_labels=True
        )
        await place.models.register("hands", place.file(ONE))
        place.executor.info = msgspec.structs.replace(
            INFO, class_labels=(), label_kind="int64", open_labels=True
        )
        await place.models.register("whole", place.file(OTHER))
        assert place.folders == {"hands", "hands/✊", "hands/pets", "hands/seven", "hands/x", "whole"}
        texts, numbers = (place.models.intakes[name] for name in ("hands", "whole"))
        assert isinstance(texts, Intake)
        assert isinstance(numbers, Intake)
        told = [
            texts.label_of(folder) for folder in ("✊", "pets", "sun flower", "u\u0308", "a" * 121, "a\nb")
        ]
        assert told == ["✊", "cat/dog", "sun flower", "ü", None, None]
        told = [numbers.label_of(folder) for folder in ("7", "-007", "seven", "7.5", "x", "9" * 19)]
        assert told == ["7", "-7", None, None, None, None]


async def test_a_model_without_labels_takes_no_files_and_says_why(tmp_path: Path) -> None:
    async with a_place(tmp_path) as place:
        place.executor.info = msgspec.structs.replace(INFO, class_labels=())
        await place.models.register("line", place.file(ONE))
        assert place.folders == {"line"}
        with pytest.raises(RequestError, match="line takes no samples: it has no class labels"):
            place.models.want("line")
