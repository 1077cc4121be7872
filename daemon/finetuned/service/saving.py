"""From a worker's result to a version: the order is folder, ledger, link, event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from finetuned import __version__, files
from finetuned.errors import FinetunedError, HostError
from finetuned.policy.promotion import judge
from finetuned.service.events import Card, ModelSaved, Promoted, TaskCompleted
from finetuned.service.ledger_versions import (
    OverruledError,
    VersionRow,
    complete_task,
    link_current,
    next_version,
)
from finetuned.service.messages import result_path

if TYPE_CHECKING:
    from finetuned.service.desk import Desk
    from finetuned.service.events import Outcome
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.messages import Completed
    from finetuned.service.running import Attempt

PROMOTED = "promoted"


async def save(desk: Desk, attempt: Attempt, report: Completed) -> TaskRow:
    """Save the attempt's result as a version, promote it if it is better, and end the task as completed.

    Raises:
        HostError: the result is not the file that the worker spoke of, or the disk refuses it.
    """
    result = result_path(attempt.spec, attempt.row.attempt)
    found = await asyncio.to_thread(files.sha256_of, result)
    if found != report.sha256:
        raise HostError(f"the result of task {attempt.row.id} is not what its worker wrote (SHA-256 {found})")
    number = await desk.ledger.run(next_version, attempt.row.model, attempt.row.user)
    row, store = attempt.row, desk.store
    card = _card(desk, attempt, report, number)
    await asyncio.to_thread(store.drop_leftover, row.model, row.user, number, task=row.id)
    await asyncio.to_thread(store.save_version, row.model, row.user, number, result=result, card=_text(card))
    try:
        ended = await _enter(desk, attempt, card)
    except FinetunedError:
        # The ledger does not know this version: its folder would stand in the way of the next one.
        await asyncio.to_thread(store.drop_version, row.model, row.user, number)
        raise
    try:
        await desk.ledger.run(link_current, store, row.model, row.user)
    finally:  # the ledger has it: a link that the disk refused is put right at the next start
        desk.outbox.outcomes_written()
    return ended


async def _enter(desk: Desk, attempt: Attempt, card: Card) -> TaskRow:
    """Complete the task; where a person has chosen another version meanwhile, the new one is kept beside that."""
    try:
        return await _complete(desk, attempt, card)
    except OverruledError as overruled:
        kept = replace(card, promotion="kept", promotion_reason=str(overruled))
        await asyncio.to_thread(desk.store.rewrite_card, card.model, card.user, card.version, _text(kept))
        return await _complete(desk, attempt, kept)


async def _complete(desk: Desk, attempt: Attempt, card: Card) -> TaskRow:
    version = VersionRow(
        model=card.model,
        user=card.user,
        version=card.version,
        parent=card.parent,
        task=card.task,
        sha256=card.sha256,
        card=_text(card),
        saved_at=card.saved_at,
    )
    return await desk.ledger.run(
        complete_task,
        version,
        attempt=attempt.row.attempt,
        promoted=card.promotion == PROMOTED,
        moment=desk.moment(),
        outcomes=_outcomes(desk, attempt.row, card),
    )


def _text(card: Card) -> str:
    return msgspec.json.format(msgspec.json.encode(card), indent=1).decode()


def _card(desk: Desk, attempt: Attempt, report: Completed, version: int) -> Card:
    row, began = attempt.row, attempt.began
    by_loss = not attempt.spec.base_path
    promotion = judge(report.before, report.after, held_out=report.held_out, by_loss=by_loss)
    return Card(
        model=row.model,
        user=row.user,
        version=version,
        parent=row.parent,
        task=row.id,
        base=attempt.spec.base_digest,
        sha256=report.sha256,
        saved_at=desk.now(),
        parameters=began.parameters if began else {},
        samples=began.samples if began else {},
        held_out=began.held_out if began else 0,
        before=report.before,
        after=report.after,
        promotion=promotion.promotion,
        promotion_reason=promotion.reason,
        finetuned=__version__,
    )


def _outcomes(desk: Desk, row: TaskRow, card: Card) -> list[Outcome]:
    about = desk.about(row)
    saved = ModelSaved(**about, version=card.version, parent=card.parent, sha256=card.sha256)
    promoted = [Promoted(**about, version=card.version, parent=card.parent)]
    completed = TaskCompleted(
        **about,
        version=card.version,
        parent=card.parent,
        samples=sum(card.samples.values()),
        before=card.before,
        after=card.after,
        promotion=card.promotion,
        promotion_reason=card.promotion_reason,
        duration_seconds=round(max(0.0, desk.lived() - (row.started_s or row.created_s)), 3),
    )
    return [saved, *(promoted if card.promotion == PROMOTED else []), completed]
