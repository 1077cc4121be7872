from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

import builders
import networks as n
from finetuned.edge.resuming import Interruption, Keeper, beside, read
from finetuned.errors import CheckpointError, HostError
from finetuned.spec import codec
from finetuned.update import checkpoint
from finetuned.update.checkpoint import Position, Snapshot
from finetuned.update.features import Encoded
from finetuned.update.network import NetworkUpdate
from finetuned.update.parameters import resolve, update_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = Encoded(features=n.numbers(10, 4), targets=(np.arange(10) % 3).astype(np.int64))


def update() -> NetworkUpdate:
    model = codec.decode(builders.dense_classifier())
    return NetworkUpdate(model, resolve(update_of(model), {"epochs": 2, "miniBatchSize": 4}, seed=0))


# ── the checkpoint ──────────────────────────────────────────────────────────────────────────────
def test_a_checkpoint_is_kept_once_a_minute_and_is_that_of_the_moment(tmp_path: Path) -> None:
    clock = iter([0.0, 59.9, 60.0, 60.0, 119.9, 120.0, 120.0])
    task = update()
    keeper = Keeper(beside(tmp_path / "out"), task, DATA, now=lambda: next(clock))
    steps = task.steps(DATA)
    kept: list[int] = []
    for _ in range(4):
        next(steps)
        keeper.keep_if_due()
        data = read(keeper.path) if keeper.path.exists() else b""
        kept.append(checkpoint.decode(data, keeper.identity).position.step if data else 0)
    assert kept == [0, 2, 2, 3]


def test_a_task_goes_on_from_what_was_kept_and_a_removed_checkpoint_is_none(tmp_path: Path) -> None:
    undisturbed, stopped, resumed = update(), update(), update()
    list(undisturbed.steps(DATA))
    next(stopped.steps(DATA))
    keeper = Keeper(beside(tmp_path / "out"), stopped, DATA)
    keeper.keep()
    list(Keeper(keeper.path, resumed, DATA).go_on(read(keeper.path)))
    assert resumed.encode() == undisturbed.encode()
    keeper.remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HostError, match="No such file"):
        read(keeper.path)


def test_a_position_that_the_task_never_has_is_refused_and_the_task_stands_where_it_stood(
    tmp_path: Path,
) -> None:
    task = update()
    keeper = Keeper(beside(tmp_path / "out"), task, DATA)
    sound = task.snapshot()
    zeros = {name: np.zeros_like(array) for name, array in sound.arrays.items()}
    wrong = Snapshot(position=Position(epoch=7, step=21), learning_rate=0.1, arrays=zeros, seed=sound.seed)
    before = task.encode()
    with pytest.raises(CheckpointError, match="no epoch 7"):
        keeper.go_on(checkpoint.encode(wrong, keeper.identity))
    assert task.encode() == before


# ── Ctrl-C ──────────────────────────────────────────────────────────────────────────────────────
def pressed(times: int, done: list[str]) -> Iterator[str]:
    """Have Ctrl-C pressed so often in the midst of a step."""
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)
    done.append("the rest of the step")
    yield "event"


def test_ctrl_c_in_a_step_waits_for_its_end_and_the_event_is_told() -> None:
    done: list[str] = []
    with Interruption() as interruption:
        steps = pressed(1, done)
        assert interruption.step(steps) == "event"
        assert done
        with pytest.raises(KeyboardInterrupt):
            interruption.step(steps)
    assert not interruption.torn


def test_who_insists_stops_in_the_middle_of_a_step() -> None:
    done: list[str] = []
    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        interruption.step(pressed(2, done))
    assert not done
    assert interruption.torn


def test_ctrl_c_between_two_steps_is_obeyed_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert interruption.step(pressed(0, [])) == "event"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert not interruption.torn
    assert signal.getsignal(signal.SIGINT) is before
