"""The bundled executor: attempts run on this machine, each in a worker process of its own.

Theory of operation.  For each attempt a task listens to its worker and passes on what it says.  It ends with exactly one
last word, the worker's own, or else `Lost`: where the worker dies, says nothing for too long, or says what cannot be
understood.  It is killed then, and the word comes when it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.errors import HostError, ModelError
from finetuned.service.cancellation import uninterrupted
from finetuned.service.channel import GoneError
from finetuned.service.executor import Capabilities
from finetuned.service.messages import (
    LAST,
    Cancel,
    Cancelled,
    Completed,
    Describe,
    Described,
    Failed,
    Kill,
    Lost,
    Release,
    Report,
    Start,
)
from finetuned.service.stream import Stream
from finetuned.service.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from finetuned.service.messages import (
        CheckpointRef,
        Command,
        Control,
        ModelInfo,
        Scaled,
        TaskSpec,
        WorkerReport,
    )
    from finetuned.service.workers import Worker

NAME = "local"
WELL = (Completed, Cancelled)
"""A worker that ends an attempt so is good for another.  One that has let go has done so for its memory: it ends."""
DYING_S = 10.0
"""How long the word is withheld while a killed worker cannot end, since the disk holds it."""
LOOK_S = 0.5
"""How long a last look takes at most, before a worker is taken for hung."""
SHOWN = 300
"""So much of a last line is told."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """An attempt and its worker.

    `seq` and `step` are those of the last report; `verdict` is why it was killed, `leaves` that it was told to end.
    """

    task: str
    attempt: int
    child: Worker
    seq: int = 0
    step: int = 0
    verdict: str = ""
    leaves: bool = False
    patience: asyncio.Timeout | None = None
    told: list[Command] = field(default_factory=list)

    def tell(self, command: Command) -> None:
        """Send a command, and remember it until the worker has said something."""
        if not self.seq:
            self.told.append(command)
        with contextlib.suppress(GoneError):  # whoever listens to it is about to find out
            self.child.channel.post(command)

    def kill(self, verdict: str) -> None:
        """End the worker; the first verdict counts."""
        self.verdict = self.verdict or verdict
        self.child.kill()

    def lost(self, error: str) -> Lost:
        """Return the last word that the worker did not say."""
        return Lost(task=self.task, attempt=self.attempt, seq=self.seq + 1, step=self.step, error=error)


class LocalExecutor:
    """Runs attempts in processes of this machine, and reads strangers' models in them.

    Args:
        nice: the workers' level.
        places: how many attempts run at once.
        warm_s: how long one worker that has nothing to do is kept.
        silence_s: a worker that says nothing for so long hangs; its heart beats every few seconds.
        cancel_s: the same for one that was told to cancel or to release.
    """

    def __init__(
        self,
        *,
        nice: int = 10,
        places: int = 1,
        warm_s: float = 60.0,
        silence_s: float = 300.0,
        cancel_s: float = 30.0,
    ) -> None:
        self._places = places
        self._silence_s = silence_s
        self._cancel_s = cancel_s
        self._workers = Workers(nice=nice, warm_s=warm_s)
        self._stream = Stream()
        self._runs: dict[tuple[str, int], _Run] = {}
        self._starting: set[tuple[str, int]] = set()
        self._listening: set[asyncio.Task[None]] = set()
        self._shut = False

    @property
    def name(self) -> str:
        """Its word in the configuration."""
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        """As many attempts at once as it was told."""
        return Capabilities(places=self._places)

    # ── attempts ────────────────────────────────────────────────────────────────────────────────
    async def submit(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> None:
        """Start an attempt in a worker; HostError where there is no place or no process for it."""
        key = (spec.task, attempt)
        self._admit(key)
        self._starting.add(key)
        try:
            child = await self._workers.take()
        finally:
            self._starting.discard(key)
        try:
            self._check_open()
            run = _Run(task=spec.task, attempt=attempt, child=child)
            run.tell(Start(spec=spec, attempt=attempt, resume_from=tuple(resume_from)))
        except HostError:
            await self._workers.end(child)
            raise
        self._runs[key] = run
        listening = asyncio.create_task(self._attend(run), name=f"attempt {attempt} of {spec.task}")
        self._listening.add(listening)
        listening.add_done_callback(self._listening.discard)

    def _admit(self, key: tuple[str, int]) -> None:
        self._check_open()
        if key in self._runs or key in self._starting:
            raise HostError(f"attempt {key[1]} of {key[0]} runs already")
        if len(self._runs) + len(self._starting) >= self._places:
            raise HostError(f"all places are taken, {self._places} of {self._places}")

    def _check_open(self) -> None:
        if self._shut:
            raise HostError("the executor takes no more")

    async def control(self, task: str, attempt: int, command: Control) -> None:
        """Tell an attempt; nothing happens where there is none."""
        run = self._runs.get((task, attempt))
        if run is None:
            return
        if isinstance(command, Kill):
            run.kill("it was killed, as asked")
        else:
            self._tell(run, command)

    def _tell(self, run: _Run, command: Command) -> None:
        run.tell(command)
        if isinstance(command, (Cancel, Release)) and not run.leaves:
            run.leaves = True
            if run.patience is not None and not run.patience.expired():
                run.patience.reschedule(asyncio.get_running_loop().time() + self._cancel_s)

    def events(self) -> AsyncIterator[Report]:
        """Yield what all attempts say, until `close`."""
        return self._stream.reports()

    async def drain(self, grace_s: float) -> None:
        """Take no more, let everything go with a checkpoint, and kill what has not after `grace_s` seconds."""
        self._shut = True
        self._stream.hurry()
        await self._workers.cool()
        for run in self._runs.values():
            self._tell(run, Release())
        await self._ended(grace_s)
        await self._killed(f"it had not let go after {grace_s:g} s")

    async def close(self) -> None:
        """Kill everything; the attempts' last words are the end of `events`, also where this is cancelled."""
        await uninterrupted(self._close())

    async def _close(self) -> None:
        self._shut = True
        self._stream.hurry()
        await self._killed("the executor was closed")
        await self._workers.close()
        self._stream.end()

    async def _killed(self, verdict: str) -> None:
        for run in self._runs.values():
            run.kill(verdict)
        await self._ended(None)

    async def _ended(self, timeout_s: float | None) -> None:
        """Wait until no worker is listened to; to be cancelled meanwhile cancels none of them."""
        if self._listening:
            await asyncio.wait(self._listening, timeout=timeout_s)

    # ── listening ───────────────────────────────────────────────────────────────────────────────
    async def _attend(self, run: _Run) -> None:
        """Pass on what a worker says, up to its last word; whatever happens, there is one and no process stays."""
        try:
            last = await self._last_word(run)
            kept = isinstance(last, WELL) and not run.verdict and self._workers.keep(run.child)
            del self._runs[run.task, run.attempt]
            self._stream.post(last)
            if not kept:
                await self._workers.end(run.child)
        except BaseException:
            run.child.kill()
            raise

    async def _last_word(self, run: _Run) -> Report:
        try:
            report = await self._first(run)
            while not isinstance(report, LAST):
                await self._stream.put(report)
                report = await self._heard(run)
        except GoneError:
            return run.lost(await self._obituary(run))
        except HostError as error:
            run.kill(str(error))
            return run.lost(await self._obituary(run))
        return report

    async def _first(self, run: _Run) -> Report:
        """Return the first report; where a warm worker had died before it was needed, a new one is told all again."""
        waited = self._workers.has_waited(run.child)
        try:
            return await self._heard(run)
        except GoneError:
            if run.verdict or not waited:
                raise
        await self._workers.end(run.child)
        run.child = await self._workers.take(fresh=True)
        if run.verdict:  # it was killed meanwhile
            raise HostError(run.verdict)
        for command in run.told:
            run.child.channel.post(command)
        return await self._heard(run)

    async def _heard(self, run: _Run) -> Report:
        """Return the worker's next report; HostError where it is none, or none comes."""
        patience_s = self._cancel_s if run.leaves else self._silence_s
        try:
            async with asyncio.timeout(patience_s) as run.patience:
                report = await run.child.channel.receive()
        except TimeoutError:
            report = await self._said_meanwhile(run, min(LOOK_S, patience_s))
        finally:
            run.patience = None
        if report is None:
            raise GoneError("it is gone")
        if (report.task, report.attempt, report.seq) != (run.task, run.attempt, run.seq + 1):
            raise HostError(f"it says what does not belong here: {type(report).__name__} {report.seq}")
        run.seq, run.step = report.seq, report.step
        run.told.clear()
        return report

    async def _said_meanwhile(self, run: _Run, look_s: float) -> WorkerReport | None:
        """Look once more: it may have been the daemon that stood still (a frozen machine), and the report lies here."""
        try:
            async with asyncio.timeout(look_s):
                return await run.child.channel.receive()
        except TimeoutError:
            raise HostError(self._hangs(run)) from None

    def _hangs(self, run: _Run) -> str:
        if run.leaves:
            return f"it hangs: it was told to end and has said nothing for {self._cancel_s:g} s"
        return f"it hangs: it has said nothing for {self._silence_s:g} s"

    async def _obituary(self, run: _Run) -> str:
        """Wait until the worker has ended, and say in a sentence how."""
        if run.verdict:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DYING_S):
                    await run.child.wait()
            return f"the worker was ended: {run.verdict}"
        return f"the worker died: {ending(await run.child.wait())}{_because(run.child.last_words)}"

    # ── describing ──────────────────────────────────────────────────────────────────────────────
    async def describe(
        self, path: Path, *, beyond_coreml: bool = False, scaled: Scaled | None = None
    ) -> ModelInfo:
        """Read a model in a worker, since reading one means protobuf and NumPy."""
        question = Describe(path=str(path), beyond_coreml=beyond_coreml, scaled=scaled)
        try:
            return await self._described(question)
        except GoneError:  # the warm worker had died before it was needed
            return await self._described(question, fresh=True)

    async def _described(self, question: Describe, *, fresh: bool = False) -> ModelInfo:
        self._check_open()
        child = await self._workers.take(fresh=fresh)
        kept = False
        try:
            answer = await self._asked(child, question)
            if isinstance(answer, Described):
                kept = self._workers.keep(child)
                return answer.info
        finally:
            if not kept:
                await self._workers.end(child)
        raise (HostError if answer.fault == HostError.fault else ModelError)(answer.error)

    async def _asked(self, child: Worker, question: Describe) -> Described | Failed:
        child.channel.post(question)
        try:
            async with asyncio.timeout(self._silence_s):
                answer = await child.channel.receive()
        except TimeoutError:
            raise HostError(
                f"the worker hangs: it has not said for {self._silence_s:g} s what {Path(question.path).name} is"
            ) from None
        if isinstance(answer, (Described, Failed)):
            return answer
        if self._workers.has_waited(child):
            raise GoneError("the warm worker is gone")
        raise HostError(f"the worker died: {ending(await child.wait())}{_because(child.last_words)}")


# ── words ───────────────────────────────────────────────────────────────────────────────────────
def ending(status: int) -> str:
    """Say how a process ended that nobody here has killed."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
    told = f"signal {-status} ({name})"
    if status == -signal.SIGKILL:
        return f"{told}; the kernel may have taken it for its memory"
    return told


def _because(last_words: str) -> str:
    """The last line of a traceback is its sentence."""
    return f": {last_words.splitlines()[-1][:SHOWN]}" if last_words else ""
