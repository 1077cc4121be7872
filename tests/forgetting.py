"""Forgetting over a bench: no inbox is watched, each model takes what the fakes take, and users leave all that one can."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fakes import INFO, MODEL, begin
from finetuned.service import events, inputs
from finetuned.service.forgetting import Forgetting
from finetuned.service.ledger_forgetting import Wish
from finetuned.service.ledger_requests import Answer, remember
from finetuned.service.ledger_samples import accept_batch
from finetuned.service.places import intake
from ledgers import NODE, a_sample

if TYPE_CHECKING:
    from pathlib import Path

    from benches import Bench

USER, FILE, MARKER = "brünhilde", "IMG-4711.jpg", b"what nobody else may see"
WHOLE = Wish(model=MODEL, user=USER)


async def at_no_inbox() -> None:
    """Look at nothing."""


def forgetting_of(bench: Bench) -> Forgetting:
    """Return what forgets for this bench."""
    taken = {MODEL: intake(INFO, {"rock": "✊"})}
    return Forgetting(
        desk=bench.desk, tasks=bench.tasks, turn=asyncio.Lock(), intakes=lambda: taken, relook=at_no_inbox
    )


@dataclass(frozen=True)
class Kept:
    """A sample as it lies in the state folder."""

    digest: str
    path: Path


async def keep(bench: Bench, content: bytes, *, user: str, label: str = "✊", name: str = FILE) -> Kept:
    """Accept a sample as ingestion does: its file, its decoded input, its row and its event."""
    store, digest = bench.desk.store, hashlib.sha256(content).hexdigest()
    path = store.sample_path(model=MODEL, user=user, label=label, digest=digest, name=name)
    (store.root / path).parent.mkdir(parents=True, exist_ok=True)
    (store.root / path).write_bytes(content)
    with inputs.opened(store.inputs(MODEL, user)) as db:
        inputs.put_inputs(db, "x", [(digest, content)])
        inputs.put_features(db, "f" * 64, [(digest, content)])
    row = replace(a_sample(user=user), digest=digest, label=label, name=name, path=path, source=name)
    told = events.SampleAccepted(
        ts=row.accepted_at, node=NODE, model=MODEL, user=user, label=label, name=name
    )
    await bench.desk.ledger.run(accept_batch, [row], tell=lambda _: [told])
    return Kept(digest=digest, path=store.root / path)


async def answered(bench: Bench, transaction: str, response: object) -> None:
    text = json.dumps({"transaction": transaction, **response}, ensure_ascii=False)  # type: ignore[dict-item]
    answer = Answer(verb="status", response=text)
    await bench.desk.ledger.run(remember, transaction, answer, at=bench.desk.now(), synchronised=True)


async def with_traces(bench: Bench, user: str = USER) -> str:
    """Let a user leave everything that one can leave; return the id of a task that has ended."""
    for number in range(3):
        await keep(bench, MARKER + b" %d" % number, user=user, name=f"{number}-{FILE}")
    task, run = await bench.started(user)
    run.say(begin())
    run.complete()
    await bench.is_clear(task)
    folder = bench.desk.store.rejected / MODEL / user / "rock"
    folder.mkdir(parents=True)
    (folder / f"bad-{FILE}").write_bytes(MARKER)
    (folder / f"bad-{FILE}.txt").write_text(f"{FILE} is no picture")
    about = {"model": MODEL, "user": user}
    await answered(bench, "t1", {"status": "ok", "data": {"task": task, **about}})
    await answered(bench, "t2", {"status": "ok", "data": {"models": [{"model": MODEL}, about]}})
    await answered(
        bench, "t3", {"status": "error", "error": f"task 1 of model {MODEL}, user {user} is running"}
    )
    return task


def traces(root: Path, *words: str | bytes) -> set[str]:
    """Return the files and folders whose names or contents hold one of the words."""
    needles = [word if isinstance(word, bytes) else word.encode() for word in words]
    found = set()
    for path in root.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if any(needle in content or needle in bytes(path.relative_to(root)) for needle in needles):
            found.add(str(path.relative_to(root)))
    return found


async def heard(bench: Bench) -> dict[str, object]:
    """Wait until the last word is told and acknowledged."""
    event = await bench.ear.event("forgotten")
    await bench.desk.outbox.drained()
    return {key: value for key, value in event.items() if key not in {"type", "id", "ts", "node"}}
