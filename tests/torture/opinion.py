"""The second opinion that the campaign asks for: are a version's bytes those of an undisturbed run, does `current` predict?"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torture.house import ROOT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from torture.house import House

JUDGE_S = 300.0


@dataclass(slots=True)
class Tally:
    """How many versions were compared with an undisturbed run, over a whole campaign."""

    compared: int = 0
    not_comparable: int = 0


def judged(house: House, tally: Tally) -> Iterator[str]:
    """The final bytes of every new version are those of an undisturbed run, and every `current` loads and predicts."""
    rows = [
        row
        for row in house.rows("SELECT * FROM versions WHERE NOT dropped ORDER BY version")
        if _key(row) not in house.judged
    ]
    orders = [(row, order) for row in rows if (order := _order(house, row)) is not None]
    tally.not_comparable += len(rows) - len(orders)
    tally.compared += len(orders)
    predictions = [_prediction(house, row) for row in house.rows("SELECT * FROM current")]
    verdict = _ask_judge({"orders": [order for _, order in orders], "predictions": predictions}, house)
    house.judged |= set(map(_key, rows))
    if isinstance(verdict, str):
        yield f"current_loads_and_predicts: {verdict}"
        return
    for (row, _), sha256 in zip(orders, verdict["orders"], strict=True):
        if sha256 != row["sha256"]:
            ((attempt,),) = house.rows("SELECT attempt FROM tasks WHERE id = ?", row["task"])
            yield f"final_bytes_are_those_of_an_undisturbed_run: version {_key(row)}, attempt {attempt}"


def _key(row: sqlite3.Row) -> tuple[str, str, int]:
    return row["model"], row["user"], row["version"]


def _order(house: House, row: sqlite3.Row) -> dict[str, Any] | None:
    """Return what the judge needs to run a version's task again.

    None where a learning rate was asked for and no mini-batch is on record from which it held.
    """
    (task,) = house.rows("SELECT * FROM tasks WHERE id = ?", row["task"])
    adjustments = json.loads(task["adjustments"])
    if any(each.get("step") is None for each in adjustments):
        return None
    samples = house.rows(
        "SELECT digest, task_samples.label, held_out, path FROM task_samples JOIN samples ON samples.id = sample"
        " WHERE task_samples.task = ?",
        row["task"],
    )
    folder, parent = house.versions(row), row["parent"]
    base = folder.parents[1] / "base.mlmodel"
    return {
        "model": row["model"],
        "model_path": str(folder / str(parent) / "model.mlmodel" if parent else base),
        "base_digest": hashlib.sha256(base.read_bytes()).hexdigest(),
        "samples": [{**dict(each), "path": str(house.state / each["path"])} for each in samples],
        "parameters": json.loads(task["parameters"]),
        "adjustments": adjustments,
        "seed": task["seed"],
        "threads": 1,
    }


def _prediction(house: House, row: sqlite3.Row) -> dict[str, str]:
    sample = house.rows("SELECT path FROM samples WHERE (model, user) = (?, ?)", row["model"], row["user"])[0]
    model = house.versions(row).parent / "current" / "model.mlmodel"
    return {"model": str(model), "picture": str(house.state / sample["path"])}


def _ask_judge(question: dict[str, Any], house: House) -> dict[str, Any] | str:
    """Let a process of its own answer; a sentence where it cannot."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "torture.judge", folder],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=JUDGE_S,
            check=False,
            cwd=ROOT,
            env=house.environ,
        )
    if done.returncode:
        return f"the judge cannot: {done.stderr.strip()[-1500:]}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
