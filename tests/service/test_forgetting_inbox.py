"""What arrives while it is forgotten is accepted or not, and never half."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import RequestError
from finetuned.service import ingest as ingestion
from finetuned.service.ledger_forgetting import Wish, forget
from finetuned.service.ledger_samples import list_samples
from service.inbox import MODEL, register, running
from service.ingest_child import Simple
from service.samples import PICTURE, until
from service.store_child import last_word

if TYPE_CHECKING:
    from pathlib import Path

    from service.inbox import Running

BY_NOBODY = Wish(model=MODEL, label="rock")


class Watched(asyncio.Lock):
    """Tells when somebody wants it."""

    def __init__(self) -> None:
        """Nobody does."""
        super().__init__()
        self.wanted = asyncio.Event()

    async def acquire(self) -> bool:  # type: ignore[override]  # typeshed has it as Literal[True]
        """Say so, and wait."""
        self.wanted.set()
        return await super().acquire()


async def forgotten(run: Running, wish: Wish) -> None:
    """Forget in ingestion's turn, as the daemon does."""
    async with run.ingest.turn:
        with contextlib.suppress(RequestError):  # nothing has been accepted since the last time
            await run.ledger.run(forget, run.store, wish, rejected=[], tell=last_word)


async def test_a_row_has_its_file_and_a_file_its_row_however_often_a_label_is_forgotten_meanwhile(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, decoders=Simple()) as run:
        for number in range(20):
            for label in ("rock", "paper"):
                run.drop(f"{MODEL}/{label}/{number}.png", f"{label} {number % 7}".encode())
            await asyncio.sleep(0)
            await forgotten(run, BY_NOBODY)
        await run.emptied()
        rows = await run.samples()
        assert {str(run.store.root / row.path) for row in rows} == {
            str(run.store.models / path) for path in run.kept()
        }
        assert len([row for row in rows if row.label == "paper"]) == 7
        await forgotten(run, BY_NOBODY)
        assert {row.label for row in await run.samples()} == {"paper"}
        assert len(run.kept()) == 7


async def test_files_of_a_model_that_is_gone_before_they_are_taken_wait_as_those_of_an_unknown_one(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, decoders=Simple()) as run:
        run.drop(f"{MODEL}/rock/first.png", b"first")
        await run.emptied()
        run.ingest.turn = turn = Watched()
        async with turn:
            turn.wanted.clear()
            late = run.drop(f"{MODEL}/rock/late.png", b"late")
            await turn.wanted.wait()  # it is known where the file belongs, and it is about to be taken
            run.intakes.clear()
            await run.ledger.run(forget, run.store, Wish(model=MODEL), rejected=[], tell=last_word)
        run.ingest.rescan()
        await until(lambda: run.ingest.waiting == 1)
        assert late.read_bytes() == b"late"
        assert list(run.store.models.iterdir()) == []
        (told,) = await run.told("sampleWaiting")
        assert told["reason"] == f"no model named {MODEL} is registered"
        await run.ledger.run(register)


async def test_a_preparation_that_is_broken_off_writes_nothing_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, decoders=Simple()) as run:
        run.drop(f"{MODEL}/rock/first.png", b"first")
        await run.emptied()
        rows = await run.ledger.run(list_samples, MODEL, "")
        writing, may_write, wrote = threading.Event(), threading.Event(), []

        def slowly(*_: object) -> None:
            writing.set()
            may_write.wait()
            wrote.append(True)

        monkeypatch.setattr(ingestion, "_put", slowly)
        ensuring = asyncio.create_task(ingestion.ensure_inputs(run.store, Simple(), rows, PICTURE))
        await asyncio.to_thread(writing.wait)
        ensuring.cancel()
        asyncio.get_running_loop().call_later(0.05, may_write.set)
        with pytest.raises(asyncio.CancelledError):
            await ensuring
        assert wrote == [True], "it is over when it has ended"
