"""Checkpoints on the disk: when they are due, how many stay, and which are believed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import HostError
from finetuned.service.checkpoints import Keeper, Schedule, first_sound, read
from finetuned.service.messages import CheckpointRef

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("since_s", "cost_s", "epoch_ended", "due"),
    [
        (0.9, None, True, False),  # nobody knows the cost yet: a short run has none
        (1.1, None, True, True),
        (1.1, None, False, False),
        (60.0, None, False, True),
        (19.9, 0.5, True, False),  # a slow disk: a fortieth of the time is the most
        (20.1, 0.5, True, True),
        (60.0, 30.0, False, True),  # what was asked for is done whatever it costs
    ],
)
def test_a_checkpoint_is_due_after_its_interval_and_at_an_epochs_end_where_it_costs_little(
    *, since_s: float, cost_s: float | None, epoch_ended: bool, due: bool
) -> None:
    schedule = Schedule(every_s=60.0, last_s=100.0)
    if cost_s is not None:
        schedule.written(100.0 - cost_s, 100.0)
    assert schedule.due(100.0 + since_s, epoch_ended=epoch_ended) is due


def test_the_two_before_a_new_checkpoint_stay_and_those_of_other_attempts(tmp_path: Path) -> None:
    other = Keeper(folder=tmp_path, attempt=1).write(9, b"of the attempt before")
    keeper = Keeper(folder=tmp_path, attempt=2)
    refs = [keeper.write(step, b"%d" % step) for step in range(1, 6)]
    assert [read(tmp_path, ref) for ref in refs[-3:]] == [b"3", b"4", b"5"]
    assert len(list((tmp_path / "2").iterdir())) == 3
    assert read(tmp_path, other) == b"of the attempt before"


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "1/link"])
def test_nothing_outside_of_the_tasks_folder_is_read(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "task"
    (folder / "1").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"secret")
    (folder / "1" / "link").symlink_to(tmp_path / "outside")
    digest = hashlib.sha256(b"secret").hexdigest()
    with pytest.raises(HostError, match="does not lie in the task's folder"):
        read(folder, CheckpointRef(path=path, sha256=digest, step=1))


def test_the_first_that_is_sound_counts_and_each_before_it_is_named(tmp_path: Path) -> None:
    keeper = Keeper(folder=tmp_path, attempt=1)
    sound, foreign, broken = (keeper.write(step, b"%d" % step) for step in (1, 2, 3))
    (tmp_path / broken.path).write_bytes(b"?")
    missing = CheckpointRef(path="1/none", sha256="", step=4)

    def decode(data: bytes) -> int:
        if data == b"2":
            raise HostError("it is of another task")
        return int(data)

    found, refused = first_sound(tmp_path, [missing, broken, foreign, sound], decode)
    assert found == 1
    assert [sentence.split(": ", 1)[1][:18] for sentence in refused] == [
        "it cannot be read:",
        "it is damaged: its",
        "it is of another t",
    ]
    assert first_sound(tmp_path, [missing], decode)[0] is None
