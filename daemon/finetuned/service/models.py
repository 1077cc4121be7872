"""Baselines: from a file somewhere to the store, the ledger and an inbox of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned.errors import HostError, ModelError
from finetuned.service.ledger_models import Baseline, ModelRow, get_model, list_models, register_model
from finetuned.service.names import model_name
from finetuned.service.store import make_inbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from finetuned.service.desk import Desk
    from finetuned.service.executor import Executor

MAX_BYTES = 2**31 - 1  # what protobuf can parse
SUFFIX = ".mlmodel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Registers baselines; `labels` maps, by model, an inbox's folder names to the model's labels."""

    desk: Desk
    executor: Executor
    inbox: Path
    labels: Mapping[str, Mapping[str, str]]

    async def register(self, name: str, path: Path) -> ModelRow:
        """Register the model at `path` as `name`, and make its inbox.

        Raises:
            RequestError: the name is not allowed, or another model has it.
            ModelError: the file is no model.
            HostError: it cannot be read, or the disk refuses it.
        """
        model_name(name)
        data = await asyncio.to_thread(read, path)
        info = await self.executor.describe(path)
        baseline = Baseline(name=name, data=data, info=info)
        await self.desk.ledger.run(register_model, self.desk.store, baseline, at=self.desk.now())
        row = await self.desk.ledger.run(get_model, name)
        await asyncio.to_thread(self.make_inbox, row)
        return row

    async def make_inboxes(self) -> None:
        """Make the inbox of every model that the ledger knows."""
        for row in await self.desk.ledger.run(list_models):
            await asyncio.to_thread(self.make_inbox, row)

    def make_inbox(self, row: ModelRow) -> Path:
        """Make a folder for each label, by its name in the configuration where it has one."""
        return make_inbox(self.inbox, row.name, folders(row, self.labels.get(row.name, {})))


def folders(row: ModelRow, mapping: Mapping[str, str]) -> list[str]:
    """Return the names of a model's label folders: a mapped label's folder is the configuration's."""
    back = {label: folder for folder, label in mapping.items()}
    return [back.get(str(label), str(label)) for label in row.info.class_labels]


def read(path: Path) -> bytes:
    """Return a model's bytes; ModelError where it is too large to be one, HostError where it cannot be read."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ModelError(
                f"{path.name} is a folder; finetuned takes a {SUFFIX} file, not an .mlpackage or .mlmodelc"
            )
        if size > MAX_BYTES:
            raise ModelError(f"{path.name} has {size} bytes; a Core ML model has {MAX_BYTES} at most")
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error
