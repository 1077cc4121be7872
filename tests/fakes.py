"""Workers that say and do what the test says, and samples that are decoded when it wants."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from finetuned.service.executor import Capabilities
from finetuned.service.messages import (
    Checkpointed,
    CheckpointRef,
    Completed,
    Control,
    Held,
    InputSpec,
    Lost,
    Metrics,
    MiniBatchEnd,
    ModelInfo,
    ParameterInfo,
    Released,
    Report,
    Scaled,
    TaskSpec,
    TrainingBegin,
    result_path,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from finetuned.service.ledger_samples import SampleRow

MODEL = "gestures"
BASE = b"a base"
WANT = InputSpec(name="x", shape=(3,))
INFO = ModelInfo(
    updatable=True,
    kind="neuralNetworkClassifier",
    specification_version=4,
    class_labels=("✊", "✋"),
    sample_inputs=(WANT,),
    target="label",
    parameters={
        "learningRate": ParameterInfo(default=0.01, range=(0.0, 1.0)),
        "epochs": ParameterInfo(default=2, range=(1, 1000)),
    },
)
ENDINGS = {"completed", "failed", "cancelled"}
PATIENCE_S = 30.0

POOR, GOOD = (Metrics(samples=2, loss_value=loss, accuracy=right) for loss, right in ((1.0, 0.5), (0.1, 1.0)))


# ── workers ─────────────────────────────────────────────────────────────────────────────────────
class ScriptedRun:
    """A worker that stands still: the test reads its `commands` and lets it `say` things."""

    def __init__(
        self,
        spec: TaskSpec,
        attempt: int,
        resume_from: Sequence[CheckpointRef],
        say: Callable[[Report], None],
    ) -> None:
        """It has said nothing yet, and takes every command."""
        self.spec = spec
        self.attempt = attempt
        self.resume_from = tuple(resume_from)
        self.commands: list[Control] = []
        self.takes = asyncio.Event()
        """Cleared: it is too busy to take a command."""
        self.takes.set()
        self._news = asyncio.Event()
        self.unreachable: Exception | None = None
        """What a command raises."""
        self.heard_by = say
        """Who hears what it says."""
        self._seq = 0

    async def take(self, command: Control) -> None:
        """Note the command; others may go on before it is taken."""
        await asyncio.sleep(0)
        if self.unreachable is not None:
            raise self.unreachable
        await self.takes.wait()
        self.commands.append(command)
        self._news.set()

    async def told(self, *commands: Control) -> None:
        """Wait until these are the commands that it was given, all of them."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.commands != list(commands):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"told {self.commands}, wanted {list(commands)}") from None

    def say(self, *reports: Report) -> None:
        """Say these; where they carry no task and attempt they get this run's."""
        for report in reports:
            self._seq += 1
            mine = {"task": self.spec.task, "attempt": self.attempt, "seq": self._seq}
            self.heard_by(report if report.task else msgspec.structs.replace(report, **mine))

    def die(self) -> None:
        """Be gone without a last word."""
        self.say(Lost(error="the worker died (killed by signal 9)"))

    def release(self, step: int) -> CheckpointRef:
        """Leave a checkpoint and let go; return the checkpoint."""
        checkpoint = self.checkpoint(step)
        self.say(Released(step=step))
        return checkpoint

    def checkpoint(self, step: int) -> CheckpointRef:
        """Leave a checkpoint and say so."""
        data = f"{self.attempt} {step}".encode()
        path = Path(str(self.attempt)) / f"checkpoint-{step}"
        whole = Path(self.spec.folder) / path
        whole.parent.mkdir(exist_ok=True)
        whole.write_bytes(data)
        made = CheckpointRef(path=str(path), sha256=hashlib.sha256(data).hexdigest(), step=step)
        self.say(Checkpointed(checkpoint=made, step=step))
        return made

    def complete(self, data: bytes = b"better", before: Metrics = POOR, after: Metrics = GOOD) -> None:
        """Leave a result and say so."""
        path = result_path(self.spec, self.attempt)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self.say(Completed(sha256=digest, before=before, after=after, held_out=True))


class ScriptedExecutor:
    """Gives a `ScriptedRun` for every attempt, and `info` (or raises it) for every model."""

    name = "scripted"

    def __init__(self, places: int = 8) -> None:
        """Workers start at once."""
        self.capabilities = Capabilities(places=places)
        self.runs: list[ScriptedRun] = []
        self.described: list[bytes] = []
        self.info: ModelInfo | Exception = INFO
        self.starts: list[TaskSpec] = []
        self.refuses: Exception | None = None
        """What a submit raises."""
        self.fails: asyncio.Queue[Exception] = asyncio.Queue()
        """What the stream of reports raises, once."""
        self.opens = asyncio.Event()
        """Cleared: a worker that is asked for does not come up."""
        self.opens.set()
        self.drained = asyncio.Event()
        self._said: asyncio.Queue[Report] = asyncio.Queue()
        self._news = asyncio.Event()

    def engage(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> ScriptedRun:
        """Add a run."""
        run = ScriptedRun(spec, attempt, resume_from, self._said.put_nowait)
        self.runs.append(run)
        self._news.set()
        return run

    async def submit(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> None:
        """Start a run, once `opens` is set."""
        self.starts.append(spec)
        self._news.set()
        await self.opens.wait()
        if self.refuses is not None:
            raise self.refuses
        self.engage(spec, attempt, resume_from)

    async def control(self, task: str, attempt: int, command: Control) -> None:
        """Pass the command to its run; nobody takes one for an attempt that is not there."""
        for run in self.runs:
            if (run.spec.task, run.attempt) == (task, attempt):
                await run.take(command)

    async def events(self) -> AsyncIterator[Report]:
        """Yield what the runs were made to say, for as long as anybody listens."""
        while True:
            failing = asyncio.create_task(self.fails.get())
            saying = asyncio.create_task(self._said.get())
            try:
                await asyncio.wait({failing, saying}, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    raise failing.result()
                yield saying.result()
            finally:
                failing.cancel()
                saying.cancel()

    async def drain(self, grace_s: float) -> None:  # noqa: ARG002 - nobody here lets go
        """Say that it was asked."""
        self.drained.set()

    async def close(self) -> None:
        """Nothing is left to close."""

    async def describe(
        self,
        path: Path,
        *,
        beyond_coreml: bool = False,  # noqa: ARG002 - `info` says all
        scaled: Scaled | None = None,
    ) -> ModelInfo:
        """Note what is described; a model is scaled by saying so behind it."""
        data = await asyncio.to_thread(path.read_bytes)
        self.described.append(data)
        if scaled is not None:
            await asyncio.to_thread(Path(scaled.out).write_bytes, data + b" x %g" % scaled.pixel_scale)
        if isinstance(self.info, Exception):
            raise self.info
        return self.info

    async def run(self, number: int = 1) -> ScriptedRun:
        """Wait for the run of this number, and return it."""
        await self._until(lambda: len(self.runs) >= number, f"run {number}")
        return self.runs[number - 1]

    async def asked(self, number: int = 1) -> TaskSpec:
        """Wait until a worker is asked for, the first or a later time."""
        await self._until(lambda: len(self.starts) >= number, f"start {number}")
        return self.starts[number - 1]

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not there():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"there was never a {what}") from None


class ScriptedInputs:
    """Decoded samples; `gone` are those that cannot be decoded any more, `trouble` what goes wrong."""

    def __init__(self) -> None:
        """All is decoded."""
        self.gone: Mapping[str, str] = {}
        self.trouble: Exception | None = None
        self.opens = asyncio.Event()
        self.opens.set()
        self.asked = asyncio.Event()

    def want(self, model: str) -> InputSpec:  # noqa: ARG002 - the protocol's
        """Return the one input."""
        return WANT

    async def ensure(self, samples: Sequence[SampleRow], want: InputSpec) -> Mapping[str, str]:  # noqa: ARG002
        """Wait until it may go on."""
        self.asked.set()
        await self.opens.wait()
        if self.trouble is not None:
            raise self.trouble
        return self.gone


def a_spec(task: str, folder: Path) -> TaskSpec:
    """Return a spec that no worker could do anything with."""
    folder.mkdir(parents=True, exist_ok=True)
    return TaskSpec(
        task=task,
        model=MODEL,
        model_path="",
        model_digest="",
        base_digest=hashlib.sha256(BASE).hexdigest(),
        inputs_path="",
        input_signature="",
        samples=(),
        folder=str(folder),
    )


def begin(epochs: int = 2, batches: int = 3) -> TrainingBegin:
    """Return a worker's first words."""
    return TrainingBegin(
        parameters={"epochs": epochs},
        samples={"✊": 10},
        held_out=2,
        device="cpu",
        epochs=epochs,
        batches=batches,
    )


def batch(step: int, batches: int = 3) -> MiniBatchEnd:
    """Return the report of mini-batch `step`, counted from 1 through the whole task."""
    epoch, index = divmod(step - 1, batches)
    return MiniBatchEnd(epoch_index=epoch, mini_batch_index=index, loss_value=1 / step, step=step)


STANDS, GOES_ON = Held(held=True), Held(held=False)
