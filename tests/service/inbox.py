"""A real ingestion for tests: inbox and state folder on the disk, a ledger, a decoder process, everything running."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from finetuned.service.batch import Decoding, Workbench
from finetuned.service.clock import Reading
from finetuned.service.decoder import Decoders
from finetuned.service.ingest import Clock, Ingest, Settings
from finetuned.service.ledger import Ledger
from finetuned.service.ledger_models import ModelRow, add_model, find_model
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_samples import SampleRow, list_samples
from finetuned.service.messages import InputSpec, ModelInfo
from finetuned.service.places import Intake
from finetuned.service.store import Store
from service.samples import PICTURE, until

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from finetuned.service.watch import Found

MODEL = "gestures"
LABELS = ("rock", "paper", "✌️")
FAST = Settings(settle_s=0.05, rescan_s=5)


@dataclass(kw_only=True)
class Heard:
    """What the listener was told."""

    accepted_for: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    outcomes: int = 0

    def accepted(self, model: str, user: str) -> None:
        """Note it."""
        self.accepted_for.append((model, user))

    def told(self) -> None:
        """Count it."""
        self.outcomes += 1

    def warned(self, warning: str) -> None:
        """Note it."""
        self.warnings.append(warning)

    async def model_dropped(self, found: Found) -> None:
        """Take it away."""
        await asyncio.to_thread(found.path.unlink)
        self.models.append(found.path)


@dataclass(kw_only=True)
class Running:
    """An ingestion that runs, and what a test looks at."""

    store: Store
    inbox: Path
    ledger: Ledger
    ingest: Ingest
    heard: Heard
    intakes: dict[str, Intake | str]

    def drop(self, relative: str, content: bytes) -> Path:
        """Rename a file into its place, as producers are told to."""
        path = self.inbox / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.aside")
        aside.write_bytes(content)
        return aside.rename(path)

    async def samples(self, user: str = "", model: str = MODEL) -> tuple[SampleRow, ...]:
        """Return what the ledger has."""
        return await self.ledger.run(list_samples, model, user)

    async def told(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the outcomes (of one type), without time and node."""
        rows = await self.ledger.run(unsent, 0, 100_000)
        return [row.payload for row in rows if kind in {"", row.type}]

    async def emptied(self) -> None:
        """Wait until everything that was dropped is dealt with."""
        await until(lambda: not self.files() and not (self.store.root / "batch.json").exists())

    def files(self) -> list[Path]:
        """Return what lies in the inbox."""
        return [path for path in self.inbox.rglob("*") if path.is_symlink() or not path.is_dir()]

    def kept(self) -> list[str]:
        """Return what lies in samples/, below the models' folder."""
        return sorted(
            str(path.relative_to(self.store.models)) for path in self.store.models.glob("*/*/samples/*/*")
        )

    def rejected(self) -> dict[str, str]:
        """Return the files in rejected/ and their reasons."""
        files = [path for path in self.store.rejected.rglob("*") if path.is_file() and path.suffix != ".txt"]
        return {
            str(path.relative_to(self.store.rejected)): path.with_name(f"{path.name}.txt").read_text().strip()
            for path in files
        }


def register(db: sqlite3.Connection, name: str = MODEL) -> None:
    """Put a model into the ledger, if it is not there."""
    if find_model(db, name) is None:
        info = ModelInfo(updatable=True, kind="neuralNetworkClassifier", specification_version=4)
        add_model(db, ModelRow(name=name, digest="0" * 64, info=info, added_at="2026-11-23T04:50:12.418Z"))


def taking(want: InputSpec = PICTURE, **mapping: str) -> Intake:
    """Return an intake of the three labels; `mapping` is folder → label."""
    return Intake(want=want, labels=LABELS, mapping=mapping)


@asynccontextmanager
async def running(
    root: Path,
    settings: Settings = FAST,
    decoders: Decoding | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Running]:
    """Run an ingestion on `root/state` and `root/inbox`, which may be left from an earlier one."""
    store, inbox = Store(root / "state"), root / "inbox"
    store.prepare()
    inbox.mkdir(exist_ok=True)
    heard, intakes = Heard(), dict[str, Intake | str]({MODEL: taking()})
    async with Ledger.open(store.ledger) as ledger, Decoders() as own:
        await ledger.run(register)
        bench = Workbench(
            inbox=inbox,
            store=store,
            ledger=ledger,
            decoders=decoders or own,
            node="pi-3fa2",
            clock=lambda: Reading(lived_s=time.monotonic(), wall_s=time.time(), synchronised=True),
        )
        ingest = Ingest(
            bench,
            settings,
            intakes=lambda: intakes,
            listener=heard,
            clock=Clock(monotonic=clock, utc=time.time),
        )
        task = asyncio.create_task(ingest.run())
        try:
            yield Running(
                store=store, inbox=inbox, ledger=ledger, ingest=ingest, heard=heard, intakes=intakes
            )
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
