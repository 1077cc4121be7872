"""Before a fault and after it: a daemon that lives, a person who asks for something meanwhile, and the way back to rest."""

from __future__ import annotations

import threading
from signal import SIGKILL
from typing import TYPE_CHECKING

from torture.house import House, NeverQuietError, last_words

if TYPE_CHECKING:
    from torture.scene import Scene

LIVES = 3
IMPATIENCE = 0.15
ERRANDS = 0.35


def prepare(scene: Scene) -> None:
    """See to it that a daemon lives, mostly one that is ready, and that a person may ask for something later."""
    house, rng = scene.house, scene.rng
    house.shim.shift_clock(0)
    house.dropped.fresh.clear()
    if not house.alive:
        if rng.random() < IMPATIENCE:
            house.spawn()
        elif not house.start():
            raise NeverQuietError(f"the daemon does not start: {last_words(house.log)}")
    if rng.random() < ERRANDS:
        errand = rng.choice((pause, pause, cancel, train, adjust))
        scene.errand = threading.Timer(0.5 + 2 * rng.random(), errand, (scene.house, rng.random()))
        scene.errand.start()


def settle(scene: Scene) -> None:
    """Undo what would last, start a daemon that is dead, and wait until nothing is left to be done."""
    scene.undo()
    if scene.errand is not None:
        scene.errand.join()
    for _ in range(LIVES):
        try:
            _rest(scene.house)
            break
        except NeverQuietError:
            # A disk that refuses may end a daemon, as long as it says why; its manager starts it again.
            if scene.house.alive:
                raise
            if scene.house.process is not None and scene.house.process.returncode != -SIGKILL:
                scene.note += f"; it left: {last_words(scene.house.log)[:160]}"
    else:
        raise NeverQuietError(f"the daemon ends again and again: {last_words(scene.house.log)}")
    if scene.by_hand:
        scene.house.stop()
        _rest(scene.house)
    if scene.deaf:
        scene.house.unheard |= {row["id"] for row in scene.house.rows("SELECT id FROM outcomes")}


def _rest(house: House) -> None:
    if not house.alive and not house.start():
        raise NeverQuietError(f"the daemon does not start: {last_words(house.log)}")
    house.become_quiet(lambda: see_to(house))


def see_to(house: House) -> None:
    """Do what only a person does: let go what a person held, and train again where the machine has failed the last task."""
    if any(row["held"] for row in house.alive_tasks()):
        house.ask("resume", task="all")
    for model, user, _ in () if house.alive_tasks() else house.due():
        query = "SELECT state, error FROM tasks WHERE (model, user) = (?, ?) ORDER BY id DESC LIMIT 1"
        for row in house.rows(query, model, user):
            if row["state"] == "failed" and row["error"] != "cancelled":
                house.ask("train", model=model, user=user)


# ── what a person may ask for meanwhile ─────────────────────────────────────────────────────────
def pause(house: House, _: float) -> None:
    """Hold whatever lives; `settle` lets it go on."""
    house.ask("pause", task="all")


def cancel(house: House, _: float) -> None:
    """End the task that runs, if one does."""
    for task in _living(house)[:1]:
        house.ask("cancel", task=task)


def train(house: House, chance: float) -> None:
    """Ask for a task, whether enough is new or not."""
    house.ask("train", model=min(house.subjects), user=house.users[chance < 0.5])


def adjust(house: House, chance: float) -> None:
    """Give the task that runs another learning rate."""
    for task in _living(house)[:1]:
        house.ask("resume", task=task, parameters={"learningRate": 0.001 + chance / 100})


def _living(house: House) -> list[str]:
    if not (house.state / "ledger.db").exists():
        return []
    return [row["id"] for row in house.alive_tasks()]
