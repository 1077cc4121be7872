"""What a worker is told to do: a task of the ledger as a `TaskSpec`, kept as tasks/<task>/spec.json."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from finetuned import files
from finetuned.service.ledger_tasks import task_samples
from finetuned.service.ledger_versions import digest_of
from finetuned.service.messages import Growth, SampleRef, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from finetuned.service.desk import Desk
    from finetuned.service.ledger_models import ModelRow
    from finetuned.service.ledger_samples import SampleRow
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.making import Settings
    from finetuned.service.messages import InputSpec

log = logging.getLogger(__name__)


class Inputs(Protocol):
    """Where a task's decoded samples come from."""

    def want(self, model: str) -> InputSpec:
        """Return what a sample of this model is decoded to."""

    async def ensure(self, samples: Sequence[SampleRow], want: InputSpec) -> Mapping[str, str]:
        """Decode what is missing; return why, by digest, where an original is no sample any more."""


async def samples_of(desk: Desk, inputs: Inputs, row: TaskRow, want: InputSpec) -> list[SampleRow]:
    """Return a task's samples in the order of acceptance, all decoded; one that is undecodable now is left out, and said."""
    samples = await desk.ledger.run(task_samples, row.id)
    gone = await inputs.ensure(samples, want)
    for digest, reason in gone.items():
        log.warning("task %s goes without sample %s: %s", row.id, digest[:12], reason)
    return [sample for sample in samples if sample.digest not in gone]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An attempt that has begun, and what it is about."""

    row: TaskRow
    known: ModelRow
    samples: Sequence[SampleRow]
    want: InputSpec


async def write_spec(desk: Desk, settings: Settings, order: Order) -> TaskSpec:
    """Return the attempt's spec, once it is written; digests are the ledger's, not those of what lies there now.

    Samples come in the order of their content: the same ones give the same model, however they arrived.  A model that holds
    its samples has them in the order of acceptance, and begins with its base each time: so what was forgotten, relabelled
    or grown too old is not in it.
    """
    row, store, info = order.row, desk.store, order.known.info
    folder = store.task(row.id)
    digest = await desk.ledger.run(digest_of, row.model, row.user, row.parent)
    samples = order.samples if info.open_labels else sorted(order.samples, key=lambda each: each.digest)
    refs = tuple(SampleRef(digest=s.digest, label=s.label, held_out=s.held_out) for s in samples)
    spec = TaskSpec(
        task=row.id,
        model=row.model,
        user=row.user,
        model_path=str(store.model_file(row.model, row.user, row.parent)),
        model_digest=digest or order.known.digest,
        base_digest=order.known.digest,
        base_path=str(store.base(row.model)) if info.open_labels else "",
        growth=settings.growth.get(row.model, Growth()),
        inputs_path=str(store.inputs(row.model, row.user)),
        input_signature=order.want.signature,
        samples=refs,
        folder=str(folder),
        parameters=dict(row.parameters),
        adjustments=row.adjustments,
        seed=row.seed,
        threads=settings.threads,
        devices=settings.devices,
        beyond_coreml=bool(info.departures),
        checkpoint_s=settings.checkpoint_s,
        report_interval_s=settings.report_interval_s,
    )
    await asyncio.to_thread(files.make_folder, folder)
    await asyncio.to_thread(files.write_atomically, folder / "spec.json", msgspec.json.encode(spec))
    return spec
