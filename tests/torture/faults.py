"""The table of faults: each is a function over a scene that drops files and does something to the daemon meanwhile.

A fault undoes what it did to the disk, the clock and the broker.  What it did to processes is for the campaign to mend: it
starts a daemon that is dead and waits until the house is quiet.
"""

from __future__ import annotations

import errno
import subprocess
import time
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import TYPE_CHECKING

from torture.breakage import BREAKAGES
from torture.configuration import SILENCE_S
from torture.shim import Boundary, Role, Trap, What

if TYPE_CHECKING:
    from collections.abc import Callable

    from torture.scene import Scene

FILES, WORDS = Boundary.files, Boundary.words
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
MINUTE, DAY = 60.0, 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault: how often it is drawn, and whether it needs a small disk of its own (root can have one)."""

    name: str
    act: Callable[[Scene], None]
    weight: int = 4
    needs_tmpfs: bool = False


# ── kills ───────────────────────────────────────────────────────────────────────────────────────
def nothing(scene: Scene) -> None:
    """Drop files and let things take their course: no fault, and not counted as one."""
    scene.drop()
    scene.note = "undisturbed"


def kill_daemon(scene: Scene) -> None:
    """SIGKILL to the daemon at a random moment."""
    scene.drop()
    scene.moment(3.0)
    if scene.signal(Role.daemon, SIGKILL):
        scene.done("killed")


def kill_starting_daemon(scene: Scene) -> None:
    """SIGKILL to a daemon that has hardly begun, several times."""
    scene.drop()
    scene.moment(1.0)
    times = scene.rng.randint(1, 4)
    for _ in range(times):
        scene.signal(Role.daemon, SIGKILL)
        scene.house.spawn()
        scene.moment(1.5)
    scene.signal(Role.daemon, SIGKILL)
    scene.done(f"{times} lives cut short")


def kill_child(role: Role) -> Callable[[Scene], None]:
    """SIGKILL to a worker or decoder at a random moment of its life."""

    def act(scene: Scene) -> None:
        scene.drop()
        scene.wait_for(role)
        scene.moment(scene.rng.choice((0.4, 1.5)) if role is Role.worker else 0.3)
        if scene.signal(role, SIGKILL):
            scene.done("killed")

    return act


def kill_both(scene: Scene) -> None:
    """SIGKILL to the daemon and its worker, in either order."""
    scene.drop()
    scene.wait_for(Role.worker)
    scene.moment(scene.rng.choice((0.4, 1.5)))
    killed = [scene.signal(role, SIGKILL) for role in scene.rng.sample([Role.daemon, Role.worker], 2)]
    if any(killed):
        scene.done("killed" if all(killed) else "one of them was gone already")


def terminate(scene: Scene) -> None:
    """SIGTERM: the daemon leaves by itself, in time and with status 0."""
    scene.drop()
    scene.moment(3.0)
    status = scene.house.stop()
    assert status == 0, f"SIGTERM ended in {'SIGKILL, since it did not leave' if status is None else status}"
    scene.done("left")


# ── at every boundary ───────────────────────────────────────────────────────────────────────────
def at_call(role: Role, boundary: Boundary, *whats: What) -> Callable[[Scene], None]:
    """End a process at a call that changes the disk, or at a word of its own."""

    def act(scene: Scene) -> None:
        restarted = role is Role.daemon and scene.rng.random() < 0.3
        if restarted:
            scene.house.kill()
        at = scene.any_call(role, boundary, starts=restarted)
        trap = Trap(role=role, boundary=boundary, what=scene.rng.choice(whats), at=at)
        scene.house.shim.set(trap)
        scene.drop()
        if restarted:
            scene.house.spawn()
        scene.until_struck(trap)

    return act


def refuse(role: Role) -> Callable[[Scene], None]:
    """Let one call, or many from there on, fail as a full, broken or read-only disk does."""

    def act(scene: Scene) -> None:
        times, error = scene.rng.choice((1, 1, 3, 40)), scene.rng.choice(ERRORS)
        scene.by_hand, scene.may_fail = True, times > 1 or error == errno.EIO
        at = scene.any_call(role, FILES)
        trap = Trap(role=role, boundary=FILES, what=What.fail, at=at, times=times, error=error)
        scene.house.shim.set(trap)
        scene.drop()
        scene.until_struck(trap)
        if scene.struck:
            scene.note += f": {errno.errorcode[error]} × {times}"
            scene.moment(2.0)

    return act


# ── processes that stand still ──────────────────────────────────────────────────────────────────
def stop_briefly(role: Role) -> Callable[[Scene], None]:
    """SIGSTOP, and SIGCONT soon after."""

    def act(scene: Scene) -> None:
        scene.drop()
        scene.wait_for(role)
        scene.moment(1.0)
        if scene.signal(role, SIGSTOP):
            scene.moment(2.0)
            scene.signal(role, SIGCONT)
            scene.done("stood still for a moment")

    return act


def stop_for_good(scene: Scene) -> None:
    """SIGSTOP to a worker, which is given up for its silence."""
    scene.drop()
    scene.wait_for(Role.worker)
    scene.moment(1.0)
    if scene.signal(Role.worker, SIGSTOP):
        time.sleep(1.2 * SILENCE_S)
        scene.done("stood still")


# ── the disk ────────────────────────────────────────────────────────────────────────────────────
def fill_disk(scene: Scene) -> None:
    """Fill the state folder's own small disk to the last byte, and free it again."""
    scene.by_hand = True
    scene.drop()
    scene.moment(1.0)
    filler = scene.house.disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
    except OSError as error:
        scene.done(f"{error.strerror}")
    scene.moment(3.0)
    filler.unlink()


def read_only(scene: Scene) -> None:
    """Start on a read-only disk: a clear refusal, and nothing changed."""
    scene.drop()
    scene.moment(1.5)
    scene.signal(Role.daemon, SIGKILL)
    time.sleep(0.3)  # until the worker has died as well, and nothing is open
    _remount(scene, "ro")
    try:
        started = scene.house.start()
        assert not started, "it began to work on a read-only disk"
        assert scene.house.process is not None
        assert scene.house.process.returncode, "it left a read-only disk with status 0"
        scene.done("refused")
    finally:
        scene.house.kill()
        _remount(scene, "rw")


def _remount(scene: Scene, way: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{way}", scene.house.disk], check=True)


# ── the world around ────────────────────────────────────────────────────────────────────────────
def shift_clock(scene: Scene) -> None:
    """Set the wall clock forth and back while the daemon runs."""
    scene.drop()
    shifts = [scene.rng.choice((-1, 1)) * scene.rng.choice((MINUTE, DAY, 400 * DAY)) for _ in range(2)]
    for shift in shifts:
        scene.moment(1.0)
        scene.house.shim.shift_clock(shift)
    scene.done(" then ".join(f"{shift:+.0f} s" for shift in shifts))
    if scene.rng.random() < 0.5:
        scene.moment(1.0)
        scene.signal(Role.daemon, SIGKILL)  # whoever wakes up next finds another time


def kill_broker(scene: Scene) -> None:
    """Kill the broker, and start it again: it has forgotten everything."""
    scene.deaf = True
    scene.drop()
    scene.moment(1.5)
    scene.house.broker.kill()
    scene.house.ear.forget()
    scene.moment(2.0)
    scene.house.broker.start()
    scene.done("came back")


KINDS: tuple[Kind, ...] = (
    Kind(name="nothing", act=nothing, weight=1),
    Kind(name="kill daemon", act=kill_daemon, weight=10),
    Kind(name="kill starting daemon", act=kill_starting_daemon, weight=4),
    Kind(name="kill worker", act=kill_child(Role.worker), weight=8),
    Kind(name="kill decoder", act=kill_child(Role.decoder), weight=3),
    Kind(name="kill daemon and worker", act=kill_both, weight=5),
    Kind(name="terminate", act=terminate, weight=5),
    Kind(
        name="kill daemon at a call",
        act=at_call(Role.daemon, FILES, What.kill_before, What.kill_after),
        weight=16,
    ),
    Kind(
        name="kill worker at a call",
        act=at_call(Role.worker, FILES, What.kill_before, What.kill_after),
        weight=10,
    ),
    Kind(
        name="kill daemon at a word",
        act=at_call(Role.daemon, WORDS, What.kill_before, What.kill_after),
        weight=4,
    ),
    Kind(
        name="kill worker at a word",
        act=at_call(Role.worker, WORDS, What.kill_before, What.kill_after, What.torn),
        weight=4,
    ),
    Kind(
        name="kill decoder at a word",
        act=at_call(Role.decoder, WORDS, What.kill_before, What.kill_after, What.torn),
        weight=4,
    ),
    Kind(name="tear a daemon's write", act=at_call(Role.daemon, FILES, What.torn), weight=6),
    Kind(name="tear a worker's write", act=at_call(Role.worker, FILES, What.torn), weight=6),
    Kind(name="refuse the daemon", act=refuse(Role.daemon), weight=8),
    Kind(name="refuse the worker", act=refuse(Role.worker), weight=6),
    Kind(name="stop daemon", act=stop_briefly(Role.daemon), weight=2),
    Kind(name="stop worker", act=stop_briefly(Role.worker), weight=3),
    Kind(name="stop worker for good", act=stop_for_good, weight=2),
    Kind(name="fill the disk", act=fill_disk, weight=14, needs_tmpfs=True),
    Kind(name="read-only disk", act=read_only, weight=6, needs_tmpfs=True),
    Kind(name="shift the clock", act=shift_clock, weight=6),
    Kind(name="kill broker", act=kill_broker, weight=4),
    *(Kind(name=name, act=act, weight=2) for name, act in BREAKAGES.items()),
)
