"""The faults that break a file of the state folder, between two lives of the daemon or under its hands."""

from __future__ import annotations

import shutil
import time
from signal import SIGKILL
from typing import TYPE_CHECKING

from torture.damage import broken, broken_ledger, restored
from torture.house import last_words, wait_until
from torture.settling import see_to
from torture.shim import Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torture.scene import Scene

CHECKPOINT_S = 10.0
START_S = 3.0
LONG = {"epochs": 1000, "miniBatchSize": 2}


def break_files(*patterns: str, repair: bool = False, most: int = 1) -> Callable[[Scene], None]:
    """Break files that match, whether the daemon lives or not.

    `repair`: nothing can make them again, so they are restored, and a task may fail in between, with a reason.
    """

    def act(scene: Scene) -> None:
        scene.may_fail = repair
        scene.drop()
        scene.moment(1.5)
        between = scene.rng.random() < 0.5
        if between:
            scene.signal(Role.daemon, SIGKILL)
        paths = _some(scene, patterns)[:most]
        with restored(*paths if repair else ()):
            how = [broken(path, scene.rng) for path in paths if path.is_file()]
            if between:
                scene.house.start()
            if how:
                scene.done(f"{', '.join(how)}{' between two lives' if between else ''}")
            if repair:
                scene.drop()
                scene.moment(3.0)

    return act


def _some(scene: Scene, patterns: tuple[str, ...]) -> list[Path]:
    found = sorted({path for pattern in patterns for path in scene.house.state.glob(pattern)})
    return scene.rng.sample(found, len(found))


def break_checkpoints(most: int) -> Callable[[Scene], None]:
    """Break the newest checkpoints of a task, and take its worker or its daemon away."""

    def act(scene: Scene) -> None:
        scene.drop()
        _long_task(scene)
        wait_until(lambda: _checkpoints(scene), CHECKPOINT_S)
        scene.moment(1.0)
        role = scene.rng.choice((Role.daemon, Role.worker))
        scene.signal(role, SIGKILL)
        how = [broken(path, scene.rng) for path in _checkpoints(scene)[:most] if path.exists()]
        if how:
            scene.done(", ".join(how))

    return act


def break_specs(scene: Scene) -> None:
    """Break the spec of a task that runs; whoever begins its next attempt writes it anew."""
    scene.drop()
    _long_task(scene)
    scene.moment(1.0)
    how = [broken(path, scene.rng) for path in scene.house.state.glob("tasks/*/spec.json")]
    scene.signal(scene.rng.choice((Role.daemon, Role.worker)), SIGKILL)
    if how:
        scene.done(", ".join(how))


def _long_task(scene: Scene) -> None:
    """See to it that a task of several seconds runs, if there is anything to learn from."""
    house = scene.house
    house.become_quiet(lambda: see_to(house))  # of a user one task is alive at a time
    for user in house.users:
        house.ask("train", model="digits", user=user, parameters=LONG)
    wait_until(lambda: not house.alive or house.alive_tasks(), START_S)


def _checkpoints(scene: Scene) -> list[Path]:
    """Return the checkpoints that lie there, the newest first."""
    found = [path for path in scene.house.state.glob("tasks/*/*/checkpoint-*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns if path.exists() else 0, reverse=True)


def break_journal(scene: Scene) -> None:
    """Leave a batch.json that says nothing, as a power cut can."""
    scene.drop()
    scene.moment(0.8)
    scene.signal(Role.daemon, SIGKILL)
    path = scene.house.state / "batch.json"
    if path.exists():
        # What was left to do is known from the ledger's rows only then, so the file is lost as a whole.
        path.unlink()
        scene.done("batch.json was there and is gone")
    else:
        path.write_bytes(scene.rng.randbytes(100))
        scene.done("batch.json is noise")


def break_current(scene: Scene) -> None:
    """Take `current` away, or let it lead elsewhere; the next start puts it right."""
    scene.drop()
    scene.moment(1.5)
    links = _some(scene, ("models/*/*/current",))
    for link in links[:1]:
        link.unlink()
        if elsewhere := scene.rng.choice(("", "versions/999", "../..", "/etc/passwd")):
            link.symlink_to(elsewhere)
        scene.done(f"current → {elsewhere or 'nothing'}")
    scene.signal(Role.daemon, SIGKILL)


def break_ledger(scene: Scene) -> None:
    """Break the ledger: the daemon refuses it in words and keeps a copy aside; the whole one is restored."""
    house = scene.house
    scene.drop()
    scene.moment(2.0)
    scene.signal(Role.daemon, SIGKILL)
    time.sleep(0.2)
    names = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
    before = set(house.state.iterdir())
    with restored(*(house.state / name for name in names)):
        how = broken_ledger(house.state / "ledger.db", scene.rng)
        if not how:
            return
        started = house.start()
        house.kill()
        made = [path for path in set(house.state.iterdir()) - before if path.name not in names]
        for path in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not started, f"it works on with a broken ledger ({how})"
    assert "ledger" in last_words(house.log), f"it does not say why it leaves: {last_words(house.log)}"
    assert any("ledger" in path.name for path in made), f"no copy of the broken ledger is kept aside ({how})"
    scene.done(f"{how}: refused")


BREAKAGES: dict[str, Callable[[Scene], None]] = {
    "break a checkpoint": break_checkpoints(1),
    "break every checkpoint": break_checkpoints(99),
    "break a feature cache": break_files("models/*/*/inputs.db", "models/*/*/inputs.db-wal"),
    "break a spec": break_specs,
    "break the base model": break_files("models/*/base.mlmodel", repair=True),
    "break a version": break_files("models/*/*/versions/*/model.mlmodel", repair=True),
    "break batch.json": break_journal,
    "break current": break_current,
    "break the ledger": break_ledger,
}
