"""The campaign: houses, rounds, one fault in each, and the table at the end.

A house lives for ten rounds.  Its dice are thrown from the campaign's seed and its own number, so that `--seed S --house N`
draws the same faults again; the moments at which they strike are as random as the machine is.
"""

from __future__ import annotations

import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from torture import invariants, load, opinion, settling
from torture.configuration import Ways
from torture.faults import KINDS
from torture.house import House, NeverQuietError
from torture.scene import Counts, Scene
from torture.shim import Boundary, Role, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torture.faults import Kind

ROUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of a round; `struck` says whether its fault happened at all."""

    house: int
    number: int
    kind: str
    struck: bool
    note: str
    seconds: float
    failures: tuple[str, ...]


@dataclass(kw_only=True)
class Campaign:
    """So many faults that struck, from one seed; `tmpfs` says whether houses may have a small disk of their own."""

    seed: int
    folder: Path
    tell: Callable[[str], object]
    tmpfs: bool
    rounds: list[Round] = field(default_factory=list)
    tally: opinion.Tally = field(default_factory=opinion.Tally)
    counts: Counts = field(default_factory=Counts)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Compile the shim."""
        self.library = build(self.folder)

    # ── the whole ───────────────────────────────────────────────────────────────────────────────
    def run(self, faults: int, lanes: int) -> None:
        """Let house after house have its rounds, `lanes` of them at a time, until so many faults have struck."""
        self.measure()
        numbers = iter(range(10**9))

        def lane() -> None:
            while self.struck < faults:
                with self._lock:
                    number = next(numbers)
                self.house(number, faults)

        with ThreadPoolExecutor(lanes) as pool:
            for lane_done in [pool.submit(lane) for _ in range(lanes)]:
                lane_done.result()

    @property
    def struck(self) -> int:
        """How many faults have happened."""
        return sum(each.struck for each in self.rounds)

    @property
    def failed(self) -> list[Round]:
        """The rounds after which something was wrong."""
        return [each for each in self.rounds if each.failures]

    def measure(self) -> None:
        """Count the calls of an undisturbed start and round, so that traps are set where calls are."""
        house = self.build(dice(self.seed), "measured")
        try:
            house.start()
            start = _counted(house)
            Scene(house=house, rng=dice(self.seed), counts=self.counts).drop()
            house.become_quiet()
            both = _counted(house)
        finally:
            house.close(keep=False)
        self.counts = Counts(start=start, round={key: both[key] - start[key] for key in both})
        told = ", ".join(
            f"{role.name} {boundary.name} {start[role, boundary]} + {n}"
            for (role, boundary), n in self.counts.round.items()
        )
        self.tell(f"calls of an undisturbed start and round: {told}")

    # ── a house ─────────────────────────────────────────────────────────────────────────────────
    def build(self, rng: Random, name: str) -> House:
        """Build a house: one or two models, two users, and perhaps a disk of its own."""
        hands = load.hands()
        subjects = {"digits": load.digits()} | ({"hands": hands} if rng.random() < 0.5 and hands else {})
        return House(
            folder=self.folder / name,
            library=self.library,
            subjects=subjects,
            parameters={name: rng.choice(subject.parameters) for name, subject in subjects.items()},
            ways=Ways(
                max_running=rng.choice((1, 2)),
                warm_s=rng.choice((0.0, 1.0, 60.0)),
                checkpoint_s=rng.choice((1.0, 1.0, 60.0)),
            ),
            on_tmpfs=self.tmpfs and rng.random() < 0.5,
        )

    def house(self, number: int, faults: int, kinds: Sequence[Kind] = KINDS) -> None:
        """Let a house have its rounds, of kinds that are drawn by weight."""
        rng = dice(self.seed, number)
        house = self.build(rng, f"house-{number}")
        chosen = [kind for kind in kinds if house.on_tmpfs or not kind.needs_tmpfs]
        drawn = rng.choices(chosen, [kind.weight for kind in chosen], k=ROUNDS)
        self.rounds_in(house, number, drawn, lambda: self.struck < faults)

    def rounds_in(
        self, house: House, number: int, kinds: Sequence[Kind], go_on: Callable[[], bool] = lambda: True
    ) -> None:
        """Do a fault of each of these kinds, up to the first after which something is wrong."""
        clean = True
        try:
            for index, kind in enumerate(kinds):
                if clean and go_on():
                    done = self.round(house, number, index, kind, dice(self.seed, number, index))
                    clean = not done.failures
        finally:
            house.close(keep=not clean)

    # ── a round ─────────────────────────────────────────────────────────────────────────────────
    def round(self, house: House, number: int, index: int, kind: Kind, rng: Random) -> Round:
        """Do one fault to the house, let it come to rest, and look at everything."""
        began = time.monotonic()
        scene = Scene(house=house, rng=rng, counts=self.counts)
        failures = tuple(self._failures(scene, kind))
        done = Round(
            house=number,
            number=index,
            kind=kind.name,
            struck=scene.struck,
            note=scene.note,
            seconds=time.monotonic() - began,
            failures=failures,
        )
        with self._lock:
            self.rounds.append(done)
            self._report(done)
        return done

    def _failures(self, scene: Scene, kind: Kind) -> list[str]:
        house = scene.house
        try:
            before = _ended(house)
            settling.prepare(scene)
            kind.act(scene)
            settling.settle(scene)
            found = [*invariants.no_task_failed_of_it(scene, before), *invariants.complaints(house)]
            return [*found, *([] if found else opinion.judged(house, self.tally))]
        except NeverQuietError as error:
            return [f"it_comes_to_rest: {error}"]
        except AssertionError as error:
            return [f"{kind.act.__name__}: {error}"]
        except Exception:  # noqa: BLE001 - a mistake of the campaign's own must not end it unseen
            return [f"the campaign itself: {traceback.format_exc()}"]

    def _report(self, done: Round) -> None:
        word = "FAILED" if done.failures else "ok" if done.struck else "missed" if not done.note else "-"
        self.tell(
            f"{self.struck:4}  house {done.house}.{done.number}  {word:6} {done.seconds:5.1f} s  {done.kind}: {done.note}"
        )
        for failure in done.failures:
            self.tell(
                f"      seed {self.seed}, house {done.house}, round {done.number}, {done.kind}: {failure}"
            )
        if done.failures:
            self.tell(f"      kept: {self.folder / f'house-{done.house}'}")


def dice(*seed: int) -> Random:
    """Return the dice that are thrown from a seed."""
    return Random("/".join(map(str, seed)))  # noqa: S311 - nothing is kept secret with them


def _ended(house: House) -> set[str]:
    """Return the tasks that have failed before this round."""
    if not (house.state / "ledger.db").exists():
        return set()
    return {row["id"] for row in house.rows("SELECT id FROM tasks WHERE state = 'failed'")}


def _counted(house: House) -> dict[tuple[Role, Boundary], int]:
    return {(role, boundary): house.shim.calls(role, boundary) for role in Role for boundary in Boundary}
