"""`update`, `evaluate`, `predict` and `check` of nearest neighbours: what is stored, asked and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import builders
import networks as n
from finetuned.edge import console, model_cli
from finetuned.edge.update_cli import Job, update
from finetuned.errors import ParameterError, RequestError
from finetuned.spec import codec
from more_models import front, neighbors, pipeline

MODEL = pipeline(front(), neighbors([]), names=["eyes", "kNN"])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.mlmodel").write_bytes(MODEL.SerializeToString())
    np.savez("data.npz", x=n.numbers(6, 6, seed=4), label=["a", "b", "a", "b", "c", "c"])


def updated(model: str = "base.mlmodel", *, json: bool = False, **options: Any) -> int:  # noqa: ANN401 - as of Job
    parameters = options.pop("parameters", None)
    job = Job(
        model=Path(model), data=Path("data.npz"), out=Path("out.mlmodel"), validate=None, threads=1, **options
    )
    return update(job, parameters, None, json=json)


def labels(path: str = "out.mlmodel") -> tuple[Any, ...]:
    found = codec.decode(Path(path).read_bytes()).learner.neighbors
    assert found is not None
    return found.labels


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_who_may_not_read_the_model_may_not_read_what_came_of_it() -> None:
    Path("base.mlmodel").chmod(0o600)
    updated()
    assert Path("out.mlmodel").stat().st_mode & 0o777 == 0o600


def test_it_says_what_was_stored_and_what_was_there_already(capsys: pytest.CaptureFixture[str]) -> None:
    assert updated(parameters=["kNN.numberOfNeighbors=1"]) == console.DONE
    assert "6 samples stored; the model holds 6" in (first := said(capsys))
    assert "accuracy 0.0% before, accuracy 100.0% after" in first
    assert "loss" not in first
    Path("out.mlmodel").rename("one.mlmodel")
    updated("one.mlmodel")
    assert "0 samples stored, 6 of 6 were there already; the model holds 6" in said(capsys)
    assert Path("out.mlmodel").read_bytes() == Path("one.mlmodel").read_bytes()
    updated("one.mlmodel", duplicates=True, max_samples=8)
    assert "6 samples stored, 4 given up (--max-samples); the model holds 8" in said(capsys)
    assert labels() == ("c", "c", "a", "b", "a", "b", "c", "c")


def test_the_events_are_the_beginning_and_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert updated(json=True, max_samples=3, when_full="balanced") == console.DONE
    begin, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert (begin["type"], begin["epochs"], begin["batches"]) == ("trainingBegin", 0, 0)
    assert begin["parameters"] == {"numberOfNeighbors": 3}
    assert (done["type"], done["after"]["lossValue"]) == ("completed", None)
    assert labels() == ("a", "b", "c")


def test_what_bounds_nearest_neighbours_is_refused_for_a_network() -> None:
    Path("base.mlmodel").write_bytes(builders.dense_classifier())
    with pytest.raises(RequestError, match=r"--max-samples.*are for nearest neighbours.*leave them out"):
        updated(max_samples=3)


def test_a_label_that_the_model_does_not_know_is_never_right(capsys: pytest.CaptureFixture[str]) -> None:
    updated()
    arrays = n.numbers(6, 6, seed=4)
    np.savez("unseen.npz", x=arrays, label=["a", "b", "a", "b", "c", "new"])
    capsys.readouterr()
    model_cli.evaluate(Path("out.mlmodel"), Path("unseen.npz"), None, 1, ["numberOfNeighbors=1"], json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["samples"], report["accuracy"], report["loss"]) == (6, 5 / 6, None)
    assert report["perLabel"]["new"] == {"samples": 1, "precision": None, "recall": 0.0}
    assert report["confusion"]["new"] == {"c": 1}


def test_a_prediction_asks_as_many_neighbours_as_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    updated()
    np.savez("one.npz", x=n.numbers(6, 6, seed=4)[:1])
    capsys.readouterr()
    for count, share in ((1, 1.0), (6, pytest.approx(1 / 3))):
        model_cli.predict(
            Path("out.mlmodel"), [Path("one.npz")], 1, [f"numberOfNeighbors={count}"], json=True
        )
        told = json.loads(capsys.readouterr().out)
        assert told["probabilities"]["a"] == share
    with pytest.raises(ParameterError, match="allowed: 1 to 1000"):
        model_cli.predict(Path("out.mlmodel"), [], 1, ["numberOfNeighbors=0"], json=True)


def test_check_tells_a_person_that_new_labels_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert model_cli.check(Path("base.mlmodel"), beyond_coreml=False, json=False)
    told = said(capsys)
    assert "labels none yet; it takes new ones, of the type string" in told
    assert "0 samples of 4 dimensions" in told
    assert "model kNN: kNearestNeighborsClassifier" in told
    assert "eyes." in told
