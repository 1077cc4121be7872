"""From a worker's result to a version: the order is folder, ledger, link, event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from finetuned import __version__, files
from finetuned.errors import FinetunedError, HostError
from finetuned.policy.promotion import Promotion, judge
from finetuned.service.events import Card, ModelSaved, Promoted, TaskCompleted
from finetuned.service.ledger_versions import VersionRow, complete_task, next_version
from finetuned.service.messages import result_path

if TYPE_CHECKING:
    from finetuned.service.desk import Desk
    from finetuned.service.events import Outcome
    from finetuned.service.ledger_tasks import TaskRow
    from finetuned.service.messages import Completed
    from finetuned.service.running import Attempt


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
    promotion = judge(report.before, report.after, held_out=report.held_out)
    card = _card(desk, attempt, report, number, promotion)
    text = msgspec.json.format(msgspec.json.encode(card), indent=1).decode()
    row = attempt.row
    await asyncio.to_thread(desk.store.drop_leftover, row.model, row.user, number, task=row.id)
    await asyncio.to_thread(desk.store.save_version, row.model, row.user, number, result=result, card=text)
    version = VersionRow(
        model=row.model,
        user=row.user,
        version=number,
        parent=row.parent,
        task=row.id,
        sha256=report.sha256,
        card=text,
        saved_at=card.saved_at,
    )
    promoted = promotion.promotion == "promoted"
    outcomes = _outcomes(desk, row, card, promotion)
    try:
        ended = await desk.ledger.run(
            complete_task,
            version,
            attempt=row.attempt,
            promoted=promoted,
            moment=desk.moment(),
            outcomes=outcomes,
        )
    except FinetunedError:
        # The ledger does not know this version: its folder would stand in the way of the next one.
        await asyncio.to_thread(desk.store.drop_version, row.model, row.user, number)
        raise
    try:
        if promoted:
            await asyncio.to_thread(desk.store.set_current, row.model, row.user, number)
    finally:  # the ledger has it: a link that the disk refused is put right at the next start
        desk.outbox.outcomes_written()
    return ended


def _card(desk: Desk, attempt: Attempt, report: Completed, version: int, promotion: Promotion) -> Card:
    row, began = attempt.row, attempt.began
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


def _outcomes(desk: Desk, row: TaskRow, card: Card, promotion: Promotion) -> list[Outcome]:
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
        promotion=promotion.promotion,
        promotion_reason=promotion.reason,
        duration_seconds=round(max(0.0, desk.lived() - (row.started_s or row.created_s)), 3),
    )
    return [saved, *(promoted if promotion.promotion == "promoted" else []), completed]
