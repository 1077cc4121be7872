"""An attempt on its devices: what it says of them, what its result has to do with them, and what is kept.

The second provider is `azure`, which leaves every node to the CPU, so that nothing here may change a bit.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest

from builders import dense_classifier
from finetuned.graph.program import FEATURES, LOSS
from finetuned.service import inputs
from finetuned.service import messages as m
from finetuned.service.work import Work
from specs import Material, vectors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MODEL = dense_classifier(train_hidden=False, optimizer="adamOptimizer")
SHORT = {"epochs": 3, "miniBatchSize": 4, "learningRate": 0.1}
BOTH = ("azure", "cpu")
AZURE = "AzureExecutionProvider"


def material(folder: Path) -> Material:
    return vectors(folder, MODEL, count=20, held_out=4)


def reports(work: Work, paces: dict[int, bool] | None = None) -> list[m.Report]:
    """Run to the end, accelerated or not after so many boundaries, and return what was said."""
    said: list[m.Report] = []
    for boundary, report in enumerate(work.run()):
        said += [report] if report is not None else []
        if paces and boundary in paces:
            said += work.accelerate(accelerated=paces[boundary])
    return said


def digest(said: list[m.Report]) -> str:
    assert isinstance(said[-1], m.Completed)
    return said[-1].sha256


def moves(said: list[m.Report]) -> list[tuple[str, str, int]]:
    return [(r.device, r.why, r.step) for r in said if isinstance(r, m.Moved)]


def device(said: list[m.Report]) -> str:
    (begin,) = (each for each in said if isinstance(each, m.TrainingBegin))
    return begin.device


def test_a_task_computes_on_the_device_that_is_wanted_most_and_says_so_when_it_begins(tmp_path: Path) -> None:
    data = material(tmp_path)
    plain, said = reports(Work(data.spec(SHORT))), reports(Work(data.spec(SHORT, devices=BOTH)))
    assert (device(said), moves(said)) == ("azure", [])
    assert digest(said) == digest(plain)


def test_a_device_that_is_not_there_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    said = reports(Work(material(tmp_path).spec(SHORT, devices=("cuda", "cpu"))))
    assert said[0] == m.Moved(device="cpu", why="cuda: this onnxruntime has azure, cpu")
    assert (device(said), len(moves(said))) == ("cpu", 1)


@pytest.mark.parametrize("first", [0, 5, 22, 30], ids=["loaded", "features", "measured", "training"])
def test_a_task_that_moves_at_any_boundary_ends_in_the_same_bytes(tmp_path: Path, first: int) -> None:
    data = material(tmp_path)
    whole = digest(reports(Work(data.spec(SHORT, devices=BOTH))))
    data = material(tmp_path)
    with inputs.opened(data.database) as db:
        inputs.keep_features_of(db, "")
    said = reports(Work(data.spec(SHORT, devices=BOTH)), {first: False, first + 2: True, first + 3: True})
    assert digest(said) == whole
    assert [(where, why) for where, why, _ in moves(said)] == [("cpu", ""), ("azure", "")]


def test_a_task_that_is_not_accelerated_when_it_begins_begins_on_the_cpu(tmp_path: Path) -> None:
    work = Work(material(tmp_path).spec(SHORT, devices=BOTH))
    assert work.accelerate(accelerated=False) == []
    said = reports(work)
    assert (device(said), moves(said)) == ("cpu", [])


def test_a_device_that_fails_in_a_step_is_told_before_that_step_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = material(tmp_path)
    runs: list[None] = []
    whole = digest(reports(Work(data.spec(SHORT))))
    run = ort.InferenceSession.run

    def fail(self: ort.InferenceSession, names: list[str], *arguments: object) -> object:
        if AZURE in self.get_providers() and LOSS in names:
            runs.append(None)
            if len(runs) == 6:
                raise RuntimeError("out of its memory")
        return run(self, names, *arguments)

    monkeypatch.setattr(ort.InferenceSession, "run", fail)
    said = reports(Work(data.spec(SHORT, devices=BOTH)))
    assert digest(said) == whole
    assert moves(said) == [("cpu", "azure: it failed: out of its memory", 5)]
    (at,) = (number for number, each in enumerate(said) if isinstance(each, m.Moved))
    assert [each.step for each in said[at - 1 : at + 2] if isinstance(each, m.MiniBatchEnd)] == [5, 6]


def test_a_checkpoint_made_on_one_device_is_gone_on_from_on_another(tmp_path: Path) -> None:
    data = material(tmp_path)
    whole = digest(reports(Work(data.spec(SHORT))))
    spec = data.spec(SHORT, checkpoint_s=0.0, devices=BOTH)
    kept = next(
        report.checkpoint
        for report in Work(spec).run()
        if isinstance(report, m.Checkpointed) and report.step == 7
    )
    assert kept is not None
    work = Work(spec, 2, [kept])
    work.accelerate(accelerated=False)
    said = reports(work)
    restored = next(each for each in said if isinstance(each, m.Restored))
    assert (restored.step, restored.refused) == (7, ())
    assert (device(said), digest(said)) == ("cpu", whole)


def kept(data: Material) -> dict[str, set[bytes]]:
    """Return the features that are kept, by their key."""
    with inputs.opened(data.database) as db:
        rows = db.execute("SELECT model_digest, digest FROM features").fetchall()
    return {key: {digest for each, digest in rows if each == key} for key, _ in rows}


def test_features_are_kept_for_the_device_that_computes_and_the_cpus_under_the_name_that_they_had(
    tmp_path: Path,
) -> None:
    data = material(tmp_path)
    reports(Work(data.spec(SHORT)))
    (plain,) = kept(data)
    reports(Work(data.spec(SHORT, devices=("cpu",))))
    assert set(kept(data)) == {plain}
    reports(Work(data.spec(SHORT, devices=BOTH)))
    assert set(kept(data)) == {f"{plain}:azure"}
    work = Work(data.spec(SHORT, devices=BOTH))
    work.accelerate(accelerated=False)
    reports(work)
    assert set(kept(data)) == {plain}


def otherwise(monkeypatch: pytest.MonkeyPatch, *, failing: int = -1) -> None:
    """Let azure round otherwise than the CPU, and fail from a run of the frozen part on."""
    run, runs = ort.InferenceSession.run, itertools.count()

    def rounded(
        self: ort.InferenceSession, names: list[str], *arguments: object
    ) -> list[NDArray[np.float32]]:
        if AZURE not in self.get_providers():
            return run(self, names, *arguments)  # type: ignore[no-any-return]
        if FEATURES in names and next(runs) == failing:
            raise RuntimeError("out of its memory")
        return [array * np.float32(1.001) for array in run(self, names, *arguments)]

    monkeypatch.setattr(ort.InferenceSession, "run", rounded)


@pytest.mark.parametrize(
    ("paces", "failing", "count"),
    [({0: False}, -1, 20), ({1: False}, -1, 1), ({5: False, 9: True}, -1, 16), ({}, 3, 3)],
    ids=["moved before", "moved", "there and back", "failed"],
)
def test_what_a_moved_task_keeps_is_no_other_than_what_an_undisturbed_one_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paces: dict[int, bool], failing: int, count: int
) -> None:
    data = material(tmp_path)
    plain = digest(reports(Work(data.spec(SHORT))))
    with monkeypatch.context() as patch:
        otherwise(patch)
        whole = digest(reports(Work(data.spec(SHORT, devices=BOTH))))
        assert whole != plain
    with inputs.opened(data.database) as db:
        inputs.keep_features_of(db, "")
    with monkeypatch.context() as patch:
        otherwise(patch, failing=failing)
        reports(Work(data.spec(SHORT, devices=BOTH)), paces)
    assert sum(len(each) for each in kept(data).values()) == count
    otherwise(monkeypatch)
    said = reports(Work(data.spec(SHORT, devices=BOTH)))
    assert (digest(said), moves(said)) == (whole, [])
