"""Who starts next?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetuned.policy.queue import Served, Waiting, choose, next_ready

Pair = tuple[str, str]


# ── builders ────────────────────────────────────────────────────────────────────────────────────
def waiting(*names: str) -> list[Waiting]:
    """Tasks in the order of their creation, each called `model/user`."""
    return [
        Waiting(task=name, model=name.partition("/")[0], user=name.partition("/")[2], created_s=float(at))
        for at, name in enumerate(names)
    ]


def urgent(*names: str) -> list[Waiting]:
    return [replace(each, urgent=True, created_s=each.created_s + 1000) for each in waiting(*names)]


def pairs(*names: str) -> list[Pair]:
    return [(each.model, each.user) for each in waiting(*names)]


def served(*names: str) -> list[Served]:
    """The same names, in the order in which they were started."""
    return [Served(model=model, user=user, turn=at) for at, (model, user) in enumerate(pairs(*names), 1)]


# ── the order ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("tasks", "running", "history", "places", "expected"),
    [
        pytest.param([], [], [], 4, [], id="nobody waits"),
        pytest.param(["b/x", "a/x"], [], [], 1, ["b/x"], id="the oldest, where nobody was served"),
        pytest.param(["a/x"], ["b/x"], [], 1, [], id="there is no free place"),
        pytest.param(["a/x"], ["b/x", "c/x"], [], 1, [], id="there are fewer places than run"),
        pytest.param(["a/x", "b/x"], [], ["a/x"], 1, ["b/x"], id="a model that was never served goes first"),
        pytest.param(["a/x", "b/x"], [], ["b/x", "a/y"], 1, ["b/x"], id="then the one that was served longest ago, by any user"),
        pytest.param(["a/x", "a/y"], [], ["a/x"], 1, ["a/y"], id="within a model, the user who was never served"),
        pytest.param(["a/x", "a/y"], [], ["a/y", "a/x"], 1, ["a/y"], id="then the user who was served longest ago"),
        pytest.param(["a/x", "b/x"], ["b/y"], ["a/x", "b/y", "a/x"], 2, ["a/x"], id="a model with fewer running tasks goes before one that was served longer ago"),
        pytest.param(["a/x", "a/y", "a/z", "b/x"], [], [], 3, ["a/x", "b/x", "a/y"], id="several places are shared between models"),
        pytest.param(["a/x", "a/y", "b/x", "b/y"], [], ["a/x", "b/x"], 4, ["a/y", "b/y", "a/x", "b/x"], id="and between their users"),
        pytest.param(["a/y", "b/x", "b/y"], ["a/w"], ["a/w"], 3, ["b/x", "a/y"], id="each start counts for the next: as a running task"),
        pytest.param(["a/x", "a/y", "b/y"], ["b/x"], ["a/x", "b/x"], 3, ["a/y", "b/y"], id="and as the latest turn"),
        pytest.param(["a/x", "b/x"], ["a/x"], [], 4, ["b/x"], id="never two of one model and user"),
    ],
)  # fmt: skip
def test_the_next_to_start_are_as_the_table_says(
    tasks: list[str], running: list[str], history: list[str], places: int, expected: list[str]
) -> None:
    assert choose(waiting(*tasks), pairs(*running), served(*history), places) == tuple(expected)


def test_two_that_are_alike_in_everything_start_by_their_ids() -> None:
    alike = [Waiting(task=task, model=task) for task in ("02", "01")]
    assert choose(alike, [], [], 2) == ("01", "02")


def test_two_tasks_of_one_model_and_user_do_not_start_together() -> None:
    assert choose([Waiting(task=task, model="m") for task in ("1", "2")], [], [], 2) == ("1",)


def test_who_backs_off_is_passed_over_until_the_wait_has_ended() -> None:
    backing_off = Waiting(task="first", model="a", ready_in_s=2.5)
    other = Waiting(task="second", model="b", created_s=9.0)
    assert choose([backing_off, other], [], [], 2) == ("second",)
    assert next_ready([backing_off, other, Waiting(task="third", model="c", ready_in_s=7.0)]) == 2.5
    assert next_ready([other]) == math.inf


def test_a_wait_that_nobody_knows_holds_nobody() -> None:
    lost = Waiting(task="t", model="a", ready_in_s=math.nan)
    assert choose([lost], [], [], 1) == ("t",)
    assert next_ready([lost]) == math.inf


# ── nobody waits for ever ───────────────────────────────────────────────────────────────────────
USERS = {"crowd": 7, "pair": 2, "alone": 1}
EVERYBODY = tuple((model, str(user)) for model, users in USERS.items() for user in range(users))
FAIR_SHARE = {model: len(USERS) * users for model, users in USERS.items()}
"""M · U: by how many starts a task of the model has started, where there is one place."""


@dataclass(slots=True)
class Simulation:
    """Tasks come, start and end; a start is a turn."""

    places: int
    turn: int = 0
    waiting: dict[Pair, int] = field(default_factory=dict)  # since which turn
    running: dict[Pair, int] = field(default_factory=dict)
    served: dict[Pair, int] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)  # the longest of each model, in turns
    longest_run: int = 0

    def arrive(self, pair: Pair) -> None:
        """One of each model and user is alive at a time."""
        if pair not in self.running:
            self.waiting.setdefault(pair, self.turn)

    def end(self, index: int) -> None:
        """End one of those that run."""
        if self.running:
            pair = list(self.running)[index % len(self.running)]
            self.longest_run = max(self.longest_run, self.turn - self.running.pop(pair))

    def start(self) -> None:
        """Start whoever is chosen."""
        tasks = {"/".join(pair): pair for pair in self.waiting}
        shown = [
            Waiting(task=name, model=pair[0], user=pair[1], created_s=float(self.waiting[pair]))
            for name, pair in tasks.items()
        ]
        history = [Served(model=model, user=user, turn=at) for (model, user), at in self.served.items()]
        for name in choose(shown, list(self.running), history, self.places):
            model, _ = pair = tasks[name]
            self.turn += 1
            self.waits[model] = max(self.waits.get(model, 0), self.turn - self.waiting.pop(pair))
            self.running[pair] = self.served[pair] = self.turn
        assert len(self.running) <= self.places
        assert len(self.running) == self.places or not self.waiting, "a place is free, and somebody waits"

    def overdue(self) -> dict[str, int]:
        """The longest wait of each model, whether it has ended or not, in turns."""
        longest = dict(self.waits)
        for (model, _), since in self.waiting.items():
            longest[model] = max(longest.get(model, 0), self.turn - since)
        return longest


moments = st.tuples(st.lists(st.sampled_from(EVERYBODY), max_size=10), st.integers(0, 7))


@given(st.lists(moments, min_size=20, max_size=60))
def test_with_one_place_a_task_starts_within_as_many_starts_as_there_are_models_times_its_models_users(
    history: list[tuple[list[Pair], int]],
) -> None:
    simulation = Simulation(places=1)
    for arrivals, ended in history:
        for pair in arrivals:
            simulation.arrive(pair)
        simulation.start()
        simulation.end(ended)
    assert all(wait <= FAIR_SHARE[model] for model, wait in simulation.overdue().items())


@given(st.integers(2, 4), st.lists(moments, min_size=20, max_size=60))
def test_with_more_places_it_waits_longer_by_no_more_than_the_longest_task_runs(
    places: int, history: list[tuple[list[Pair], int]]
) -> None:
    simulation = Simulation(places=places)
    for arrivals, ended in history:
        for pair in arrivals:
            simulation.arrive(pair)
        simulation.start()
        simulation.end(ended)
    while simulation.running:
        simulation.end(0)
    slack = simulation.longest_run
    assert all(wait <= (len(USERS) + slack) * USERS[model] for model, wait in simulation.overdue().items())


def test_a_thousand_users_of_one_model_delay_the_only_user_of_another_by_one_task() -> None:
    simulation = Simulation(places=1)
    crowd = [("crowd", str(user)) for user in range(1000)]
    for _ in range(20):
        for pair in (*crowd, ("alone", "")):
            simulation.arrive(pair)
        simulation.start()
        simulation.end(0)
    assert simulation.waits["alone"] == 2  # of those that start, the second


def test_a_model_that_must_wait_for_its_own_running_task_does_not_take_the_others_places() -> None:
    """Two places, one of them with a task of `slow` that lasts: the other belongs to the other model."""
    simulation = Simulation(places=2)
    simulation.arrive(("slow", "1"))
    simulation.start()
    for _ in range(9):
        for pair in (("slow", "2"), ("quick", "1")):
            simulation.arrive(pair)
        simulation.start()
        simulation.end(1)
    assert ("slow", "2") in simulation.waiting
    simulation.end(0)
    simulation.start()
    assert ("slow", "2") in simulation.running


def test_the_urgent_go_first_and_are_fair_among_themselves_and_never_take_more_places_than_there_are() -> (
    None
):
    tasks = [*waiting("a/x", "b/x"), *urgent("u/x", "u/y", "v/x")]
    assert choose(tasks, [], served("u/x"), 4) == ("v/x", "u/y", "u/x", "a/x")
    assert choose(tasks, pairs("a/x"), [], 1) == ()
