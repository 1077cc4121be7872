"""A model beyond Core ML's rules in the daemon's hands: asked for by name, and then like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import benches
import networks as n
import regions
from builders import dense_classifier, edited
from fakes import INFO
from finetuned.errors import ModelError, SampleError
from finetuned.service import messages as m
from finetuned.service.describe import describe
from finetuned.service.places import intake
from finetuned.service.training_data import load_samples, read
from finetuned.service.work import Work
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.metadata import BEYOND_COREML
from specs import vectors

if TYPE_CHECKING:
    from pathlib import Path


def skipping() -> bytes:
    """Return a classifier of a, b and c whose hidden layer, trained, is added to its input."""

    def skip(message: pb.Model) -> None:
        layers = message.neuralNetworkClassifier.layers
        layers[0].isUpdatable = True
        layers[1].CopyFrom(n.add("features", layers[0].output[0]))
        layers[1].name, layers[1].output[:] = "sum", [layers[2].input[0]]

    return edited(dense_classifier(hidden=4), skip)


def test_the_default_tells_the_way_out_with_every_reason_and_the_flag_tells_what_is_left() -> None:
    model = codec.decode(skipping())
    refused, allowed = describe(model), describe(model, beyond_coreml=True)
    assert not refused.updatable
    assert refused.departures == ()
    assert all("--beyond-coreml" in reason for reason in refused.reasons)
    assert (allowed.updatable, allowed.reasons) == (True, ())
    (departure,) = allowed.departures
    assert "'sum' (add)" in departure
    assert "Apple's run time will refuse" in departure


def test_what_neither_mode_can_train_tells_no_way_out() -> None:
    def spoil(message: pb.Model) -> None:
        message.neuralNetworkClassifier.layers[1].lrn.localSize = 3

    for model in (edited(skipping(), spoil), edited(dense_classifier(), spoil)):
        info = describe(codec.decode(model))
        assert info.reasons
        assert not any("beyond" in reason for reason in info.reasons)


def test_a_task_trains_it_where_its_spec_says_so_and_its_result_warns(tmp_path: Path) -> None:
    data = vectors(tmp_path, skipping(), count=12, held_out=3)
    asked = {"epochs": 2, "miniBatchSize": 4, "learningRate": 0.1}
    with pytest.raises(ModelError, match=r"'sum', add.*--beyond-coreml"):
        list(Work(data.spec(asked)).run())
    *_, last = Work(data.spec(asked, beyond_coreml=True)).run()
    assert isinstance(last, m.Completed)
    found = codec.decode(data.result().read_bytes())
    assert "'sum' (add)" in found.description.metadata[BEYOND_COREML]


@pytest.mark.parametrize("departures", [(), ("it merges",)])
async def test_a_task_of_the_daemon_goes_beyond_for_a_model_that_was_registered_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, departures: tuple[str, ...]
) -> None:
    monkeypatch.setattr(benches, "INFO", msgspec.structs.replace(INFO, departures=departures))
    async with benches.a_bench(tmp_path) as bench:
        await bench.train()
        assert (await bench.executor.run()).spec.beyond_coreml is bool(departures)


def test_several_losses_cannot_be_fed_from_folders_and_that_is_said() -> None:
    info = describe(n.decoded(regions.label_and_box()), beyond_coreml=True)
    assert info.updatable
    labelled = msgspec.structs.replace(info, class_labels=("red", "green", "blue"))
    why = intake(labelled, {})
    assert isinstance(why, str)
    assert "2 losses" in why
    assert "finetuned update" in why


@pytest.mark.parametrize("suffix", ["npz", "jsonl"])
def test_the_targets_of_several_losses_come_from_one_file(tmp_path: Path, suffix: str) -> None:
    message = regions.label_and_box()
    samples, path = regions.samples(message, 5), tmp_path / f"data.{suffix}"
    if suffix == "npz":
        np.savez(path, **samples)
    else:
        rows = [{name: array[i].tolist() for name, array in samples.items()} for i in range(5)]
        path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    found = load_samples(path, n.decoded(message))
    assert set(found) == {"x", "label", "box"}
    for name, array in samples.items():
        np.testing.assert_array_equal(np.asarray(found[name]).reshape(array.shape), array)


def test_a_folder_tells_one_target_and_a_model_with_two_says_so(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"several \(box, label\).*\.npz"):
        load_samples(tmp_path, n.decoded(regions.label_and_box()))


async def test_what_is_only_measured_needs_the_one_target(tmp_path: Path) -> None:
    samples, path = regions.samples(regions.label_and_box(), 5), tmp_path / "data.npz"
    np.savez(path, x=samples["x"], label=samples["label"])
    found = await read(path, n.decoded(regions.label_and_box()), {}, trains=False)
    assert list(found.inputs) == ["x"]
    assert len(found.targets) == 5
