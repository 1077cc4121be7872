"""A duel: contenders in processes of their own make bursts in turns; what counts is the median of the rounds' ratios.

All get the same cores (`sched_setaffinity`) and the same number of threads; while one runs, the others wait for a line.  In every
round the order is turned by one.  Nobody is compared whose first losses are not those of the first contender.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from engine_contenders import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine_models import Setting

CHILD = Path(__file__).with_name("engine_child.py")
EXACT, NEAR = 1e-5, 3e-2
"""How far a loss may be from the first contender's, relative: before any step, and in the steps after it, where Adam carries the last bits of
small gradients on (two right trainers of a convnet are 4e-3 apart after five steps of batch 32, and more with smaller ones)."""
PATIENCE_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a duel takes: `rounds` bursts of `seconds` for each contender."""

    rounds: int = 7
    seconds: float = 0.2


@dataclass(slots=True, kw_only=True)
class Runner:
    """A contender's process, and what it said."""

    name: str
    process: subprocess.Popen[str]
    losses: list[float] = field(default_factory=list)
    variant: str = ""
    absent: str = ""
    times: list[float] = field(default_factory=list)
    """Seconds a step, by round."""

    def made(self) -> None:
        """Wait until it is there."""
        self.absent = self._line().get("absent", "")

    def ready(self) -> None:
        """Let it find out what it must, and show its losses, while the others wait."""
        if not self.absent:
            said = self._asked()
            self.absent = said.get("absent", "")
            self.losses, self.variant = said.get("losses", []), said.get("variant", "")

    def burst(self) -> None:
        """Let it run for a while."""
        said = self._asked()
        self.absent = said.get("absent", "")
        if not self.absent:
            self.times.append(said["seconds"] / said["steps"])

    def _asked(self) -> dict[str, Any]:
        assert self.process.stdin is not None  # noqa: S101 - a pipe
        with suppress(BrokenPipeError):  # then it has ended, and there is no line
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - a pipe
        for line in self.process.stdout:
            if line.startswith("{"):  # libraries say things
                found: dict[str, Any] = json.loads(line)
                return found
        return {"absent": f"its process ended with {self.process.wait(PATIENCE_S)}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The first contender's speed by another's: the median of the rounds, and the quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a duel found: seconds a step and ratios by contender, and why others have none."""

    setting: Setting
    seconds: dict[str, float]
    ratios: dict[str, Ratio]
    variants: dict[str, str]
    absent: dict[str, str]

    @property
    def rate(self) -> float:
        """Samples a second of the first contender."""
        return self.setting.batch / next(iter(self.seconds.values()))


def duel(setting: Setting, contenders: Sequence[str], pace: Pace) -> Outcome:
    """Let the first contender run against each of the others.

    Raises:
        RuntimeError: the first contender cannot run.
    """
    with ExitStack() as stack:
        runners = [stack.enter_context(_started(name, setting, pace)) for name in contenders]
        for runner in runners:
            runner.made()
        for runner in runners:
            runner.ready()
        first, *others = runners
        if first.absent:
            raise RuntimeError(f"{first.name} cannot run {setting}: {first.absent}")
        for runner in others:
            runner.absent = runner.absent or disagreement(first.losses, runner.losses)
        for number in range(pace.rounds):
            _round([runner for runner in runners if not runner.absent], number)
    return _outcome(setting, runners)


def cores(threads: int) -> list[int]:
    """Return the cores that all contenders run on: the last ones of those that are allowed here."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def _round(runners: list[Runner], number: int) -> None:
    turn = number % len(runners)
    for runner in runners[turn:] + runners[:turn]:
        runner.burst()


def disagreement(expected: list[float], found: list[float]) -> str:
    """Return why two cannot be compared; what computes no loss only multiplies."""
    if not found:
        return ""
    apart = [abs(a - b) / max(abs(a), 1e-6) for a, b in zip(expected, found, strict=True)]
    if apart[0] <= EXACT and all(each <= NEAR for each in apart):  # NaN is not
        return ""
    return f"not compared: its first loss is {apart[0]:.1e} from finetuned's, one of the first {SHOWN} {max(apart):.1e}"


@contextmanager
def _started(name: str, setting: Setting, pace: Pace) -> Iterator[Runner]:
    told = {
        "contender": name,
        "setting": asdict(setting),
        "cores": cores(setting.threads),
        "seconds": pace.seconds,
    }
    single = {"OMP_NUM_THREADS": str(setting.threads), "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(  # noqa: S603 - the file beside this one
        [sys.executable, str(CHILD), json.dumps(told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **single},
        text=True,
    )
    try:
        yield Runner(name=name, process=process)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def _outcome(setting: Setting, runners: list[Runner]) -> Outcome:
    first, *others = runners
    there = [runner for runner in others if not runner.absent]
    return Outcome(
        setting=setting,
        seconds={runner.name: median(runner.times) for runner in (first, *there)},
        ratios={runner.name: ratio(runner.times, first.times) for runner in there},
        variants={runner.name: runner.variant for runner in (first, *there)},
        absent={runner.name: runner.absent for runner in others if runner.absent},
    )


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return the median and the quartiles of the rounds' ratios."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    low, _, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else (each[0],) * 3
    return Ratio(median=median(each), low=low, high=high)
