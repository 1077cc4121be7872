from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

import builders
import networks as n
from finetuned.edge.resuming import Interruption, Keeper, beside, check_places, read
from finetuned.errors import CheckpointError, HostError, RequestError
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
    other = Keeper(keeper.path, resumed, DATA)
    list(other.go_on(other.opened(read(keeper.path))))
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
        keeper.go_on(keeper.opened(checkpoint.encode(wrong, keeper.identity)))
    assert task.encode() == before


def test_a_checkpoint_of_another_task_is_refused_with_what_to_do_and_a_damaged_one_is_told_apart(
    tmp_path: Path,
) -> None:
    keeper = Keeper(beside(tmp_path / "out"), update(), DATA)
    snapshot = update().snapshot()
    with pytest.raises(RequestError, match="leave out --resume"):
        keeper.opened(checkpoint.encode(snapshot, "another"))
    with pytest.raises(CheckpointError, match="cut off"):
        keeper.opened(checkpoint.encode(snapshot, keeper.identity)[:-1])


def test_a_checkpoint_set_aside_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    keeper = Keeper(beside(tmp_path / "out"), update(), DATA)
    assert not keeper.set_aside()
    keeper.old.write_bytes(b"older")
    keeper.path.write_bytes(b"old")
    assert keeper.set_aside()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out.checkpoint.old": b"old"}


def test_a_folder_where_out_or_its_checkpoint_goes_is_refused_and_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_places(out)
    inside = beside(out) / "precious"
    inside.mkdir(parents=True)
    with pytest.raises(RequestError, match=r"out\.checkpoint is no file"):
        check_places(out)
    with pytest.raises(HostError, match="removing"):
        Keeper(beside(out), update(), DATA).remove()
    assert inside.is_dir()
    with pytest.raises(RequestError, match="name a file"):
        check_places(beside(out))
    with pytest.raises(RequestError, match="no folder"):
        check_places(tmp_path / "nowhere" / "out")


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


def test_ctrl_c_while_a_file_is_written_waits_for_the_next_step() -> None:
    with Interruption() as interruption:
        with interruption.writing():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interruption.step(pressed(0, []))
    assert not interruption.torn


def test_ctrl_c_that_the_parent_has_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            assert interruption.step(pressed(2, [])) == "event"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
