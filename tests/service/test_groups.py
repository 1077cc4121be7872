"""The workers' own control group, in a tree that is made up as cgroup v2 and systemd make one."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from finetuned.service.groups import JOINS, join, worker_group

if TYPE_CHECKING:
    from pathlib import Path

PID = os.getpid()
FILES = ("cgroup.procs", "cgroup.subtree_control", "cpu.weight", "io.weight", "memory.oom.group")
DECODER, STRANGER = 4000001, 4000002


@dataclass
class Tree:
    """A `/proc` and a `/sys/fs/cgroup` in which the unit is `system.slice/finetuned.service`.

    A group's files are there from its start, as the kernel has them; `delegated` are the groups that systemd has marked.
    """

    root: Path
    own: str = "system.slice/finetuned.service"
    controllers: str = "cpuset cpu io memory pids"
    mark: str = "user.delegate"
    delegated: set[str] = field(default_factory=lambda: {"finetuned.service"})

    def __post_init__(self) -> None:
        """Make it."""
        self.unit = self.root / "cgroup" / "system.slice" / "finetuned.service"
        for group in (self.unit, self.unit / "daemon", self.unit / "worker"):
            group.mkdir(parents=True)
            (group / "cgroup.controllers").write_text(f"{self.controllers}\n")
            for name in FILES:
                (group / name).write_text("")
        self.write("cgroup.procs", f"{PID}\n{DECODER}\n{STRANGER}\n")
        self.process("self", f"0::/{self.own}\n", "")
        self.process(str(DECODER), "", f"{DECODER} (python (x) 3) S {PID} {DECODER} 0")
        self.process(str(STRANGER), "", f"{STRANGER} (bash) S 1 {STRANGER} 0")

    def process(self, name: str, cgroup: str, stat: str) -> None:
        """Add to /proc."""
        folder = self.root / "proc" / name
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(cgroup)
        (folder / "stat").write_text(stat)

    def write(self, name: str, text: str) -> None:
        """Let a file of the unit's hold this."""
        (self.unit / name).write_text(text)

    def read(self, name: str) -> str:
        """Return what a file was told."""
        return (self.unit / name).read_text()

    def attribute(self, path: Path, name: str) -> bytes:
        """Return an extended attribute, as `os.getxattr`."""
        if name == self.mark and path.name in self.delegated:
            return b"1"
        raise OSError(errno.ENODATA, "No data available")

    def worker_group(self) -> Path | None:
        """Ask for the group in this tree."""
        return worker_group(proc=self.root / "proc", cgroups=self.root / "cgroup", attribute=self.attribute)


@pytest.mark.parametrize("mark", ["user.delegate", "trusted.delegate"])
def test_in_a_delegated_group_the_daemon_makes_room_for_a_workers_group_that_comes_after_it(
    tmp_path: Path, mark: str
) -> None:
    tree = Tree(tmp_path, mark=mark)
    assert tree.worker_group() == tree.unit / "worker"
    assert tree.read("daemon/cgroup.procs") == f"{PID}{DECODER}", "one after the other; the stranger stays"
    assert tree.read("cgroup.subtree_control") == "+cpu+memory+io"
    assert [tree.read(f"worker/{name}") for name in FILES[2:]] == ["10", "10", ""], "one may go alone"
    assert tree.read("daemon/cpu.weight") == ""


def test_a_daemon_that_is_in_its_leaf_already_finds_the_group_above(tmp_path: Path) -> None:
    tree = Tree(tmp_path, own="system.slice/finetuned.service/daemon")
    tree.write("cgroup.procs", "")
    assert tree.worker_group() == tree.unit / "worker"
    assert tree.read("daemon/cgroup.procs") == ""


def test_a_controller_that_is_not_there_is_not_asked_for(tmp_path: Path) -> None:
    tree = Tree(tmp_path, controllers="memory pids")
    (tree.unit / "worker" / "cpu.weight").unlink()
    assert tree.worker_group() == tree.unit / "worker"
    assert tree.read("cgroup.subtree_control") == "+memory"
    assert not (tree.unit / "worker" / "cpu.weight").exists()


def test_a_group_that_is_not_delegated_is_left_as_it_is(tmp_path: Path) -> None:
    tree = Tree(tmp_path, delegated=set())
    assert tree.worker_group() is None
    assert tree.read("daemon/cgroup.procs") == tree.read("cgroup.subtree_control") == ""


def test_cgroup_v1_has_no_such_group(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    (tmp_path / "proc" / "self" / "cgroup").write_text("12:cpu,cpuacct:/x\n1:name=systemd:/x\n0::/x\n")
    assert tree.worker_group() is None


def test_a_group_in_which_nothing_can_be_made_is_none(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    (tree.unit / "cgroup.procs").unlink()
    assert tree.worker_group() is None


def test_a_worker_that_is_named_a_group_joins_it_before_anything_else(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    ours, its = socket.socketpair()
    ours.close()
    subprocess.run(
        [sys.executable, "-m", "finetuned.service.worker", str(its.fileno())],
        env={**os.environ, JOINS: str(tree.unit / "worker")},
        pass_fds=[its.fileno()],
        check=True,
    )
    its.close()
    assert tree.read("worker/cgroup.procs") == "0"


def test_a_worker_joins_a_group_and_one_that_is_not_there_is_nobodys_loss(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    join(str(tree.unit / "worker"))
    assert tree.read("worker/cgroup.procs") == "0", "which is whoever writes it"
    join(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
