"""Baselines: from a file somewhere to the store, the ledger and an inbox of its own; and what each of them takes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from finetuned import files
from finetuned.errors import FinetunedError, HostError, ModelError, RequestError
from finetuned.service.claim import Changed, TooLargeError, claim, remove_original
from finetuned.service.ledger_models import (
    Baseline,
    ModelRow,
    find_model,
    get_model,
    list_models,
    register_model,
)
from finetuned.service.messages import Scaled
from finetuned.service.names import REASON, SPARE, file_name, model_name
from finetuned.service.places import MODEL_SUFFIX, Intake, intake
from finetuned.service.store import make_inbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from finetuned.service.desk import Desk
    from finetuned.service.executor import Describer
    from finetuned.service.messages import InputSpec, ModelInfo
    from finetuned.service.watch import Found

MAX_BYTES = 512 * 2**20  # what a machine at the edge may be asked to hold several times in memory
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the configuration says of a model: folder name → label, how pictures are fitted, and by which rules it is judged.

    `pixel_scale`: what its file shall multiply pixels by; 0: what it says.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    fit: Literal["stretch", "crop"] = "stretch"
    beyond_coreml: bool = False
    pixel_scale: float = 0.0


class Models:
    """Registers baselines, and knows what each model takes from its inbox."""

    def __init__(self, desk: Desk, describer: Describer, inbox: Path, entries: Mapping[str, Entry]) -> None:
        """Nothing is known until `refresh`."""
        self._desk = desk
        self._describer = describer
        self._inbox = inbox
        self._entries = entries
        self._known: dict[str, str] = {}
        self._intakes: dict[str, Intake | str] = {}

    @property
    def intakes(self) -> Mapping[str, Intake | str]:
        """What each model takes, or why it takes nothing."""
        return self._intakes

    def want(self, model: str) -> InputSpec:
        """Return what a sample of this model is decoded to; RequestError where it takes none."""
        found = self._intakes.get(model, "it is not known")
        if isinstance(found, str):
            raise RequestError(f"model {model} takes no samples: {found}")
        return found.want

    async def refresh(self) -> bool:
        """Look at what the ledger knows (a command may have added a model); say whether there is news."""
        rows = await self._desk.ledger.run(list_models)
        known = {row.name: row.digest for row in rows}
        if known == self._known:
            return False
        for row in rows:
            await asyncio.to_thread(self._make_inbox, row)
        self._intakes = {row.name: self._intake(row) for row in rows}
        self._known = known
        return True

    async def register(
        self, name: str, path: Path, *, beyond_coreml: bool = False, pixel_scale: float = 0.0
    ) -> ModelRow:
        """Register the model at `path` as `name`, and make its inbox; one that is registered already is not read again.

        Beyond Core ML's rules, and with its pixels scaled, where that is asked for, here or in the configuration.

        Raises:
            RequestError: the name is not allowed, or another model has it, or this one with its pixels scaled otherwise.
            ModelError: the file is no model, or one that cannot be updated: the message holds every reason; or it leaves
                Core ML, and the configuration has the model without `beyond_coreml`.
            HostError: it cannot be read, or the disk refuses it.
        """
        model_name(name)
        await asyncio.to_thread(refuse_at_sight, path)
        there = await self._desk.ledger.run(find_model, name)
        entry = self._entries.get(name, Entry())
        source, scale = await asyncio.to_thread(files.sha256_of, path), pixel_scale or entry.pixel_scale
        if there is None or source not in {there.digest, there.info.source}:
            beyond = beyond_coreml or entry.beyond_coreml
            info, data = await self._looked_at(name, path, scale, beyond_coreml=beyond)
            if scale:
                info = replace(info, pixel_scale=scale, source=source)
            baseline = Baseline(name=name, data=data, info=info)
            await self._desk.ledger.run(register_model, self._desk.store, baseline, at=self._desk.now())
        else:
            _refuse_other_scale(there, scale)
            self._heed(name, there.info)
        await self.refresh()
        return await self._desk.ledger.run(get_model, name)

    async def _looked_at(
        self, name: str, path: Path, scale: float, *, beyond_coreml: bool
    ) -> tuple[ModelInfo, bytes]:
        """Let a worker look first, and scale: what is no model never gets into the daemon's own memory."""
        out = self._desk.store.incoming / f"{secrets.token_hex(8)}{MODEL_SUFFIX}"
        scaled = Scaled(pixel_scale=scale, out=str(out)) if scale else None
        try:
            info = await self._describer.describe(path, beyond_coreml=beyond_coreml, scaled=scaled)
            if not info.updatable:
                raise ModelError(f"{name} cannot be updated: {'; '.join(info.reasons)}")
            self._heed(name, info)
            return info, await asyncio.to_thread(read, out if scaled else path)
        finally:
            await asyncio.to_thread(out.unlink, missing_ok=True)

    async def take(self, found: Found) -> ModelRow | None:
        """Register a model that was dropped into the inbox, or put it aside with the reason."""
        name = found.path.name.removesuffix(MODEL_SUFFIX)
        incoming = self._desk.store.incoming
        try:
            claimed = await asyncio.to_thread(claim, self._inbox, found, incoming, MAX_BYTES)
        except Changed:
            return None  # it comes again when it has settled
        except TooLargeError as error:
            raise HostError(
                f"the model {file_name(found.path.name, '')} is left in the inbox: {error}"
            ) from error
        row = None
        try:
            row = await self.register(name, claimed.copy)
        except (ModelError, RequestError) as error:
            await asyncio.to_thread(self._reject, found, claimed.copy, error)
            shown = file_name(found.path.name, "")
            log.warning("the model %s is rejected; %s.txt in rejected/ says why", shown, shown)
        else:
            log.info("the model %s is registered", name)
        finally:
            await asyncio.to_thread(claimed.copy.unlink, missing_ok=True)
        await asyncio.to_thread(remove_original, self._inbox, found)
        return row

    def _heed(self, name: str, info: ModelInfo) -> None:
        """Refuse what leaves Core ML where the configuration has the model, and not so: its word is the last."""
        entry = self._entries.get(name)
        if entry is not None and not entry.beyond_coreml and info.departures:
            raise ModelError(
                f"{name} leaves Core ML ({info.departures[0]}), and [models.{name}] of the configuration does not allow it; "
                f"set beyond_coreml = true there, or train another model under another name"
            )

    def _reject(self, found: Found, copy: Path, error: FinetunedError) -> None:
        target = self._desk.store.rejected / file_name(found.path.name, "", spare=SPARE)
        files.write_atomically(target.with_name(f"{target.name}{REASON}"), f"{error}\n".encode())
        files.move(copy, target)

    def _make_inbox(self, row: ModelRow) -> Path:
        labels = self._entries.get(row.name, Entry()).labels
        return make_inbox(self._inbox, row.name, folders(row, labels))

    def _intake(self, row: ModelRow) -> Intake | str:
        entry = self._entries.get(row.name, Entry())
        return intake(row.info, entry.labels, entry.fit)


def _refuse_other_scale(there: ModelRow, scale: float) -> None:
    """Raise where a registered model's pixels shall be scaled otherwise: a base never changes."""
    known = there.info.pixel_scale
    if scale and scale != known:
        raise RequestError(
            f"{there.name} is registered with {f'pixel_scale = {known:g}' if known else 'its pixels as its file has them'}, "
            f"and {scale:g} is asked for now; its versions and features are of the former: register the model under another "
            f"name, or forget it with all its samples (finetuned forget {there.name}) and register it anew"
        )


def folders(row: ModelRow, mapping: Mapping[str, str]) -> list[str]:
    """Return the names of a model's label folders: a mapped label's folder is the configuration's.

    A model that takes new labels has a folder for each that the configuration maps, too.
    """
    back = {label: folder for folder, label in mapping.items()}
    labels = [*map(str, row.info.class_labels), *(back if row.info.open_labels else ())]
    return [back.get(label, label) for label in dict.fromkeys(labels)]


def read(path: Path) -> bytes:
    """Return a model's bytes; ModelError where it is none or too large, HostError where it cannot be read."""
    refuse_at_sight(path)
    with files.host_errors(f"reading {path.name}"):
        return path.read_bytes()


def refuse_at_sight(path: Path) -> None:
    """Raise for what cannot be a model by its size or kind alone, without reading it."""
    with files.host_errors(f"reading {path.name}"):
        if path.is_dir():
            raise ModelError(
                f"{path.name} is a folder; finetuned takes a {MODEL_SUFFIX} file, no .mlpackage and no .mlmodelc"
            )
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ModelError(f"{path.name} has {size / 2**20:.0f} MiB; {MAX_BYTES / 2**20:.0f} are allowed")
