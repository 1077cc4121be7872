"""The whole queue on an executor full of faults: real tasks, one end each, and the bytes of an undisturbed one."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import msgspec
import pytest

from benches import a_desk
from builders import dense_classifier
from fakes import ENDINGS
from faulty import Faulty
from finetuned.errors import RequestError
from finetuned.policy.budget import Budget
from finetuned.policy.trigger import Rule
from finetuned.service import inputs
from finetuned.service.checkpoints import Schedule
from finetuned.service.describe import describe
from finetuned.service.governor import Governor
from finetuned.service.ledger_checkpoints import known_checkpoints
from finetuned.service.ledger_models import Baseline, register_model
from finetuned.service.ledger_outcomes import unsent
from finetuned.service.ledger_samples import NewSample, accept_batch
from finetuned.service.ledger_tasks import alive_tasks, get_task
from finetuned.service.ledger_versions import list_current, list_versions
from finetuned.service.making import Maker, Settings
from finetuned.service.messages import Completed
from finetuned.service.tasks import Tasks
from finetuned.service.work import Work
from finetuned.spec import codec
from inprocess import InProcessExecutor
from specs import Material, vectors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from finetuned.service.desk import Desk
    from finetuned.service.executor import Executor
    from finetuned.service.ledger_samples import SampleRow
    from finetuned.service.messages import Adjustment, CheckpointRef, InputSpec, TaskSpec

MODEL, USERS = "dense", ("", "ann", "bob")
SETTINGS = Settings(
    rule=Rule(min_new_samples=10**6, max_wait_s=float("inf")),
    parameters={MODEL: {"epochs": 12, "miniBatchSize": 3, "learningRate": 0.1}},
    report_interval_s=0.0,
    places=2,
    retry_s=0.0,
)
PATIENCE_S = 60.0
CANCELLED, CHECKPOINTED = 0.1, 0.3
"""How many of the cancels are meant, and at how many boundaries a checkpoint is written."""


class Decoded:
    """Samples that were decoded long ago."""

    def __init__(self, want: InputSpec) -> None:
        """They are what `want` says."""
        self._want = want

    def want(self, model: str) -> InputSpec:  # noqa: ARG002 - the protocol's
        """Return the one input."""
        return self._want

    async def ensure(self, samples: Sequence[SampleRow], want: InputSpec) -> Mapping[str, str]:  # noqa: ARG002
        """Nothing is missing."""
        return {}


async def furnish(desk: Desk, material: Material) -> None:
    """Register the model, and accept the material as the samples of each user."""
    info = describe(codec.decode(material.model))
    baseline = Baseline(name=MODEL, data=material.model, info=info)
    await desk.ledger.run(register_model, desk.store, baseline, at=desk.now())
    for user in USERS:
        samples = [
            NewSample(
                model=MODEL,
                user=user,
                digest=digest,
                label=label,
                name=f"{digest}.npy",
                path=f"models/{MODEL}/{digest}",
                bytes=1,
                held_out=False,
                source=digest,
                accepted_at=desk.now(),
                accepted_s=desk.lived(),
            )
            for digest, label in zip(material.digests, material.labels, strict=True)
        ]
        await desk.ledger.run(accept_batch, samples)
        path = desk.store.inputs(MODEL, user)
        path.parent.mkdir(parents=True, exist_ok=True)
        with inputs.opened(path) as db:
            rows = zip(material.digests, (array.tobytes() for array in material.arrays), strict=True)
            inputs.put_inputs(db, material.want.signature, rows)


class Recorder(Faulty):
    """Remembers what it was asked to do."""

    specs: dict[str, TaskSpec]

    def __init__(self, executor: Executor, seed: int, specs: dict[str, TaskSpec]) -> None:
        """Add to `specs`, by task."""
        super().__init__(executor, seed, rate=0.01)
        self.specs = specs

    async def submit(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> None:
        """Note the spec."""
        self.specs[spec.task] = spec
        await super().submit(spec, attempt, resume_from)


async def repair(desk: Desk) -> None:
    """Bring the folders back to what the ledger says, as the daemon does at its start."""
    run, store = desk.ledger.run, desk.store
    store.repair(
        versions=await run(list_versions),
        current=await run(list_current),
        dropped=(),
        alive=[row.id for row in await run(alive_tasks)],
        checkpoints={store.task(task) / path for task, path in await run(known_checkpoints)},
    )


@asynccontextmanager
async def at_work(desk: Desk, material: Material, executor: Executor) -> AsyncIterator[Tasks]:
    """Yield a queue at work; at the end the power is cut."""
    governor = Governor([], Budget())
    tasks = Tasks(desk, executor, governor, Decoded(material.want), SETTINGS)
    await tasks.recover()
    await repair(desk)
    working = asyncio.create_task(tasks.run())
    try:
        yield tasks
    finally:
        working.cancel()
        await asyncio.wait({working})
        await executor.close()


async def live(tasks: Tasks, chance: random.Random) -> None:
    """Ask for this and that, while tasks run."""
    for _ in range(chance.randint(0, 8)):
        for _ in range(chance.randint(0, 60)):
            await asyncio.sleep(0)
        for task in await tasks.all_alive():
            deed = chance.choice(["pause", "resume", "adjust", "cancel", "", "", "", ""])
            with suppress(RequestError):  # it has just ended
                if deed == "pause":
                    await tasks.pause(task)
                elif deed in {"resume", "adjust"}:
                    rate = {"learningRate": chance.choice([0.05, 0.2])} if deed == "adjust" else {}
                    await tasks.resume(task, rate)
                elif deed == "cancel" and chance.random() < CANCELLED:
                    await tasks.cancel(task)


async def finish(tasks: Tasks) -> None:
    """Let every task go on until none is alive."""
    async with asyncio.timeout(PATIENCE_S):
        while alive := await tasks.all_alive():
            for task in alive:
                with suppress(RequestError):
                    await tasks.resume(task, {})
            await asyncio.sleep(0.01)


def undisturbed(spec: TaskSpec, adjustments: tuple[Adjustment, ...], folder: Path) -> str:
    """Return the SHA-256 of what becomes of a task to which nothing happens but a person's learning rates."""
    held = tuple(each for each in adjustments if each.step is not None)  # the others came too late
    alone = msgspec.structs.replace(spec, adjustments=held, folder=str(folder))
    last = [report for report in Work(alone).run() if report is not None][-1]
    assert isinstance(last, Completed)
    return last.sha256


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails_each_task_has_one_end_and_a_result_is_that_of_an_undisturbed_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Submits refused, workers lost, reports late, twice or never, requests in between, and the power cut."""
    chance = random.Random(seed)  # noqa: S311 - nothing here is secret
    monkeypatch.setattr(Schedule, "due", lambda *_, **__: chance.random() < CHECKPOINTED)
    specs: dict[str, TaskSpec] = {}
    material = vectors(tmp_path, dense_classifier(train_hidden=False))
    async with a_desk(tmp_path) as desk:
        await furnish(desk, material)
        made = [await Maker(desk, SETTINGS).make(MODEL, user, {}) for user in USERS]
        for life in range(chance.randint(1, 5)):
            executor = Recorder(InProcessExecutor(places=2), seed * 100 + life, specs)
            async with at_work(desk, material, executor) as tasks:
                await live(tasks, chance)
        async with at_work(desk, material, Recorder(InProcessExecutor(places=2), seed, specs)) as tasks:
            await finish(tasks)
            await tasks.drain()
        told = [row.payload for row in await desk.ledger.run(unsent, 0, 100_000)]
        for row in [await desk.ledger.run(get_task, task.id) for task in made]:
            ends = [each["type"] for each in told if each.get("task") == row.id and each["type"] in ENDINGS]
            assert len(ends) == 1, row
            assert ends[0] == "completed" or row.error == "cancelled" or "three workers" in row.error
            if ends == ["completed"]:
                (version,) = [each for each in await desk.ledger.run(list_versions) if each.task == row.id]
                spec, folder = specs[row.id], tmp_path / f"alone-{row.id}"
                assert version.sha256 == undisturbed(spec, row.adjustments, folder)
        await repair(desk)
        assert not list(desk.store.tasks.iterdir())
