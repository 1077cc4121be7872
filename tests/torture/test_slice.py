"""A slice of the campaign, its kinds fixed, so that every change is tried on a dozen faults; `make torture` does hundreds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from torture import invariants
from torture.campaign import Campaign, dice
from torture.faults import KINDS
from torture.shim import Boundary, Role, Shim, Trap, What, build

if TYPE_CHECKING:
    from pathlib import Path

    from torture.house import House

SEED = 220
KILLS = (
    "kill daemon",
    "kill worker at a call",
    "kill daemon at a call",
    "tear a worker's write",
    "kill worker",
    "terminate",
)
OTHERS = (
    "tear a daemon's write",
    "break a feature cache",
    "shift the clock",
    "break the ledger",
    "break current",
    "kill broker",
)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign without small disks, since not everybody may mount them."""
    folder = tmp_path_factory.mktemp("torture")
    made = Campaign(seed=SEED, folder=folder, tell=lambda line: sys.stdout.write(f"{line}\n"), tmpfs=False)
    made.measure()
    return made


def a_house(made: Campaign, number: int) -> House:
    return made.build(dice(SEED, number), f"house-{number}")


@pytest.mark.parametrize(("number", "names"), [(1, KILLS), (2, OTHERS)], ids=["kills", "others"])
def test_after_each_of_these_faults_nothing_is_lost_or_twice_and_the_bytes_are_the_same(
    made: Campaign, number: int, names: tuple[str, ...]
) -> None:
    made.rounds_in(
        a_house(made, number), number, [kind for name in names for kind in KINDS if kind.name == name]
    )
    assert [failure for each in made.failed for failure in each.failures] == []
    assert [each.kind for each in made.rounds if each.house == number] == list(names)
    assert made.tally.compared


def test_the_invariants_notice_what_is_wrong(made: Campaign) -> None:
    house = a_house(made, 3)
    try:
        done = made.round(house, 3, 0, next(kind for kind in KINDS if kind.name == "nothing"), dice(SEED))
        assert not done.failures
        next(house.state.glob("models/*/*/samples/*/*")).write_bytes(b"something else")
        next(house.state.glob("models/*/*/current")).unlink()
        (house.state / "tasks/left").mkdir()
        noticed = {complaint.partition(":")[0] for complaint in invariants.complaints(house, 0)}
        assert noticed == {
            "no_sample_is_lost",
            "current_is_what_the_ledger_says",
            "nothing_temporary_is_left",
        }
    finally:
        house.close(keep=False)


def test_a_trap_strikes_the_call_that_it_names_in_a_process_of_its_role(tmp_path: Path) -> None:
    shim = Shim(build(tmp_path), tmp_path / "control", tmp_path)
    shim.set(Trap(role=Role.worker, boundary=Boundary.files, what=What.torn, at=3))
    code = f"import os; f = os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_RDWR); os.write(f, b'ab'); os.write(f, b'cd')"
    done = subprocess.run(
        [sys.executable, "-c", code, "finetuned.service.worker"], env=shim.environ, check=False
    )
    assert done.returncode == -9
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert shim.calls(Role.worker, Boundary.files) == 3
