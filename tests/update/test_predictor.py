from __future__ import annotations

import numpy as np
import pytest

import builders
import networks as n
import reference
from finetuned.errors import ModelError, SampleError
from finetuned.graph.program import Program
from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb
from finetuned.update.predictor import Predictor
from finetuned.update.session import Session


@pytest.mark.parametrize("count", [0, 1, 32, 33, 100])
def test_outputs_come_for_every_sample_whatever_their_number(count: int) -> None:
    message = n.network([n.convolution(2, 3), n.flatten()], (3, 4, 4))
    x = n.numbers(count, 3, 4, 4)
    found = Predictor(n.decoded(message)).outputs({n.INPUT: x})
    wanted = reference.forward(message.neuralNetwork.layers, {n.INPUT: x})["l1"]
    assert list(found) == ["l1"]
    assert found["l1"].shape == (count, 8)
    np.testing.assert_allclose(found["l1"], wanted.reshape(count, 8), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("labels", [["a", "b", "c"], [30, 10, 20]])
def test_a_classifier_tells_the_likeliest_label_and_the_probability_of_each(
    labels: list[str] | list[int],
) -> None:
    data = builders.dense_classifier(labels=labels)
    x = n.numbers(6, 4)
    layers = pb.Model.FromString(data).neuralNetworkClassifier.layers
    wanted = reference.forward(layers, {"features": x})["labelProbability"]
    found = list(Predictor(codec.decode(data)).classify({"features": x}))
    assert [label for label, _ in found] == [labels[i] for i in wanted.argmax(axis=1)]
    for (_, probabilities), row in zip(found, wanted, strict=True):
        assert probabilities == pytest.approx(dict(zip(labels, row, strict=True)), abs=1e-6)


def test_several_outputs_come_under_their_names() -> None:
    message = n.network([n.dense(2, 3), n.activation("tanh")], (3,))
    message.description.output.add(name="l0").type.multiArrayType.SetInParent()
    found = Predictor(n.decoded(message)).outputs({n.INPUT: n.numbers(2, 3)})
    np.testing.assert_allclose(found["l1"], np.tanh(found["l0"].astype(np.float64)), rtol=1e-5)


def test_inputs_are_checked_before_anything_runs() -> None:
    predictor = Predictor(codec.decode(builders.dense_classifier()))
    with pytest.raises(SampleError, match="is expected"):
        predictor.outputs({"features": np.ones((1, 5))})


def test_what_onnxruntime_cannot_run_is_the_models_fault() -> None:
    with pytest.raises(ModelError, match="cannot run"):
        Session(Program(onnx=b"no graph", inputs={}, outputs={}))
