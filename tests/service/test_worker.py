"""The worker's loop in made-up time: what it obeys between two steps, and how long it rests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from finetuned.errors import SampleError
from finetuned.service import messages as m
from finetuned.service import pacing, worker
from finetuned.service.worker import HEARTBEAT_S, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SPEC = m.TaskSpec(
    task="T",
    model="digits",
    model_path="",
    model_digest="",
    base_digest="",
    inputs_path="",
    input_signature="",
    samples=(),
    folder="",
)
START = m.Start(spec=SPEC, attempt=3)
STEPS = 4
Timed = tuple[float, m.Command]
DONE = m.Completed(
    sha256="5" * 64,
    before=m.Metrics(samples=1, loss_value=1),
    after=m.Metrics(samples=1, loss_value=0),
    held_out=False,
)


@dataclass
class World:
    """Time, the daemon's end of the channel (`commands` come at their seconds), and work of `STEPS` steps of `step_s`."""

    commands: list[Timed] = field(default_factory=list)
    step_s: float = 1.0
    save_s: float = 0.0
    trouble: Callable[[], object] | None = None
    now: float = 0.0
    said: list[tuple[float, m.Report]] = field(default_factory=list)
    flushed: list[float] = field(default_factory=list)
    adjusted: list[tuple[float, float]] = field(default_factory=list)
    accelerated: list[tuple[float, bool]] = field(default_factory=list)
    shares: list[tuple[float, float]] = field(default_factory=list)
    move_s: float = 0.0
    on_cpu: bool = True
    idle_s: float = 0.0
    closed: bool = False
    step: int = 0

    # time
    def monotonic(self) -> float:
        """Return the made-up seconds."""
        return self.now

    def process_time(self) -> float:
        """Return those of the processor."""
        return self.now - self.idle_s

    # the channel
    def receive(self, timeout: float | None = None) -> m.Command | None:
        """Return the next command that comes within `timeout`, or let the time pass."""
        if self.commands and (timeout is None or self.commands[0][0] <= self.now + timeout):
            at, command = self.commands.pop(0)
            self.now = max(self.now, at)
            return command
        if timeout is None:
            raise EOFError
        self.now += timeout
        return None

    def poll(self) -> m.Command | None:
        """Return a command that is here."""
        return self.receive(0)

    def send(self, report: m.Report) -> None:
        """Say it at once."""
        self.gather(report)
        self.flush()

    def gather(self, report: m.Report) -> None:
        """Note what is said, and when."""
        self.said.append((self.now, report))

    def flush(self) -> None:
        """Note when the daemon is woken."""
        self.flushed.append(self.now)

    # the work
    def adjust(self, parameters: dict[str, float]) -> m.Adjusted:
        """Note the learning rate, and when it came."""
        self.adjusted.append((self.now, parameters["learningRate"]))
        return m.Adjusted(learning_rate=parameters["learningRate"], step=self.step)

    def accelerate(self, *, accelerated: bool) -> list[m.Moved]:
        """Note where to compute, and take `move_s` for a move."""
        before = self.accelerated[-1][1] if self.accelerated else True
        self.accelerated.append((self.now, accelerated))
        self.now += self.move_s
        return [m.Moved(device="cuda" if accelerated else "cpu")] if accelerated is not before else []

    def checkpoint(self) -> m.Checkpointed | None:
        """Keep what there is."""
        return m.Checkpointed(error="", step=self.step) if self.step else None

    def run(self) -> Generator[m.Report | None, None, None]:
        """Take a second for each step."""
        try:
            for step in range(1, STEPS + 1):
                self.now += self.step_s
                self.step = step
                if self.trouble:
                    self.trouble()
                yield batch(step)
            self.now += self.save_s
            yield DONE
        finally:
            self.closed = True

    # the cores
    def use(self, share: float) -> None:
        """Note the share of the cores."""
        self.shares.append((self.now, share))

    # what tests ask for
    def kinds(self) -> list[tuple[float, str]]:
        """Return when it said what."""
        return [(at, type(report).__name__) for at, report in self.said]

    @property
    def last(self) -> m.Report:
        """The last that was said."""
        return self.said[-1][1]


def batch(step: int) -> m.MiniBatchEnd:
    return m.MiniBatchEnd(epoch_index=0, mini_batch_index=step - 1, loss_value=0.5, step=step)


def served(monkeypatch: pytest.MonkeyPatch, world: World) -> World:
    """Let a worker serve this world until the daemon is gone."""
    monkeypatch.setattr(worker, "time", world)
    monkeypatch.setattr(worker, "Work", lambda *_: world)
    monkeypatch.setattr(worker, "Cores", lambda: world)
    channel: Any = world
    with pytest.raises(EOFError):
        Worker(channel).serve()
    return world


def steps(world: World) -> list[float]:
    """Return when each step was told."""
    return [at for at, kind in world.kinds() if kind == "MiniBatchEnd"]


# ── reports ─────────────────────────────────────────────────────────────────────────────────────
def test_every_report_carries_task_attempt_and_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (10, START)]))
    reports = [report for _, report in world.said]
    assert {(report.task, report.attempt) for report in reports} == {("T", 3)}
    assert [report.seq for report in reports] == [1, 2, 3, 4, 5] * 2, "each attempt counts anew"
    assert [report.step for report in reports] == [1, 2, 3, 4, 4] * 2
    assert type(world.last) is m.Completed


@pytest.mark.parametrize(
    ("error", "fault", "said"),
    [
        (SampleError("there is nothing to train on"), "sample", "nothing to train on"),
        (MemoryError(), "host", "not enough memory"),
        (OSError(28, "No space left on device"), "host", "No space left"),
    ],
)
def test_what_goes_wrong_is_the_last_word(
    monkeypatch: pytest.MonkeyPatch, error: Exception, fault: str, said: str
) -> None:
    def fail() -> None:
        raise error

    world = served(monkeypatch, World([(0, START)], trouble=fail))
    assert len(world.said) == 1
    assert isinstance(world.last, m.Failed)
    assert world.last.fault == fault
    assert said in world.last.error
    assert world.closed


# ── pace ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("duty", "told"),
    [
        (1.0, [1, 2, 3, 4]),
        (0.5, [1, 3, 5, 7]),
        (0.25, [1, 5, 9, 13]),
        (5.0, [1, 2, 3, 4]),
        (0, [1, 101, 201, 301]),
    ],
)
def test_a_duty_is_the_share_of_the_time_that_is_worked(
    monkeypatch: pytest.MonkeyPatch, duty: float, told: list[float]
) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pace(duty=duty))]))
    assert steps(world) == pytest.approx(told)


@pytest.mark.parametrize(("on_cpu", "told"), [(True, [1, 3, 9, 11]), (False, [1, 3, 9, 15])])
def test_what_others_have_of_the_processor_is_no_work_unless_an_accelerator_works_meanwhile(
    monkeypatch: pytest.MonkeyPatch, *, on_cpu: bool, told: list[float]
) -> None:
    def stand_still() -> None:
        if world.step == 3:
            world.now += 4
            world.idle_s += 4

    world = World([(0, START), (0, m.Pace(duty=0.5))], trouble=stand_still, on_cpu=on_cpu)
    assert steps(served(monkeypatch, world)) == pytest.approx(told)


def test_a_new_duty_shortens_the_rest_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pace(duty=0.01)), (10, m.Pace(duty=1.0))]))
    assert steps(world) == pytest.approx([1, 11, 12, 13])


def test_a_lower_duty_does_not_lengthen_the_rest_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pace(duty=0.5)), (1.5, m.Pace(duty=0.25))]))
    assert steps(world) == pytest.approx([1, 3, 7, 11])


@pytest.mark.parametrize(
    ("duty", "mean_s"), [(0.5, 0.002), (0.25, 0.004), (0.9, 0.001 / 0.9)], ids=["half", "a quarter", "most"]
)
def test_rests_that_are_too_short_for_a_sleep_are_taken_together(
    monkeypatch: pytest.MonkeyPatch, duty: float, mean_s: float
) -> None:
    class Small(World):
        def run(self) -> Generator[m.Report | None, None, None]:
            for step in range(1, 1001):
                self.now += 0.001
                yield batch(step)

    told = steps(served(monkeypatch, Small([(0, START), (0, m.Pace(duty=duty))])))
    assert told[-1] / 1000 == pytest.approx(mean_s, rel=0.01)
    rests = [after - before - 0.001 for before, after in itertools.pairwise(told)]
    assert {rest > pacing.WORTH_S - 1e-9 for rest in rests if rest > 1e-9} == {True}


def test_a_pace_is_also_a_share_of_the_cores_and_a_device_and_a_move_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = m.Pace(duty=0.5, cores=0.25, accelerated=False)
    world = served(monkeypatch, World([(0, START), (1.5, slow), (2.5, slow), (3.5, m.Pace())]))
    assert world.shares == [(0, 1.0), (2, 0.25), (3, 0.25), (3.5, 1.0), (4.5, 1.0)]
    assert world.accelerated == [(2, False), (3, False), (3.5, True)]
    moved = [(at, r.device, r.step) for at, r in world.said if isinstance(r, m.Moved)]
    assert moved == [(2, "cpu", 2), (3.5, "cuda", 3)]


def test_of_several_paces_that_come_together_the_newest_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    paces: list[Timed] = [(1.5, m.Pace(accelerated=False)), (1.5, m.Pace(duty=0.1)), (1.5, m.Pace(duty=0.5))]
    world = served(monkeypatch, World([(0, START), *paces]))
    assert world.accelerated == [(2, True)]
    assert steps(world) == [1, 2, 3, 5]


def test_memory_is_given_back_after_a_move_and_after_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    world, given = World([(0, START), (0.5, m.Pace()), (2.5, m.Pace(accelerated=False))]), []
    monkeypatch.setattr(worker, "free_memory", lambda: given.append(world.now))
    served(monkeypatch, world)
    assert given == [3, 4]


def test_a_move_during_a_rest_is_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = m.Pace(duty=0.5, accelerated=False)
    commands: list[Timed] = [(0, START), (0, m.Pace(duty=0.5)), (11.5, slow)]
    world = served(monkeypatch, World(commands, move_s=10.0))
    # The first pace takes ten seconds, and a step one; half of its rest is over when ten more seconds of work begin.
    assert steps(world)[:2] == pytest.approx([11, 11.5 + 10 + 0.5 + 10 + 1])


# ── holds ───────────────────────────────────────────────────────────────────────────────────────
def test_a_pause_that_comes_with_the_start_holds_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pause()), (3, m.Resume())]))
    assert world.kinds()[:3] == [(0, "Held"), (3, "Held"), (4, "MiniBatchEnd")]


def test_a_pause_holds_after_the_step_in_flight_and_the_worker_beats_until_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = served(monkeypatch, World([(0, START), (1.5, m.Pause()), (13, m.Resume())]))
    assert world.kinds()[1:7] == [
        (2, "MiniBatchEnd"),
        (2, "Held"),
        (2 + HEARTBEAT_S, "Heartbeat"),
        (2 + 2 * HEARTBEAT_S, "Heartbeat"),
        (13, "Held"),
        (14, "MiniBatchEnd"),
    ]
    helds = [report.held for _, report in world.said if isinstance(report, m.Held)]
    assert helds == [True, False]


def test_a_pause_ends_a_rest_and_another_pause_while_it_goes_on_holds_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[Timed] = [(0, START), (0, m.Pace(duty=0.01)), (2, m.Pause()), (5, m.Resume())]
    commands += [(5, m.Pause()), (9, m.Resume()), (9, m.Pace(duty=1.0))]
    world = served(monkeypatch, World(commands))
    helds = [(at, report.held) for at, report in world.said if isinstance(report, m.Held)]
    assert helds == [(2, True), (5, False), (6, True), (9, False)]
    assert steps(world) == [1, 6, 10, 11]


def test_a_pause_that_is_taken_back_in_the_same_breath_is_no_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (1.5, m.Pause()), (1.5, m.Resume())]))
    assert steps(world) == [1, 2, 3, 4]
    assert "Held" not in dict.fromkeys(kind for _, kind in world.kinds())


def test_a_learning_rate_changes_at_once_held_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[Timed] = [
        (1.5, m.Adjust(parameters={"learningRate": 0.5})),
        (4, m.Adjust(parameters={"learningRate": 0.1})),
    ]
    commands: list[Timed] = [(0, START), rates[0], (2, m.Pause()), rates[1], (5, m.Resume())]
    world = served(monkeypatch, World(commands))
    assert world.adjusted == [(2, 0.5), (4, 0.1)]
    told = [(at, r.learning_rate, r.step) for at, r in world.said if isinstance(r, m.Adjusted)]
    assert told == [(2, 0.5, 2), (4, 0.1, 2)], "at once, though it is held"


# ── cancels ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("commands", "ends"),
    [
        ([(0, m.Cancel())], 0),
        ([(1.5, m.Cancel())], 2),
        ([(0, m.Pause()), (7, m.Cancel())], 7),
        ([(0, m.Pace(duty=0.01)), (7, m.Cancel())], 7),
    ],
    ids=["with the start", "during a step", "during a hold", "during a rest"],
)
def test_a_cancel_is_obeyed_after_the_step_in_flight(
    monkeypatch: pytest.MonkeyPatch, commands: list[Timed], ends: float
) -> None:
    world = served(monkeypatch, World([(0, START), *commands]))
    assert world.kinds()[-1] == (ends, "Cancelled")
    assert world.closed is (steps(world) != [])


def test_a_worker_is_as_new_for_the_next_task(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Timed] = [(0, START), (0, m.Pace(duty=0.5)), (0, m.Pause()), (1, m.Cancel()), (2, START)]
    world = served(monkeypatch, World(commands))
    assert steps(world) == [3, 4, 5, 6]


def test_what_comes_while_the_last_word_is_said_is_for_the_next_task(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Timed] = [(0, START), (4.5, m.Pause()), (4.5, START)]
    world = served(monkeypatch, World(commands, save_s=1.0))
    assert [at for at, kind in world.kinds() if kind == "Completed"] == [5, 10]
    assert "Held" not in [kind for _, kind in world.kinds()]


# ── releases ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("commands", "ends", "kept"),
    [
        ([(0, m.Release())], 0, 0),
        ([(1.5, m.Release())], 2, 2),
        ([(1.5, m.Pause()), (7, m.Release())], 7, 2),
        ([(0, m.Pace(duty=0.01)), (7, m.Release())], 7, 1),
    ],
    ids=["with the start", "during a step", "during a hold", "during a rest"],
)
def test_a_release_leaves_a_checkpoint_of_the_step_in_flight_and_then_lets_go(
    monkeypatch: pytest.MonkeyPatch, commands: list[Timed], ends: float, kept: int
) -> None:
    world = served(monkeypatch, World([(0, START), *commands]))
    assert world.kinds()[-1] == (ends, "Released")
    assert [report.step for _, report in world.said if isinstance(report, m.Checkpointed)] == [kept] * (
        kept > 0
    )
    assert world.closed is (kept > 0)


# ── together ────────────────────────────────────────────────────────────────────────────────────
def test_fast_mini_batches_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START)], step_s=0.002))
    assert world.flushed == pytest.approx([0.006, 0.008])


def test_what_is_gathered_does_not_wait_for_the_next_report(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thin(World):
        def run(self) -> Generator[m.Report | None, None, None]:
            for report in (batch(1), None, None, None):
                self.now += 0.002
                yield report

    assert served(monkeypatch, Thin([(0, START)])).flushed == pytest.approx([0.006])


def test_what_is_gathered_does_not_wait_for_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pace(duty=0.01))], step_s=0.001))
    assert world.flushed[0] == pytest.approx(0.001)


# ── silence ─────────────────────────────────────────────────────────────────────────────────────
def test_a_worker_that_rests_for_long_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    world = served(monkeypatch, World([(0, START), (0, m.Pace(duty=0.01)), (18, m.Cancel())]))
    assert [at for at, kind in world.kinds() if kind == "Heartbeat"] == [6, 11, 16]


def test_a_worker_that_has_nothing_to_say_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(World):
        def run(self) -> Generator[m.Report | None, None, None]:
            for _ in itertools.repeat(None, 12):
                self.now += 1
                yield None

    world = served(monkeypatch, Quiet([(0, START)]))
    assert world.kinds() == [(5, "Heartbeat"), (10, "Heartbeat")]
